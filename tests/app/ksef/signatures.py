"""A second opinion on signatures: validation written from the specifications, and certificates for any key."""

import base64
import hashlib
from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.x509.oid import NameOID
from lxml import etree

from app.ksef.login.certificates import PrivateKey, SigningIdentity
from tests.app.ksef.fake_ksef import START

DS = "{http://www.w3.org/2000/09/xmldsig#}"
EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"
SHA256 = "http://www.w3.org/2001/04/xmlenc#sha256"


def identity_of(key: PrivateKey) -> SigningIdentity:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Pieczęć")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(START)
        .not_valid_after(START + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return SigningIdentity(certificate, key)


def verify_by_hand(document: bytes) -> None:
    """XML signature validation from the specifications, for the shapes we emit. Raises when anything differs."""
    root = etree.fromstring(document)
    signature = root.find(f"{DS}Signature")
    assert signature is not None
    info = signature.find(f"{DS}SignedInfo")
    assert info is not None
    for reference in info.findall(f"{DS}Reference"):
        algorithms = [t.get("Algorithm") for t in reference.iter(f"{DS}Transform")]
        assert algorithms[-1] == EXCLUSIVE
        method = reference.find(f"{DS}DigestMethod")
        assert method is not None
        assert method.get("Algorithm") == SHA256
        uri = reference.get("URI")
        if uri == "":
            target = etree.fromstring(document)
            inner = target.find(f"{DS}Signature")
            assert inner is not None
            target.remove(inner)
        else:
            found = root.xpath("//*[@Id=$id]", id=(uri or "").removeprefix("#"))
            assert isinstance(found, list)
            (only,) = found
            assert isinstance(only, etree._Element)
            target = only
        digest = hashlib.sha256(etree.tostring(target, method="c14n", exclusive=True)).digest()
        assert base64.b64encode(digest).decode() == reference.findtext(f"{DS}DigestValue"), uri
    pem_body = signature.findtext(f".//{DS}X509Certificate") or ""
    certificate = x509.load_der_x509_certificate(base64.b64decode(pem_body))
    signed_bytes = etree.tostring(info, method="c14n", exclusive=True)
    value = base64.b64decode(signature.findtext(f"{DS}SignatureValue") or "")
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(value, signed_bytes, padding.PKCS1v15(), hashes.SHA256())
    else:
        assert isinstance(key, ec.EllipticCurvePublicKey)
        width = (key.curve.key_size + 7) // 8
        assert len(value) == 2 * width, "R and S are each padded to the curve's width"
        r, s = int.from_bytes(value[:width], "big"), int.from_bytes(value[width:], "big")
        key.verify(encode_dss_signature(r, s), signed_bytes, ec.ECDSA(hashes.SHA256()))
