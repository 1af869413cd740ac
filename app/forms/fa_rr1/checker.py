"""The rules of FA_RR(1) beyond the XSD: the header, the parties and the issue date."""

from collections.abc import Mapping
from typing import Final

from app.domain.findings import Finding
from app.forms.fa_rr1.key_fields import FA_RR1_NAMESPACE, RrElements, facts_of, read_elements
from app.forms.fa_rr1.vocabulary import FA_RR1_VOCABULARY
from app.forms.fields import date_of, text_of
from app.forms.form import CheckContext
from app.forms.full_check import FormRules, FullCheck
from app.forms.header import HeaderCodes, check_header
from app.forms.issue_date import issue_date_findings
from app.forms.party_nips import check_party_nips, has_nip_digits
from app.forms.rules import finding
from app.forms.size import check_size
from app.forms.xsd.places import line_of_element, path_of
from app.forms.xsd.schema import compile_schema

FA_RR1_CODES: Final = HeaderCodes(name="FA_RR(1)", code="FA_RR (1)", schema_version="1-1E", value="FA_RR", variant="1")


def make_checker(
    schema_files: Mapping[str, bytes],
    /,
    *,
    fast_path: bool = True,
) -> FullCheck[RrElements]:
    """Return a checker made of the official schema files (content by name).

    Raises UnusableSchemaError when the files are not those of FA_RR(1).
    """
    return FullCheck(compile_schema(schema_files, FA_RR1_NAMESPACE), FA_RR1_RULES)


def _check_elements(elements: RrElements, size: int, context: CheckContext) -> list[Finding]:
    return [
        *check_size(size, context.max_bytes, has_attachment=False),
        *check_header(elements.form_code, elements.form_variant, FA_RR1_CODES),
        *(_check_nips(elements) if context.check_nip_checksums else ()),
        *_check_buyer(elements, context.tenant_nip),
        *_check_issue_date(elements, context),
    ]


def _check_nips(elements: RrElements) -> list[Finding]:
    findings: list[Finding] = []
    for party in (elements.supplier, elements.buyer, *elements.third_parties):
        if party is not None:
            findings += check_party_nips(party.element, party.nip, party.internal_id)
    return findings


def _check_buyer(elements: RrElements, tenant_nip: str) -> list[Finding]:
    """Return a finding when the buyer, who issues the invoice, is not the tenant. A NIP that is no NIP is left to the XSD."""
    nip = elements.buyer.nip if elements.buyer is not None else None
    buyer = text_of(nip)
    if nip is None or not has_nip_digits(buyer) or buyer == tenant_nip:
        return []
    return [finding("buyer-not-tenant", line=line_of_element(nip), path=path_of(nip), value=buyer, tenant=tenant_nip)]


def _check_issue_date(elements: RrElements, context: CheckContext) -> list[Finding]:
    element, issued = elements.issue_date, date_of(elements.issue_date)
    if element is None or issued is None:
        return []
    return issue_date_findings(
        issued, context.today, field="P_4B", line=line_of_element(element), path=path_of(element)
    )


def _check_valid(_elements: RrElements) -> list[Finding]:
    return []


FA_RR1_RULES: Final = FormRules(
    form_code=FA_RR1_CODES.code,
    root=f"{{{FA_RR1_NAMESPACE}}}Faktura",
    vocabulary=FA_RR1_VOCABULARY,
    read_elements=read_elements,
    facts_of=facts_of,
    check_elements=_check_elements,
    check_valid=_check_valid,
)
