"""The header of a document: whether `KodFormularza` and `WariantFormularza` announce the form of its namespace."""

from dataclasses import dataclass

from lxml import etree

from app.domain.findings import Finding
from app.forms.fields import text_of
from app.forms.quoting import quoted
from app.forms.rules import finding
from app.forms.xsd.places import line_of_element, path_of


@dataclass(frozen=True, slots=True)
class HeaderCodes:
    """The values of a form's header. `name` is the form's name in findings."""

    name: str
    code: str
    schema_version: str
    value: str
    variant: str


def check_header(code: etree._Element | None, variant: etree._Element | None, expected: HeaderCodes) -> list[Finding]:
    """Return a finding for each part of the header that is there and announces another form.

    A missing part is left to the XSD.
    """
    findings = []
    if code is not None:
        for name, wanted in (("kodSystemowy", expected.code), ("wersjaSchemy", expected.schema_version)):
            value = code.get(name)
            if value is not None and value != wanted:
                findings.append(_mismatch(code, f"KodFormularza/@{name}", value, wanted, expected))
        if (text := text_of(code)) != expected.value:
            findings.append(_mismatch(code, "KodFormularza", text, expected.value, expected))
    # A number for the XSD: 03 and +3 are the same.
    if variant is not None and (text := text_of(variant)) != expected.variant and text.lstrip("+0") != expected.variant:
        findings.append(_mismatch(variant, "WariantFormularza", text, expected.variant, expected))
    return findings


def _mismatch(element: etree._Element, name: str, value: str, wanted: str, expected: HeaderCodes) -> Finding:
    return finding(
        "form-header-mismatch",
        line=line_of_element(element),
        path=path_of(element),
        element=name,
        value=quoted(value),
        form=expected.name,
        expected=quoted(wanted),
    )
