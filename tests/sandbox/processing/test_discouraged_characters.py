"""Two ways to find discouraged characters agree: the quick look at bytes and the search in text."""

from datetime import date

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sandbox.pool.checking import KeyFields, Objection, check_document
from sandbox.pool.outcome import DocumentRules
from tests.support.ksef_by_hand import invoice

EDGES = [0x7E, 0x7F, 0x80, 0x84, 0x85, 0x86, 0x9F, 0xA0, 0xFDCF, 0xFDD0, 0xFDEF, 0xFDF0, 0xFFFD] + [
    plane * 0x10000 + end for plane in range(1, 17) for end in (0, 0xFFFD, 0xFFFE, 0xFFFF)
]


def is_discouraged(code: int) -> bool:
    """As ksef-docs (weryfikacja-faktury.md) lists them; U+0085 is allowed."""
    in_ranges = 0x7F <= code <= 0x84 or 0x86 <= code <= 0x9F or 0xFDD0 <= code <= 0xFDEF
    return in_ranges or (code > 0xFFFF and code & 0xFFFE == 0xFFFE)


def rules() -> DocumentRules:
    return DocumentRules(
        today=date(2049, 1, 1),
        context_nip="5265877635",
        self_invoiced_sellers=frozenset(),
        represented_sellers=frozenset(),
        enforcement=False,
        attachment_sellers=frozenset(),
        may_have_attachment=True,
        max_bytes=1_000_000,
        max_bytes_with_attachment=3_000_000,
        check_identifiers=False,
        check_schema=False,
    )


def is_refused(document: bytes) -> bool:
    try:
        check_document(document, rules(), KeyFields())
    except Objection as objection:
        return "Unicode" in "".join(objection.details)
    return False


def agree(code: int) -> None:
    wanted = is_discouraged(code)
    assert is_refused(invoice("A", "5265877635", text=f"x{chr(code)}y")) is wanted
    for reference in (f"&#{code};", f"&#x{code:X};", f"&#x00{code:x};", f"&#00{code};"):
        assert is_refused(invoice("A", "5265877635", text=reference)) is wanted, reference


@pytest.mark.parametrize("code", EDGES, ids=hex)
def test_the_edges_of_the_forbidden_ranges_are_where_they_should_be(code: int) -> None:
    agree(code)


@given(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="<&>\ufffe\uffff").map(ord))
@example(0xC2)
def test_any_other_character_is_judged_alike_by_bytes_and_by_reference(code: int) -> None:
    agree(code)


def test_a_reference_in_a_comment_is_no_character() -> None:
    assert not is_refused(invoice("A", "5265877635", text="<!-- &#127; -->"))
