"""Whether the tenant may send an invoice with an attachment."""

from app.domain.findings import Finding
from app.forms.fa3.key_fields import InvoiceElements
from app.forms.fields import text_of
from app.forms.rules import finding
from app.forms.xsd.places import line_of_element, path_of


def check_attachment(found: InvoiceElements, tenant_nip: str, attachments_allowed: bool | None) -> list[Finding]:
    """Return a finding for an attachment that the tenant has no consent to send.

    The consent is the seller's. When the tenant issues for another seller, KSeF alone has that seller's consent.
    """
    if found.attachment is None or attachments_allowed is not False:
        return []
    if found.seller is None or text_of(found.seller.nip) != tenant_nip:
        return []
    line = line_of_element(found.attachment)
    return [finding("attachment-not-allowed", line=line, path=path_of(found.attachment))]
