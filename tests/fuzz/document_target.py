"""One fuzzed document: check it in every way that must agree, and hold the findings to what is promised of them."""

import json
from collections.abc import Iterator
from datetime import date
from functools import cache
from unittest.mock import patch

from app.domain.findings import Severity
from app.forms.fa3.checker import InvoiceChecker, make_checker
from app.forms.fa3.schema import compile_schema
from app.forms.form import CheckedInvoice
from app.forms.full_check import MAX_FINDINGS
from app.forms.rules import MAX_RAW, RULES
from app.schema_files import load_schema_files
from invoicegen.invoices import generate_invoices
from tests.agreement.comparing import MODES, difference, opinion_of_the_check, ours
from tests.agreement.header_mutations import TENANT
from tests.agreement.mutations import MUTATIONS

DAY = date(2026, 11, 20)
MAX_DOCUMENT = 1 << 20
_SMALL_ENOUGH_TO_BE_LARGE = 1_000
"""From here on the way of large documents is tried as well, which the product takes from 256 KB."""
_MAX_MESSAGE = 5_000
_MAX_PATH = 20_000


@cache
def _checkers() -> tuple[InvoiceChecker, InvoiceChecker]:
    files = load_schema_files()["FA (3)"]
    return make_checker(files), InvoiceChecker(compile_schema(files))


def check_document(data: bytes) -> None:
    """Check one fuzzed document. Raises AssertionError where the outcome is not what is promised.

    It must not depend on what was checked before, nor on whether plain invoices are recognised without a tree, nor its
    validity on the way that large documents go, and it must fit what the sandbox says. Any other exception, a hang or a flood of memory is a fault of the check.
    """
    if len(data) > MAX_DOCUMENT:
        return
    used, other = _checkers()
    for mode in MODES:
        checked = ours(used, data, mode, DAY)
        _check_outcome(checked, data)
        found = difference(checked, opinion_of_the_check(data, mode, DAY), tuple(MUTATIONS))
        assert found is None, found
    again = ours(other, data, MODES[0], DAY)
    assert again == ours(used, data, MODES[0], DAY), "the same document has the same findings"
    if len(data) >= _SMALL_ENOUGH_TO_BE_LARGE:
        as_large = _as_large(other, data)
        _check_outcome(as_large, data)
        assert as_large.valid == again.valid, "a large document is judged like a small one"
        assert as_large.facts == again.facts


def outcome_of(data: bytes) -> CheckedInvoice:
    """What the check says, without a look at the promises."""
    return ours(_checkers()[0], data, MODES[0], DAY)


def _as_large(checker: InvoiceChecker, data: bytes) -> CheckedInvoice:
    with patch("app.forms.full_check.LARGE_DOCUMENT_BYTES", 0):
        return ours(checker, data, MODES[0], DAY)


def _check_outcome(checked: CheckedInvoice, data: bytes) -> None:
    """Findings can be shown, stored and sent, name places of the document, and decide whether it is valid."""
    lines = data.count(b"\n") + 1
    assert len(checked.findings) <= MAX_FINDINGS + 1
    assert checked.valid == all(one.severity is Severity.WARNING for one in checked.findings)
    assert not checked.valid or checked.facts is not None
    for one in checked.findings:
        assert one.severity is RULES[one.rule].severity
        assert 0 < len(one.message) <= _MAX_MESSAGE
        assert 0 < len(one.message_pl) <= _MAX_MESSAGE
        assert one.line is None or 1 <= one.line <= lines, one
        assert one.path is None or (one.path.startswith("/") and len(one.path) <= _MAX_PATH)
        assert one.raw is None or len(one.raw) <= MAX_RAW
        json.dumps(one.as_dict(), ensure_ascii=False).encode()


def first_documents() -> Iterator[bytes]:
    """Yield a small valid invoice of each kind."""
    seen: set[str] = set()
    for invoice in generate_invoices(400, seller_nip=TENANT, issue_date=DAY, seed=7):
        if invoice.kind not in seen and len(invoice.xml) < 4_000:
            seen.add(invoice.kind)
            yield invoice.xml
