"""Warnings for totals that do not fit their parts, where the sum is certain."""

from decimal import Decimal, InvalidOperation

from app.domain.findings import Finding
from app.forms.fa3.key_fields import InvoiceElements
from app.forms.fa3.schema import FA3_NAMESPACE
from app.forms.fields import text_of
from app.forms.rules import finding
from app.forms.xsd.places import line_of_element, path_of

# In an advance, settling, simplified or correcting invoice P_15 means something else than the sum.
_KIND = "VAT"
_LINE = f"{{{FA3_NAMESPACE}}}FaWiersz"
# Tax may be computed per line or per rate, and totals rounded to whole units: both are allowed.
TOTAL_TOLERANCE = 1
"""Units of the currency by which a total may always differ; lines add to it."""
_TOLERANCE_PER_LINE = Decimal("0.01")


def check_total(found: InvoiceElements) -> list[Finding]:
    """Return a warning when `P_15` of a basic invoice is clearly not the sum of its net values and tax amounts.

    Meant for documents that fit the XSD. Amounts in the invoice's currency only (the `P_14_xW` fields restate the
    tax in zloty). Says nothing for other kinds than VAT, or where no part is given.
    """
    if found.body is None or found.total is None or not found.amounts or text_of(found.kind) != _KIND:
        return []
    try:
        due = Decimal(text_of(found.total))
        parts = [Decimal(text_of(amount)) for amount in found.amounts]
    except InvalidOperation:
        return []
    added = sum(parts, Decimal(0))
    difference = abs(added - due)
    if difference <= TOTAL_TOLERANCE:
        return []
    lines = sum(1 for _ in found.body.iterchildren(_LINE))
    if difference <= TOTAL_TOLERANCE + lines * _TOLERANCE_PER_LINE:
        return []
    line = line_of_element(found.total)
    return [finding("total-mismatch", line=line, path=path_of(found.total), value=due, sum=added)]
