"""docs/sandbox.md says what the code says: operations, codes, control, options, faults."""

import re
from pathlib import Path

import pytest

from sandbox.app import CONTROL_ROUTES, ENDPOINTS
from sandbox.errors import DESCRIPTIONS
from sandbox.main import RECORD_VARIABLE, main
from sandbox.state.faults import FaultRule, InvoiceRule, SessionRule, SessionScript

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "sandbox.md").read_text(encoding="utf-8")
SHARED_MEMBERS = {"on", "skip", "times", "probability", "seed"}


def between(start: str, end: str) -> str:
    return PAGE.split(start, 1)[1].split(end, 1)[0]


def first_cells(table: str) -> list[str]:
    return [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| `")]


def test_every_operation_has_its_row_and_every_row_its_operation() -> None:
    rows = first_cells(between("<!-- operations", "<!-- end of operations"))
    assert len(rows) == len(set(rows))
    assert set(rows) == {f"`{endpoint.method} {endpoint.path}`" for endpoint in ENDPOINTS}


def test_every_row_has_four_cells() -> None:
    for line in between("<!-- operations", "<!-- end of operations").splitlines():
        if line.startswith("|"):
            assert line.count("|") == 5, line


def test_every_code_that_can_be_answered_is_named_where_it_comes_from() -> None:
    operations = between("## Operations", "## Storage")
    named = {int(code) for code in re.findall(r"\b(9\d{3}|2[156]\d{3}|30\d{3})\b", operations)}
    assert named == set(DESCRIPTIONS)


def test_every_control_request_has_its_row() -> None:
    rows = first_cells(between("<!-- control", "<!-- end of control"))
    served = {
        f"`{method} {re.sub(r':[a-z]+}', '}', route.path)}`"
        for route in CONTROL_ROUTES
        for method in (route.methods or set()) - {"HEAD"}
    }
    assert len(rows) == len(set(rows))
    assert set(rows) == served | {"`GET /_sandbox/openapi.json`"}


def test_every_option_has_its_row(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    flags = set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"}
    rows = first_cells(between("## Options", "## Operations"))
    assert {flag for row in rows for flag in re.findall(r"--[a-z-]+", row)} == flags
    assert RECORD_VARIABLE in PAGE


def test_every_member_of_a_fault_rule_is_explained() -> None:
    text = between("## Faults", "## Limits")
    members = {
        *FaultRule.model_fields,
        *SessionRule.model_fields,
        *SessionScript.model_fields,
        *InvoiceRule.model_fields,
    }
    assert {name for name in members if f"`{name}`" not in text and f'"{name}"' not in text} == set()
    rows = {name for cell in first_cells(text) for name in re.findall(r"`(\w+)`", cell)}
    assert rows <= members - SHARED_MEMBERS
