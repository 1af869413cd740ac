"""Receipts against the official schema, and their signature against verifiers that the sandbox did not bring along."""

import base64
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import xmlsec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree

from tests.support.ksef_by_hand import HandClient, auth_request, invoice, seal_certificate, sign

SCHEMA = Path(__file__).resolve().parents[3].parent / "shared" / "ksef" / "schemas" / "upo-v4-3.xsd"
DS = "{http://www.w3.org/2000/09/xmldsig#}"
UPO = "{http://upo.schematy.mf.gov.pl/KSeF/v4-3}"
XADES = "{http://uri.etsi.org/01903/v1.3.2#}"


@pytest.fixture
def receipts(client: HandClient) -> dict[str, bytes]:
    """The receipt of a session and that of one of its invoices, as the storage gives them."""
    sent = {f"{letter}.xml": invoice(f"{letter}/1 &amp; &lt;ząb&gt;", client.nip) for letter in "AB"}
    reference, final = client.send_documents(sent)
    assert final["successfulInvoiceCount"] == 2, client.invoices(reference)
    links = {"session": final["upo"]["pages"][0]["downloadUrl"]}
    links["invoice"] = client.invoices(reference)[0]["upoDownloadUrl"]
    return {kind: httpx.get(link).content for kind, link in links.items()}


def verify_with_xmlsec(document: bytes) -> None:
    """Verify by the xmlsec library with the certificate inside; raises xmlsec.Error when it does not hold."""
    root = etree.fromstring(document)
    [signature] = root.iter(f"{DS}Signature")
    [certificate] = signature.iter(f"{DS}X509Certificate")
    pem = x509.load_der_x509_certificate(base64.b64decode(certificate.text or "")).public_bytes(Encoding.PEM)
    context = xmlsec.SignatureContext()
    for properties in root.iter(f"{XADES}SignedProperties"):
        context.register_id(properties, "Id")
    context.key = xmlsec.Key.from_memory(pem, xmlsec.constants.KeyDataFormatCertPem)
    context.verify(signature)


def covered_by(document: bytes) -> set[str | None]:
    root = etree.fromstring(document)
    return {reference.get("URI") for reference in root.iter(f"{DS}Reference")}


@pytest.mark.parametrize("kind", ["session", "invoice"])
def test_an_independent_verifier_accepts_the_signature_of_a_receipt(receipts: dict[str, bytes], kind: str) -> None:
    verify_with_xmlsec(receipts[kind])
    [properties] = etree.fromstring(receipts[kind]).iter(f"{XADES}SignedProperties")
    assert covered_by(receipts[kind]) >= {"", f"#{properties.get('Id')}"}


@pytest.mark.parametrize("kind", ["session", "invoice"])
def test_what_is_signed_is_written_in_canonical_form(receipts: dict[str, bytes], kind: str) -> None:
    """The digest is taken of the bytes as they were written; that a verifier comes to the same is no accident."""
    document = receipts[kind]
    root = etree.fromstring(document)
    [signature] = root.findall(f"{DS}Signature")
    start, end = document.index(b"<ds:Signature"), document.index(b"</ds:Signature>") + len(b"</ds:Signature>")
    root.remove(signature)
    signed = document[document.index(b"<Potwierdzenie") : start] + document[end:]
    assert etree.tostring(root, method="c14n", exclusive=True, with_comments=False) == signed


@pytest.mark.parametrize(
    ("place", "change"),
    [
        (f"{UPO}NumerKSeFDokumentu", lambda text: text[:-1] + "Q"),
        (f"{XADES}SigningTime", lambda _: "2020-01-01T00:00:00Z"),
    ],
)
def test_the_same_verifier_refuses_a_receipt_that_was_touched(
    receipts: dict[str, bytes], place: str, change: Callable[[str], str]
) -> None:
    root = etree.fromstring(receipts["session"])
    node = next(root.iter(place))
    node.text = change(node.text or "")
    with pytest.raises(xmlsec.Error):
        verify_with_xmlsec(etree.tostring(root))


@pytest.mark.parametrize("schema", [SCHEMA] if SCHEMA.is_file() else [], ids=lambda path: path.name)
@pytest.mark.parametrize("kind", ["session", "invoice"])
def test_a_receipt_without_its_signature_satisfies_the_official_schema(
    receipts: dict[str, bytes], kind: str, schema: Path
) -> None:
    official = etree.XMLSchema(etree.parse(schema))
    root = etree.fromstring(receipts[kind])
    [signature] = root.findall(f"{DS}Signature")
    root.remove(signature)
    official.assertValid(root)
    del root[0]
    assert not official.validate(root)


def test_the_verifier_of_the_sandbox_and_the_independent_one_agree_on_a_login(stranger: HandClient) -> None:
    """The document that the sandbox lets in is one that xmlsec takes too, so its own check is not of its own making."""
    document = sign(auth_request(stranger.challenge()["challenge"], stranger.nip), *seal_certificate(stranger.nip))
    verify_with_xmlsec(document)
    assert stranger.post_signed(document).status_code == 202
