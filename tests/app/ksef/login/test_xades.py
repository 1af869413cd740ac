"""The login document, verified by signxml, by hand with lxml and cryptography, and by xmlsec where it is installed."""

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree
from signxml.xades.xades import XAdESSignatureConfiguration, XAdESVerifier

from app.ksef.errors import CertificateUnusable
from app.ksef.login.certificates import PrivateKey, SigningIdentity
from app.ksef.login.xades import AUTH_NAMESPACE, ContextType, SubjectIdentifierType, sign_auth_token_request
from tests.app.ksef.fake_ksef import CHALLENGE
from tests.app.ksef.signatures import DS, identity_of, verify_by_hand

SHARED = Path(__file__).resolve().parents[4] / ".." / "shared"
AUTH_SCHEMAS = sorted(SHARED.glob("ksef/schemas/schemat_auth_v2-0.xsd"))
XADES = "{http://uri.etsi.org/01903/v1.3.2#}"
SIGNED_AT = datetime(2026, 11, 22, 9, 59, tzinfo=UTC)


KEYS: dict[str, PrivateKey] = {
    "RSA-2048": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "P-256": ec.generate_private_key(ec.SECP256R1()),
    "P-384": ec.generate_private_key(ec.SECP384R1()),
    "P-521": ec.generate_private_key(ec.SECP521R1()),
}


def signed(identity: SigningIdentity, context: ContextType = ContextType.NIP, value: str = "5265877635") -> bytes:
    return sign_auth_token_request(
        CHALLENGE, context, value, identity.certificate, identity.private_key, signing_time=SIGNED_AT
    )


@pytest.mark.parametrize("kind", KEYS)
def test_two_independent_verifiers_accept_the_signature(kind: str) -> None:
    identity = identity_of(KEYS[kind])
    document = signed(identity)
    verify_by_hand(document)
    # The certificate of the tests is valid for a day from then on.
    then = XAdESSignatureConfiguration(verification_time=SIGNED_AT + timedelta(hours=1))
    results = XAdESVerifier().verify(document, x509_cert=identity.certificate, expect_config=then)
    assert len(results) == 3


@pytest.mark.parametrize("kind", ["RSA-2048", "P-256"])
def test_xmlsec_accepts_the_signature(kind: str) -> None:
    xmlsec = pytest.importorskip("xmlsec", reason="the C library's binding is optional")
    identity = identity_of(KEYS[kind])
    signature = etree.fromstring(signed(identity)).find(f"{DS}Signature")
    assert signature is not None
    xmlsec.tree.add_ids(signature, ["Id"])
    context = xmlsec.SignatureContext()
    pem = identity.certificate.public_bytes(Encoding.PEM)
    context.key = xmlsec.Key.from_memory(pem, xmlsec.constants.KeyDataFormatCertPem)
    context.verify(signature)


def test_padding_of_a_short_r_or_s_is_kept() -> None:
    """A value that happens to begin with a zero byte was once cut short and refused (9105)."""
    identity = identity_of(KEYS["P-256"])
    lengths = {
        len(base64.b64decode(etree.fromstring(signed(identity)).findtext(f".//{DS}SignatureValue") or ""))
        for _ in range(300)
    }
    assert lengths == {64}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"5265877635", b"5213814999"),
        (b"2026-11-22T09:59:00Z", b"2026-11-22T09:58:00Z"),
        (b"certificateSubject", b"certificateFingerprint"),
    ],
)
def test_a_changed_document_is_not_accepted(seal: SigningIdentity, old: bytes, new: bytes) -> None:
    document = signed(seal)
    assert old in document
    with pytest.raises((AssertionError, InvalidSignature)):
        verify_by_hand(document.replace(old, new))


def test_the_document_has_what_ksef_asks_for(seal: SigningIdentity) -> None:
    root = etree.fromstring(signed(seal))
    assert root.tag == f"{{{AUTH_NAMESPACE}}}AuthTokenRequest"
    assert [etree.QName(child).localname for child in root] == [
        "Challenge",
        "ContextIdentifier",
        "SubjectIdentifierType",
        "Signature",
    ]
    signature = root[-1]
    properties = signature.find(f"{DS}Object/{XADES}QualifyingProperties")
    assert properties is not None
    assert properties.get("Target") == f"#{signature.get('Id')}"
    signed_properties = properties.find(f"{XADES}SignedProperties")
    assert signed_properties is not None
    types = {r.get("URI"): r.get("Type") for r in signature.iter(f"{DS}Reference")}
    assert types[f"#{signed_properties.get('Id')}"] == "http://uri.etsi.org/01903#SignedProperties"
    assert "" in types
    assert signed_properties.findtext(f".//{XADES}SigningTime") == "2026-11-22T09:59:00Z"
    digest = signed_properties.findtext(f".//{XADES}SigningCertificateV2//{DS}DigestValue")
    assert digest == base64.b64encode(seal.certificate.fingerprint(hashes.SHA256())).decode()
    key_info = signature.find(f"{DS}KeyInfo")
    assert key_info is not None
    assert [etree.QName(child).localname for child in key_info] == ["X509Data"]


@pytest.mark.parametrize(
    ("context", "value"),
    [
        (ContextType.NIP, "5265877635"),
        (ContextType.INTERNAL_ID, "5265877635-12345"),
        (ContextType.NIP_VAT_UE, "5265877635-DE123456789"),
        (ContextType.PEPPOL_ID, "PPL123456"),
    ],
)
def test_every_kind_of_context_is_named(seal: SigningIdentity, context: ContextType, value: str) -> None:
    document = signed(seal, context, value)
    verify_by_hand(document)
    assert f"<{context.value}>{value}</{context.value}>".encode() in document


@pytest.mark.parametrize("schema", AUTH_SCHEMAS, ids=lambda path: path.name)
def test_the_document_without_its_signature_follows_the_official_schema(seal: SigningIdentity, schema: Path) -> None:
    tree = etree.parse(schema)
    # libxml2 cannot compile the patterns of the addresses in an optional element that we do not send.
    for element in list(tree.iter("{http://www.w3.org/2001/XMLSchema}element")):
        parent = element.getparent()
        if element.get("name") == "AuthorizationPolicy" and parent is not None:
            parent.remove(element)
    compiled = etree.XMLSchema(tree)
    for context, value in ((ContextType.NIP, "5265877635"), (ContextType.INTERNAL_ID, "5265877635-12345")):
        root = etree.fromstring(signed(seal, context, value))
        root.remove(root[-1])
        compiled.assertValid(root)


def test_a_subject_can_be_named_by_fingerprint(seal: SigningIdentity) -> None:
    document = sign_auth_token_request(
        CHALLENGE,
        ContextType.NIP,
        "5265877635",
        seal.certificate,
        seal.private_key,
        signing_time=SIGNED_AT,
        subject_identifier_type=SubjectIdentifierType.CERTIFICATE_FINGERPRINT,
    )
    assert b">certificateFingerprint<" in document
    assert len(seal.fingerprint) == 64


@pytest.mark.parametrize(
    ("challenge", "value"),
    [("<evil/>", "5265877635"), (CHALLENGE, "526587763"), (CHALLENGE, "5265877635\n")],
)
def test_odd_input_is_refused_before_signing(seal: SigningIdentity, challenge: str, value: str) -> None:
    with pytest.raises(ValueError, match="form"):
        sign_auth_token_request(
            challenge, ContextType.NIP, value, seal.certificate, seal.private_key, signing_time=SIGNED_AT
        )


def test_a_weak_key_is_refused() -> None:
    identity = identity_of(ec.generate_private_key(ec.SECP192R1()))
    with pytest.raises(CertificateUnusable):
        signed(identity)
