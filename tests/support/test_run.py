"""The sum of several calls of pytest is the sum of their results, and a failure of any of them is one of the whole."""

from collections import Counter
from pathlib import Path

import pytest

from tests.support import run

REPORT = '<testsuites><testsuite tests="9" failures="2" errors="1" skipped="3"/><testsuite tests="1"/></testsuites>'


def test_a_report_is_counted_over_all_its_suites(tmp_path: Path) -> None:
    report = tmp_path / "results.xml"
    report.write_text(REPORT, encoding="utf-8")
    assert run.counts(report) == Counter(passed=4, failed=3, skipped=3)


def test_a_call_without_a_report_is_a_failure(tmp_path: Path) -> None:
    assert run.counts(tmp_path / "none.xml") == Counter(failed=1)


def test_the_sum_is_one_line() -> None:
    assert run.summary(Counter(passed=5312, skipped=3)) == "5312 passed, 0 failed, 3 skipped"


@pytest.mark.parametrize(
    ("tests", "code", "line"),
    [
        ({"test_a": "assert True", "test_b": "assert 1 + 1 == 2"}, 0, "2 passed, 0 failed, 0 skipped"),
        ({"test_a": "assert True", "test_b": "assert 1 + 1 == 3"}, 1, "1 passed, 1 failed, 0 skipped"),
        ({"test_a": "assert True", "test_b": "raise KeyboardInterrupt"}, 2, "1 passed, 0 failed, 0 skipped"),
    ],
    ids=["all pass", "one fails", "one ends the call"],
)
def test_the_calls_are_summed_and_the_worst_of_them_counts(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tests: dict[str, str],
    code: int,
    line: str,
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    for name, body in tests.items():
        (tmp_path / f"{name}.py").write_text(f"def {name}():\n    {body}\n", encoding="utf-8")
    calls = [("-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path / f"{name}.py")) for name in tests]
    assert run.run_calls(calls, folder=tmp_path) == code
    assert capfd.readouterr().out.splitlines()[-1] == line
