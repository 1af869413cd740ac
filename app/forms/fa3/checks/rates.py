"""Warnings for taxes that do not fit their rate, for the rates that have a field of their own."""

from lxml import etree

from app.domain.findings import Finding
from app.forms.fa3.key_fields import InvoiceElements
from app.forms.fa3.schema import FA3_NAMESPACE
from app.forms.fields import text_of
from app.forms.rules import finding
from app.forms.xsd.places import line_of_element, path_of

# In an advance, settling or correcting invoice amounts may be differences; a simplified one may leave them out.
_KIND = "VAT"
_LINE = f"{{{FA3_NAMESPACE}}}FaWiersz"
# Net value, tax, and the rates in per cent of both fields, as the schema describes them.
RATES: tuple[tuple[str, str, tuple[int, ...]], ...] = (
    ("P_13_1", "P_14_1", (23, 22)),
    ("P_13_2", "P_14_2", (8, 7)),
    ("P_13_3", "P_14_3", (5,)),
)
# Full name of a field -> the number of its rates, counted from 1 for net values and from -1 down for taxes.
_FIELDS = {
    f"{{{FA3_NAMESPACE}}}{name}": sign * number
    for number, (net, tax, _) in enumerate(RATES, start=1)
    for sign, name in ((1, net), (-1, tax))
}
# Tax may be computed for each line and from gross values, and rounded to whole units: both are allowed.
RATE_TOLERANCE = 1.0
_TOLERANCE_PER_LINE = 0.01


def check_rates(found: InvoiceElements) -> list[Finding]:
    """Return a warning for each tax amount of a basic invoice that no rate of its field makes of the net value.

    Meant for documents that fit the XSD.
    """
    if text_of(found.kind) != _KIND:
        return []
    nets: dict[int, float] = {}
    findings: list[Finding] = []
    for amount in found.amounts:
        number = _FIELDS.get(amount.tag)
        if number is None:
            continue
        value = _value(amount)
        if number > 0:
            nets[number] = value
            continue
        # A net value precedes its tax and is required with it; without one there is nothing to compare.
        net = nets.get(-number)
        if net is None:
            continue
        net_field, tax_field, rates = RATES[-number - 1]
        away = min(abs(value - net * rate / 100) for rate in rates)
        if away > RATE_TOLERANCE and away > RATE_TOLERANCE + _TOLERANCE_PER_LINE * _lines(found):
            listed = [f"{rate}%" for rate in rates]
            findings.append(
                finding(
                    "tax-mismatch",
                    line=line_of_element(amount),
                    path=path_of(amount),
                    tax=text_of(amount),
                    tax_field=tax_field,
                    net=f"{net:.2f}",
                    net_field=net_field,
                    english_rates=" or ".join(listed),
                    polish_rates=" lub ".join(listed),
                )
            )
    return findings


def _value(amount: etree._Element) -> float:
    text = amount.text
    return float(text_of(amount) if text is None or len(amount) else text)


def _lines(found: InvoiceElements) -> int:
    return 0 if found.body is None else sum(1 for _ in found.body.iterchildren(_LINE))
