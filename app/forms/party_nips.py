"""The NIPs of one entity of an invoice."""

from lxml import etree

from app.domain.findings import Finding
from app.forms.fields import text_of
from app.forms.nip import is_nip
from app.forms.quoting import quoted
from app.forms.rules import finding
from app.forms.xsd.places import line_of_element, local_name, path_of

_NIP_DIGITS = 10


def check_party_nips(
    party: etree._Element, nip: etree._Element | None, internal_id: etree._Element | None
) -> list[Finding]:
    """Return a finding for a NIP, bare or inside an internal identifier, whose check digit is wrong.

    Values that are not ten digits are left to the XSD.
    """
    findings: list[Finding] = []
    value = text_of(nip)
    if nip is not None and has_nip_digits(value) and not is_nip(value):
        findings.append(_wrong(party, nip, "nip-checksum", value))
    identifier = text_of(internal_id)
    prefix = identifier.partition("-")[0]
    if internal_id is not None and has_nip_digits(prefix) and not is_nip(prefix):
        findings.append(_wrong(party, internal_id, "internal-id-checksum", identifier))
    return findings


def has_nip_digits(value: str) -> bool:
    """Return whether a value is ten digits. The XSD's \\d takes the digits of every script, and so does this."""
    return len(value) == _NIP_DIGITS and value.isdecimal()


def _wrong(party: etree._Element, element: etree._Element, rule: str, value: str) -> Finding:
    return finding(
        rule, line=line_of_element(element), path=path_of(element), value=quoted(value), party=local_name(party)
    )
