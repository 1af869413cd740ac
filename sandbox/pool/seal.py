"""Signer of receipts: builds the enveloped XAdES signature without a general XML signer.

A general signer canonicalises the whole receipt several times. A receipt of 10,000 invoices is already written in canonical
form, so its digest is the SHA-256 of its bytes, and only the few lines of the signature are canonicalised.
"""

import base64
import hashlib
import secrets
from datetime import UTC, datetime
from functools import cache
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from lxml import etree

_DECLARATION: Final = b'<?xml version="1.0" encoding="utf-8"?>\n'
_DS: Final = "http://www.w3.org/2000/09/xmldsig#"
_XADES: Final = "http://uri.etsi.org/01903/v1.3.2#"
_C14N: Final = "http://www.w3.org/2001/10/xml-exc-c14n#"
_SHA256: Final = "http://www.w3.org/2001/04/xmlenc#sha256"
_TRANSFORM: Final = f'<ds:Transform Algorithm="{_C14N}"/>'
_METHOD: Final = f'<ds:DigestMethod Algorithm="{_SHA256}"/>'
# Every reference names its canonicalisation: without a Transforms element the standard prescribes inclusive C14N 1.0, which is
# not the form digested here, so a verifier that follows the standard would reject the signature.
_SIGNATURE: Final = f"""\
<ds:Signature xmlns:ds="{_DS}" xmlns:xades="{_XADES}" Id="Signature-{{id}}"><ds:SignedInfo>\
<ds:CanonicalizationMethod Algorithm="{_C14N}"/>\
<ds:SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"/>\
<ds:Reference URI="" Id="Document-{{id}}"><ds:Transforms>\
<ds:Transform Algorithm="{_DS}enveloped-signature"/>{_TRANSFORM}</ds:Transforms>\
{_METHOD}<ds:DigestValue>{{document}}</ds:DigestValue></ds:Reference>\
<ds:Reference URI="#Properties-{{id}}" Type="http://uri.etsi.org/01903#SignedProperties"><ds:Transforms>{_TRANSFORM}\
</ds:Transforms>{_METHOD}<ds:DigestValue/></ds:Reference>\
<ds:Reference URI="#Certificate-{{id}}"><ds:Transforms>{_TRANSFORM}</ds:Transforms>\
{_METHOD}<ds:DigestValue/></ds:Reference></ds:SignedInfo><ds:SignatureValue/>\
<ds:KeyInfo Id="Certificate-{{id}}"><ds:X509Data><ds:X509Certificate>{{certificate}}</ds:X509Certificate></ds:X509Data>\
</ds:KeyInfo><ds:Object><xades:QualifyingProperties Target="#Signature-{{id}}">\
<xades:SignedProperties Id="Properties-{{id}}"><xades:SignedSignatureProperties>\
<xades:SigningTime>{{time}}</xades:SigningTime><xades:SigningCertificateV2><xades:Cert><xades:CertDigest>{_METHOD}\
<ds:DigestValue>{{fingerprint}}</ds:DigestValue></xades:CertDigest></xades:Cert></xades:SigningCertificateV2>\
</xades:SignedSignatureProperties><xades:SignedDataObjectProperties>\
<xades:DataObjectFormat ObjectReference="#Document-{{id}}"><xades:MimeType>text/xml</xades:MimeType>\
</xades:DataObjectFormat></xades:SignedDataObjectProperties></xades:SignedProperties></xades:QualifyingProperties>\
</ds:Object></ds:Signature>"""


def sealed(document: bytes, key_pem: bytes, certificate_pem: bytes) -> bytes:
    """Return the receipt with an XML declaration, and its signature as the root's last child.

    `document` must be in exclusive canonical form, without a declaration and without a `ds:Signature`. This is not checked,
    but a verifier rejects the signature of another form.
    """
    end = document.rindex(b"</")
    certificate = _certificate(certificate_pem)
    signature = etree.fromstring(
        _SIGNATURE.format(
            id=secrets.token_hex(4).upper(),
            document=_base64(hashlib.sha256(document).digest()),
            certificate=_base64(certificate),
            fingerprint=_base64(hashlib.sha256(certificate).digest()),
            time=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        )
    )
    signed_info, value, key_info = signature[0], signature[1], signature[2]
    for reference, covered in ((signed_info[3], signature[3][0][0]), (signed_info[4], key_info)):
        reference[-1].text = _base64(hashlib.sha256(_canonical(covered)).digest())
    value.text = _base64(_key(key_pem).sign(_canonical(signed_info), padding.PKCS1v15(), hashes.SHA256()))
    return b"".join((_DECLARATION, document[:end], etree.tostring(signature), document[end:]))


def _canonical(element: etree._Element) -> bytes:
    return etree.tostring(element, method="c14n", exclusive=True, with_comments=False)


@cache
def _key(pem: bytes) -> rsa.RSAPrivateKey:
    # The sandbox made this key itself; validating it again takes longer than a hundred signatures.
    key = load_pem_private_key(pem, None, unsafe_skip_rsa_key_validation=True)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise TypeError("receipts are sealed with an RSA key")
    return key


@cache
def _certificate(pem: bytes) -> bytes:
    return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
