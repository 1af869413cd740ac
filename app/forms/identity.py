"""The identity by which KSeF finds duplicates."""

import hashlib

IDENTITY_BYTES = 16


def invoice_identity(tenant_id: int, seller_nip: str, kind: str, number: str) -> bytes:
    """Return the 16-byte identity of one invoice of one tenant. Two documents of one invoice have the same identity.

    KSeF refuses a second invoice with the same seller NIP (`Podmiot1`), kind (`RodzajFaktury`) and number (`P_2`)
    with status 440. Every field is preceded by its length in bytes, so that no two triples are encoded alike.
    Source: ksef-docs, faktury/weryfikacja-faktury.md, section on unique invoices.
    """
    fields = [field.encode("utf-8", "surrogatepass") for field in (str(tenant_id), seller_nip, kind, number)]
    content = b"".join([len(field).to_bytes(8, "big") + field for field in fields])
    return hashlib.sha256(b"ksefd invoice identity 1" + content).digest()[:IDENTITY_BYTES]
