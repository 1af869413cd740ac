"""Is it FA(3), does its header say so, and may it have an attachment?"""

from lxml import etree

from app.domain.findings import Finding
from app.fa3.places import line_of_element, local_name, path_of
from app.fa3.reading import InvoiceElements, text_of
from app.fa3.rules import finding, quoted
from app.fa3.schema import FA3_NAMESPACE

FORM_CODE = "FA (3)"
SCHEMA_VERSION = "1-0E"
FORM = "FA"
VARIANT = "3"

_ROOT = f"{{{FA3_NAMESPACE}}}Faktura"
# Namespaces of other documents that KSeF or its predecessors know, by their form codes.
_OTHER_FORMS = {
    "http://crd.gov.pl/wzor/2021/11/29/11089/": "FA (1)",
    "http://crd.gov.pl/wzor/2023/06/29/12648/": "FA (2)",
    "urn:oasis:names:specification:ubl:schema:xsd:Invoice-2": "PEF (UBL Invoice)",
    "urn:oasis:names:specification:ubl:schema:xsd:CreditNote-2": "PEF_KOR (UBL CreditNote)",
}


def is_fa3(root: etree._Element) -> bool:
    """Tell whether the root is `Faktura` in the namespace of FA(3)."""
    return root.tag == _ROOT


def explain_other_form(root: etree._Element, found: InvoiceElements) -> Finding:
    """Return the one finding for a document of another form."""
    namespace = root.tag.rpartition("}")[0][1:]
    announced = found.form_code.get("kodSystemowy", "") if found.form_code is not None else ""
    name = _OTHER_FORMS.get(namespace) or ("" if announced == FORM_CODE else announced)
    if name and namespace != FA3_NAMESPACE:
        shown = f"{name[:40]}"
    elif namespace:
        shown = f"<{local_name(root)[:60]}> ({quoted(namespace)})"
    else:
        shown = f"<{local_name(root)[:60]}> (-)"
    return finding(
        "form-not-supported",
        line=line_of_element(root),
        path=f"/{local_name(root)[:60]}",
        found=shown,
        namespace=FA3_NAMESPACE,
    )


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
    if variant is not None and (text := text_of(variant)) != VARIANT:
        findings.append(_mismatch(variant, "WariantFormularza", text, VARIANT))
    return findings


def check_attachment(found: InvoiceElements, attachments_allowed: bool | None) -> list[Finding]:
    """Return a finding for an attachment that the tenant is known not to be allowed to send."""
    if found.attachment is None or attachments_allowed is not False:
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
