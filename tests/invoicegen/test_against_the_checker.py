from datetime import date

import pytest
from lxml import etree

from app.forms.fa3.checker import InvoiceChecker
from app.forms.form import CheckContext
from invoicegen.bad_invoices import BadInvoice, bad_invoices
from invoicegen.invoices import generate_invoices

SELLER = "5265877635"
DAY = date(2026, 11, 22)
CONTEXT = CheckContext(tenant_nip=SELLER, today=DAY, check_nip_checksums=True, attachments_allowed=True)


@pytest.fixture(scope="module")
def checker(fa3_schema: etree.XMLSchema) -> InvoiceChecker:
    return InvoiceChecker(fa3_schema)


@pytest.mark.parametrize(("profile", "count"), [("mixed", 500), ("small", 100), ("large", 20)])
def test_our_own_check_has_nothing_to_say_about_a_generated_invoice(
    checker: InvoiceChecker, profile: str, count: int
) -> None:
    for invoice in generate_invoices(count, seller_nip=SELLER, issue_date=DAY, profile=profile):
        checked = checker.check(invoice.xml, CONTEXT)
        assert checked.findings == (), invoice.number
        assert checked.facts is not None
        assert (checked.facts.number, checked.facts.kind) == (invoice.number, invoice.kind)


@pytest.mark.parametrize("bad", bad_invoices(SELLER, DAY), ids=lambda bad: bad.name)
def test_our_own_check_refuses_a_bad_invoice_for_its_one_fault(checker: InvoiceChecker, bad: BadInvoice) -> None:
    assert [found.rule for found in checker.check(bad.xml, CONTEXT).findings] == [bad.rule]
