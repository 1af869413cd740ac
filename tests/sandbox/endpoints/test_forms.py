"""Sessions of other forms than FA(3): accepted when the sandbox has the official file, refused without it."""

import shutil
from datetime import date
from pathlib import Path

import pytest

from invoicegen.vat_rr import generate_rr_invoices
from sandbox.pool.checking import KeyFields, Objection, check_document
from sandbox.pool.forms import FA3, FA_RR1, DocumentForm, accepted_forms
from sandbox.pool.outcome import DocumentRules
from tests.support.ksef_by_hand import invoice, today
from tests.support.official_files import FA_RR_XSD, needs_fa_rr_xsd
from tests.support.toy_form import teach_sandbox

BUYER = "5265877635"
TODAY = date.fromisoformat(today())


def rules(form: DocumentForm, context_nip: str = BUYER) -> DocumentRules:
    return DocumentRules(
        today=TODAY,
        context_nip=context_nip,
        self_invoiced_sellers=frozenset(),
        represented_sellers=frozenset(),
        enforcement=False,
        attachment_sellers=frozenset(),
        may_have_attachment=True,
        max_bytes=1_000_000,
        max_bytes_with_attachment=3_000_000,
        check_identifiers=True,
        check_schema=True,
        form=form,
    )


def objection(document: bytes, of: DocumentRules) -> int:
    with pytest.raises(Objection) as raised:
        check_document(document, of, KeyFields())
    return raised.value.code


def test_only_fa3_is_accepted_without_a_folder_of_schemas(tmp_path: Path) -> None:
    assert list(accepted_forms(None)) == [FA3.codes]
    assert list(accepted_forms(tmp_path)) == [FA3.codes]


def test_a_test_can_teach_the_sandbox_a_form(tmp_path: Path) -> None:
    teach_sandbox(tmp_path)
    assert list(accepted_forms(tmp_path)) == [FA3.codes, ("TOY (1)", "1-0E", "TOY")]


@needs_fa_rr_xsd
def test_vat_rr_invoices_are_issued_by_their_buyer(tmp_path: Path) -> None:
    shutil.copy(FA_RR_XSD, tmp_path / FA_RR_XSD.name)
    form = accepted_forms(tmp_path)[FA_RR1.codes]
    (made,) = generate_rr_invoices(1, buyer_nip=BUYER, issue_date=TODAY)
    fields = KeyFields()
    check_document(made.xml, rules(form), fields)
    assert (fields.number, fields.kind, fields.issue_date) == (made.number, "VAT_RR", TODAY)
    assert objection(made.xml, rules(form, "5213814999")) == 410
    assert objection(made.xml.replace(b"<P_9>7<", b"<P_9>23<"), rules(form)) == 450
    assert objection(made.xml.replace(b'"1-1E"', b'"1-0E"'), rules(form)) == 450
    assert objection(invoice("FV/1", BUYER), rules(form)) == 450
    assert objection(made.xml, rules(FA3)) == 450
