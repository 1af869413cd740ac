"""The entities of an invoice: their NIPs, and whether the tenant may issue it."""

from app.domain.findings import Finding
from app.forms.fa3.key_fields import InvoiceElements, Party
from app.forms.fields import text_of
from app.forms.party_nips import check_party_nips, has_nip_digits
from app.forms.rules import finding
from app.forms.xsd.places import line_of_element, path_of

# Roles of Podmiot3 that issue the invoice themselves: an issuer in the seller's name, a local government unit
# and a member of a VAT group (whose seller is the municipality or the group).
_ISSUING_ROLES = frozenset(("5", "7", "9"))


def check_nips(found: InvoiceElements) -> list[Finding]:
    """Return a finding for each NIP, bare or inside an internal identifier, whose check digit is wrong.

    Reads Podmiot1, Podmiot2, every Podmiot3 and PodmiotUpowazniony. Values that are not ten digits are left to
    the XSD.
    """
    findings: list[Finding] = []
    for party in (found.seller, found.buyer, *found.third_parties, found.authorised):
        if party is not None:
            findings += check_party_nips(party.element, party.nip, party.internal_id)
    return findings


def check_seller(found: InvoiceElements, tenant_nip: str) -> list[Finding]:
    """Return a finding when the seller is not the tenant and nothing in the invoice shows a lawful reason.

    Lawful reasons that a document can show: self-billing (P_17 is 1) with the tenant as buyer or as another entity;
    the tenant as PodmiotUpowazniony (enforcement authority, bailiff, tax representative); the tenant as an issuing
    Podmiot3. KSeF alone has the permissions; it answers with status 410 when one is missing.
    """
    if found.seller is None:
        return []
    seller = text_of(found.seller.nip)
    if not has_nip_digits(seller) or seller == tenant_nip:
        return []
    if _is(found.authorised, tenant_nip) or (found.self_billing and _is(found.buyer, tenant_nip)):
        return []
    for party in found.third_parties:
        if (found.self_billing or party.role in _ISSUING_ROLES) and _is(party, tenant_nip):
            return []
    nip = found.seller.nip
    line, path = (None, None) if nip is None else (line_of_element(nip), path_of(nip))
    return [finding("seller-not-tenant", line=line, path=path, value=seller, tenant=tenant_nip)]


def _is(party: Party | None, nip: str) -> bool:
    if party is None:
        return False
    return text_of(party.nip) == nip or text_of(party.internal_id).partition("-")[0] == nip
