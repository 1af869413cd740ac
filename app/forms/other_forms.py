"""Documents that are not FA(3): which form it is, and what its sender can do.

KSeF takes more forms than this service sends. A document of one of them gets one finding and is not checked any further.
Namespaces and form codes: KSeF API 2.9, POST /sessions/batch and POST /sessions/online, formCode; ksef-docs, faktury/schemy.
"""

from dataclasses import dataclass

from lxml import etree

from app.domain.findings import Finding
from app.forms.fa3.schema import FA3_NAMESPACE
from app.forms.fa_rr1.key_fields import FA_RR1_NAMESPACE
from app.forms.fields import text_of
from app.forms.quoting import quoted
from app.forms.rules import finding
from app.forms.xsd.places import line_of_element, local_name

_MAX_SHOWN = 60


@dataclass(frozen=True, slots=True)
class OtherForm:
    """A form that is known and not sent: what it is, and what to do, in both languages."""

    english: str
    polish: str
    english_advice: str
    polish_advice: str


_AS_FA3_ENGLISH = "Issue it as FA(3), the only form of VAT invoices that KSeF takes since February 2026"
_AS_FA3_POLISH = "Należy wystawić ją w FA(3), jedynej postaci faktury VAT przyjmowanej przez KSeF od lutego 2026 r."
_PEF_ENGLISH = "KSeF takes it one by one, not in batches: send it through a PEF broker or in an interactive session"
_PEF_POLISH = (
    "KSeF przyjmuje ją pojedynczo, nie w paczkach: należy ją wysłać przez dostawcę PEF albo w sesji interaktywnej"
)

FA_1 = OtherForm("an invoice of the form FA (1)", "faktura FA (1)", _AS_FA3_ENGLISH, _AS_FA3_POLISH)
FA_2 = OtherForm("an invoice of the form FA (2)", "faktura FA (2)", _AS_FA3_ENGLISH, _AS_FA3_POLISH)
FA_RR = OtherForm(
    "a VAT RR invoice (FA_RR), which a buyer issues for a flat-rate farmer",
    "faktura VAT RR (FA_RR), wystawiana przez nabywcę za rolnika ryczałtowego",
    f"KSeF takes it by schema 1-1E only, whose namespace is {FA_RR1_NAMESPACE}",
    f"KSeF przyjmuje ją tylko według schematu 1-1E, o przestrzeni nazw {FA_RR1_NAMESPACE}",
)
PEF = OtherForm("a Peppol invoice (PEF)", "faktura PEF (Peppol)", _PEF_ENGLISH, _PEF_POLISH)
PEF_KOR = OtherForm("a Peppol credit note (PEF_KOR)", "faktura korygująca PEF_KOR (Peppol)", _PEF_ENGLISH, _PEF_POLISH)

_BY_NAMESPACE = {
    "http://crd.gov.pl/wzor/2021/11/29/11089/": FA_1,
    "http://crd.gov.pl/wzor/2023/06/29/12648/": FA_2,
    "urn:oasis:names:specification:ubl:schema:xsd:Invoice-2": PEF,
    "urn:oasis:names:specification:ubl:schema:xsd:CreditNote-2": PEF_KOR,
}
# For a form whose namespace is new or wrong: the form by the code in its header. FA_RR was called RR at first.
_BY_FORM_CODE = {
    "FA (1)": FA_1,
    "FA (2)": FA_2,
    "FA_RR (1)": FA_RR,
    "RR (1)": FA_RR,
    "FA_RR": FA_RR,
    "RR": FA_RR,
    "PEF (3)": PEF,
    "PEF_KOR (3)": PEF_KOR,
}


def recognise(root: etree._Element, form_code: etree._Element | None) -> OtherForm | None:
    """Return the form of a document by its namespace or else by the form code of its header, None for an unknown one."""
    known = _BY_NAMESPACE.get(root.tag.rpartition("}")[0][1:])
    if known is not None or form_code is None:
        return known
    announced = " ".join((form_code.get("kodSystemowy") or "").split())
    return _BY_FORM_CODE.get(announced) or _BY_FORM_CODE.get(text_of(form_code))


def explain_other_form(root: etree._Element, form_code: etree._Element | None) -> Finding:
    """Return the one finding for a document of a form that is not sent."""
    form = recognise(root, form_code) or _unknown(root)
    return finding(
        "form-not-supported",
        line=line_of_element(root),
        path=f"/{local_name(root)[:_MAX_SHOWN]}",
        english_form=form.english,
        polish_form=form.polish,
        english_advice=form.english_advice,
        polish_advice=form.polish_advice,
    )


def _unknown(root: etree._Element) -> OtherForm:
    name, namespace = f"<{local_name(root)[:_MAX_SHOWN]}>", root.tag.rpartition("}")[0][1:]
    return OtherForm(
        f"{name} in the namespace {quoted(namespace).noted(polish=False)}"
        if namespace
        else f"{name} without a namespace",
        f"{name} w przestrzeni nazw {quoted(namespace).noted(polish=True)}"
        if namespace
        else f"{name} bez przestrzeni nazw",
        f"It must be <Faktura> in the namespace {FA3_NAMESPACE}",
        f"Musi to być <Faktura> w przestrzeni nazw {FA3_NAMESPACE}",
    )
