"""Whatever the bytes are, the check ends, soon, with findings."""

import time
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.forms.form import CheckedInvoice
from app.forms.full_check import MAX_FINDINGS

Check = Callable[..., CheckedInvoice]
Edit = Callable[..., bytes]

BAD_ROW = b"<FaWiersz><NrWierszaFa>x</NrWierszaFa><P_8B>x</P_8B><P_9A>x</P_9A></FaWiersz>"
GOOD_ROW = b"<FaWiersz><NrWierszaFa>1</NrWierszaFa></FaWiersz>"

HOSTILE = {
    "deep nesting": ("<Naglowek>", b"<a>" * 200_000),
    "attributes": ("<Naglowek>", b"<Naglowek " + b" ".join(b'a%d=""' % n for n in range(200_000)) + b">"),
    "namespaces": ("<Naglowek>", b"<Naglowek " + b" ".join(b'xmlns:a%d="u"' % n for n in range(100_000)) + b">"),
    "elements": ("  </Fa>", b"<a/>" * 500_000 + b"</Fa>"),
    "bad rows": ("  </Fa>", BAD_ROW * 9_000 + b"</Fa>"),
    "late bad rows": ("  </Fa>", GOOD_ROW * 8_000 + BAD_ROW * 500 + b"</Fa>"),
    "comments": ("<Naglowek>", b"<!---->" * 300_000 + b"<x>"),
    "open comments": ("  <Fa>", b"<!--" * 500_000),
    "open references": ("FV/1", b"&#x0" * 500_000),
    "references": ("FV/1", b"&#x81;" * 100_000),
    "long value": ("FV/1", b"x" * 2_500_000),
    "long name": ("  <Fa>", b"<" + b"x" * 40_000 + b"/><Fa>"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_document_ends_in_findings_within_seconds(name: str, check: Check, edited: Edit) -> None:
    document = edited(HOSTILE[name])
    started = time.process_time()
    result = check(document)
    assert time.process_time() - started < 10
    assert not result.valid
    assert len(result.findings) <= MAX_FINDINGS + 1
    assert all(len(finding.message) + len(finding.message_pl) < 5_000 for finding in result.findings)
    assert all(len(finding.raw or "") <= 500 and len(finding.path or "") < 20_000 for finding in result.findings)


def test_an_element_with_too_many_attributes_is_named(check: Check, edited: Edit) -> None:
    rules = {finding.rule for finding in check(edited(HOSTILE["attributes"])).findings}
    assert "too-many-attributes" in rules


@pytest.mark.slow
def test_faults_at_the_end_of_a_large_document_are_found_in_place(check: Check, edited: Edit) -> None:
    paths = {finding.path for finding in check(edited(HOSTILE["late bad rows"])).findings}
    assert "/Faktura/Fa/FaWiersz[8002]/P_8B" in paths


def test_a_large_valid_document_is_valid(check: Check, edited: Edit) -> None:
    assert check(edited(("  </Fa>", GOOD_ROW * 9_000 + b"</Fa>"))).findings == ()


def test_a_large_document_that_is_cut_off_is_not_well_formed(check: Check, edited: Edit) -> None:
    """The parser that validates on the way once took a document with an open comment for complete."""
    result = check(edited(HOSTILE["open comments"]))
    assert [finding.rule for finding in result.findings] == ["not-well-formed"]


def test_an_entity_is_never_expanded(check: Check, edited: Edit) -> None:
    declaration = '<!DOCTYPE Faktura [<!ENTITY f SYSTEM "file:///etc/hostname">]><Faktura'
    result = check(edited(("<Faktura", declaration), ("FV/1", "&f;")))
    assert [finding.rule for finding in result.findings] == ["doctype"]
    assert result.facts is None


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=400))
def test_any_bytes_end_in_findings(check: Check, document: bytes) -> None:
    result = check(document)
    assert result.findings
    assert not result.valid


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_invoice_never_raises(check: Check, invoice: bytes, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(invoice)))
    length = data.draw(st.integers(0, 60))
    put_in = data.draw(
        st.one_of(st.binary(max_size=20), st.sampled_from([b"<", b"</Fa>", b"<P_2>", b"&", b"\x00", b"]]>"]))
    )
    result = check(invoice[:start] + put_in + invoice[start + length :])
    assert len(result.findings) <= MAX_FINDINGS + 1
