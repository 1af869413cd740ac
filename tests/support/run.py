"""Runs all tests, or the fast ones, in several calls of pytest that share one folder, and prints the sum of their results.

    python -m tests.support.run all | fast

Files of tests are spread over two processes. A second call, of one file, judges what the sandboxes of the first recorded.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

RUN_FOLDER_VARIABLE: Final = "KSEF_TESTS_RUN"
"""Names the folder that all processes of a run share: what sandboxes recorded, and the database servers."""
_ROOT: Final = Path(__file__).resolve().parents[2]
_SPREAD: Final = ("-n", "2", "--dist", "loadfile", "--no-loadscope-reorder")
_RECORDED: Final = "tests/contract/test_recorded_traffic.py"
_INTERRUPTED: Final = 2
_LEFT_OUT: Final = ("road", "benchmarks", "sandbox", "hostile", "agreement", "fuzz", "forms", "contract")
"""Folders of tests that `make check` leaves out, besides tests that are marked `slow`."""
CALLS: Final[dict[str, Sequence[Sequence[str]]]] = {
    "all": (
        (*_SPREAD, f"--ignore={_RECORDED}"),
        (_RECORDED,),
    ),
    "fast": ((*_SPREAD, "-m", "not slow", *(f"--ignore=tests/{folder}" for folder in _LEFT_OUT)),),
}
"""The arguments of each call, by what is asked for."""


def main() -> int:
    """Run the calls and return 0 when no test of any of them failed."""
    which, *more = sys.argv[1:] or ["all"]
    # Not below pytest's own folder: another run makes that private again, and as root the server is another user.
    folder = Path(tempfile.mkdtemp(prefix="ksefd-tests-"))
    try:
        return run_calls([[*call, *more] for call in CALLS[which]], folder=folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run_calls(calls: Sequence[Sequence[str]], *, folder: Path) -> int:
    """Run pytest once for each list of arguments, print the sum of the results, and return the worst exit status."""
    worst = 0
    total: Counter[str] = Counter()
    environment = os.environ | {RUN_FOLDER_VARIABLE: str(folder)}
    # The programs that tests start, some hundreds of them, would each compile our modules anew.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    for number, arguments in enumerate(calls):
        report = folder / f"results-{number}.xml"
        command = [sys.executable, "-m", "pytest", *arguments, f"--junit-xml={report}"]
        code = subprocess.run(command, cwd=_ROOT, env=environment, check=False).returncode
        worst = max(worst, code)
        total.update(counts(report))
        if code == _INTERRUPTED:
            break
    print(summary(total))
    return worst or int(total["failed"] > 0)


def counts(report: Path) -> Counter[str]:
    """Count the results in a JUnit report; a call that ended before writing one counts as a failure."""
    if not report.is_file():
        return Counter(failed=1)
    found: Counter[str] = Counter()
    for suite in ElementTree.parse(report).getroot().iter("testsuite"):
        numbers = {name: int(suite.get(name, "0")) for name in ("tests", "failures", "errors", "skipped")}
        failed = numbers["failures"] + numbers["errors"]
        found.update(failed=failed, skipped=numbers["skipped"], passed=numbers["tests"] - failed - numbers["skipped"])
    return found


def summary(total: Counter[str]) -> str:
    """Say the sum in one line: `5312 passed, 0 failed, 3 skipped`."""
    return ", ".join(f"{total[name]} {name}" for name in ("passed", "failed", "skipped"))


if __name__ == "__main__":
    sys.exit(main())
