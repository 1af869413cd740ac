"""Is it FA(3), does its header say so, and may it have an attachment? Other forms: `other_forms`."""

from lxml import etree

from app.domain.findings import Finding
from app.forms.fa3.key_fields import InvoiceElements, text_of
from app.forms.fa3.rules import finding, quoted
from app.forms.fa3.xsd.places import line_of_element, path_of
from app.forms.fa3.xsd.schema import FA3_NAMESPACE

FORM_CODE = "FA (3)"
SCHEMA_VERSION = "1-0E"
FORM = "FA"
VARIANT = "3"

_ROOT = f"{{{FA3_NAMESPACE}}}Faktura"


def is_fa3(root: etree._Element) -> bool:
    """Tell whether the root is `Faktura` in the namespace of FA(3)."""
    return root.tag == _ROOT


def check_header(found: InvoiceElements) -> list[Finding]:
    """Return a finding for each part of the header that is there and does not announce FA(3) 1-0E.

    A missing part is left to the XSD.
    """
    code, variant = found.form_code, found.form_variant
    findings = []
    if code is not None:
        for name, expected in (("kodSystemowy", FORM_CODE), ("wersjaSchemy", SCHEMA_VERSION)):
            value = code.get(name)
            if value is not None and value != expected:
                findings.append(_mismatch(code, f"KodFormularza/@{name}", value, expected))
        if (text := text_of(code)) != FORM:
            findings.append(_mismatch(code, "KodFormularza", text, FORM))
    # A number for the XSD: 03 and +3 are the same.
    if variant is not None and (text := text_of(variant)) != VARIANT and text.lstrip("+0") != VARIANT:
        findings.append(_mismatch(variant, "WariantFormularza", text, VARIANT))
    return findings


def check_attachment(found: InvoiceElements, tenant_nip: str, attachments_allowed: bool | None) -> list[Finding]:
    """Return a finding for an attachment that the tenant is known not to be allowed to send.

    The consent is the seller's. When the tenant issues for another seller, only KSeF knows that one's.
    """
    if found.attachment is None or attachments_allowed is not False:
        return []
    if found.seller is None or text_of(found.seller.nip) != tenant_nip:
        return []
    line = line_of_element(found.attachment)
    return [finding("attachment-not-allowed", line=line, path=path_of(found.attachment))]


def _mismatch(element: etree._Element, name: str, value: str, expected: str) -> Finding:
    return finding(
        "form-header-mismatch",
        line=line_of_element(element),
        path=path_of(element),
        element=name,
        value=quoted(value),
        expected=quoted(expected),
    )
