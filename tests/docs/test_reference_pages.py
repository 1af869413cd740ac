"""The reference pages say what the code says."""

from pathlib import Path

import pytest

from app.forms.rules import RULES
from app.observability.metrics import STAGES
from app.settings import Settings
from tools.docs_reference import PAGES, metric_facts, written_findings, written_reasons

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_reference_page_is_what_the_code_makes_of_it(name: str) -> None:
    written = (DOCS / name).read_text(encoding="utf-8")
    assert written == PAGES[name](), "run: python -m tools.docs_reference --write"


def test_every_setting_has_its_line() -> None:
    page = PAGES["settings.md"]()
    for name, field in Settings.model_fields.items():
        assert f"| `KSEFD_{name.upper()}` |" in page
        assert field.description, f"{name} has no description"


def test_findings_made_by_the_stages_and_the_readers_are_found() -> None:
    found = {finding.rule: finding for finding in written_findings()}
    assert {"entry-encrypted", "same-document", "gave-up", "document-crashes-reader", "duplicate-other"} <= set(found)
    assert found["session-repeated"].severity == "warning"
    assert found["gave-up"].severity == "error"
    assert "wysłana" in found["gave-up"].polish
    assert {"zip-truncated", "gzip-ratio", "too-many-bytes"} <= {reason.rule for reason in written_reasons()}


def test_no_rule_id_has_two_meanings() -> None:
    ids = [*RULES, *(finding.rule for finding in written_findings())]
    assert len(ids) == len(set(ids))


def test_every_finding_and_reason_speaks_both_languages() -> None:
    for finding in (*written_findings(), *written_reasons()):
        assert finding.english.strip("{}…"), finding
        assert finding.polish.strip("{}…"), finding
        assert finding.english != finding.polish


@pytest.mark.slow
def test_metrics_are_named_as_they_are_scraped() -> None:
    facts = {name: labels for name, _, labels, _ in metric_facts()}
    assert facts["ksefd_ksef_requests_total"] == "`group`, `status`"
    assert facts["ksefd_sessions"] == "`state`"
    assert facts["ksefd_oldest_queued_seconds"] == ""
    assert all(f"`{stage}`" in PAGES["metrics.md"]() for stage in STAGES)
