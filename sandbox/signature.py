"""Verification of a signed AuthTokenRequest: XML signature, XAdES properties, signing certificate.

Written on lxml and cryptography alone, apart from the library that the product signs with. Accepted are enveloped
and enveloping signatures with one of the listed algorithms; everything else is refused with the code that KSeF
gives: 9101 document, 9102 no signature, 9103 too many, 9105 the signature itself.
Source: ksef-docs, auth/podpis-xades.md (July 2026) and uwierzytelnianie.md.
"""

import base64
import binascii
import copy
import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree

from sandbox.refusals import BadRequest, bad

DS = "http://www.w3.org/2000/09/xmldsig#"
XADES = "http://uri.etsi.org/01903/v1.3.2#"
_NS = {"ds": DS, "xades": XADES}
_SIGNED_PROPERTIES_TYPE = "http://uri.etsi.org/01903#SignedProperties"
_ENVELOPED = f"{DS}enveloped-signature"
_MORE = "http://www.w3.org/2001/04/xmldsig-more#"
_MORE_2007 = "http://www.w3.org/2007/05/xmldsig-more#"
_MAX_CLOCK_SKEW = timedelta(minutes=1)

# SHA-1 stands in the published list, but production refuses it (ksef-client-csharp, issue 215).
_DIGESTS: dict[str, hashes.HashAlgorithm] = {
    "http://www.w3.org/2001/04/xmlenc#sha256": hashes.SHA256(),
    f"{_MORE}sha384": hashes.SHA384(),
    "http://www.w3.org/2001/04/xmlenc#sha512": hashes.SHA512(),
    f"{_MORE_2007}sha3-256": hashes.SHA3_256(),
    f"{_MORE_2007}sha3-384": hashes.SHA3_384(),
    f"{_MORE_2007}sha3-512": hashes.SHA3_512(),
}
_CANONICAL: dict[str, tuple[bool, bool]] = {
    "http://www.w3.org/TR/2001/REC-xml-c14n-20010315": (False, False),
    "http://www.w3.org/TR/2001/REC-xml-c14n-20010315#WithComments": (False, True),
    "http://www.w3.org/2006/12/xml-c14n11": (False, False),
    "http://www.w3.org/2006/12/xml-c14n11#WithComments": (False, True),
    "http://www.w3.org/2001/10/xml-exc-c14n#": (True, False),
    "http://www.w3.org/2001/10/xml-exc-c14n#WithComments": (True, True),
}
"""Algorithm -> (exclusive, with comments)."""
_RSA = {
    f"{_MORE}rsa-sha256": hashes.SHA256(),
    f"{_MORE}rsa-sha384": hashes.SHA384(),
    f"{_MORE}rsa-sha512": hashes.SHA512(),
}
_PSS = {
    f"{_MORE_2007}sha256-rsa-MGF1": hashes.SHA256(),
    f"{_MORE_2007}sha384-rsa-MGF1": hashes.SHA384(),
    f"{_MORE_2007}sha512-rsa-MGF1": hashes.SHA512(),
}
_ECDSA = {
    f"{_MORE}ecdsa-sha256": hashes.SHA256(),
    f"{_MORE}ecdsa-sha384": hashes.SHA384(),
    f"{_MORE}ecdsa-sha512": hashes.SHA512(),
}


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """What a good signature covers, and whose it is."""

    document: etree._Element
    """The AuthTokenRequest without its signature."""
    certificate: x509.Certificate
    document_hash: str
    """Base64 SHA-256 of the body as received."""


def verify_signed_request(body: bytes, now: datetime) -> SignedRequest:
    """The verified document of a signed login request; raises BadRequest with KSeF's code otherwise."""
    root = _parse(body)
    signature = _only_signature(root)
    certificate = _certificate(signature)
    _check_signature_value(signature, certificate)
    properties = _signed_properties(signature)
    covered = _check_references(root, signature, properties)
    _check_properties(properties, certificate, now)
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode("ascii")
    return SignedRequest(covered, certificate, digest)


def _fault(detail: str) -> BadRequest:
    return bad(9105, detail)


def _parse(body: bytes) -> etree._Element:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise bad(21217) from error
    try:
        root = etree.fromstring(body, parser)
    except etree.XMLSyntaxError as error:
        raise bad(21001, str(error.msg)) from error
    docinfo: Any = root.getroottree().docinfo  # the stubs know only a part of it
    if docinfo.doctype:
        raise bad(9101, "Deklaracja DOCTYPE jest niedozwolona.")
    return root


def _only_signature(root: etree._Element) -> etree._Element:
    signatures = list(root.iter(f"{{{DS}}}Signature"))
    if not signatures:
        raise bad(9102)
    if len(signatures) > 1:
        raise bad(9103)
    signature = signatures[0]
    if signature is not root and (signature.getparent() is not root or signature.getnext() is not None):
        raise bad(9101, "Podpis musi być ostatnim elementem dokumentu.")
    return signature


def _one(element: etree._Element, path: str) -> etree._Element:
    found = element.findall(path, _NS)
    if len(found) != 1:
        raise _fault(f"Oczekiwano dokładnie jednego elementu {path}, znaleziono: {len(found)}.")
    return found[0]


def _bytes(element: etree._Element) -> bytes:
    try:
        return base64.b64decode("".join((element.text or "").split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise _fault(f"Element {etree.QName(element).localname} nie jest w Base64.") from error


def _certificate(signature: etree._Element) -> x509.Certificate:
    found = signature.findall("ds:KeyInfo/ds:X509Data/ds:X509Certificate", _NS)
    if not found:
        raise _fault("Brak certyfikatu w elemencie KeyInfo/X509Data.")
    try:
        return x509.load_der_x509_certificate(_bytes(found[0]))
    except ValueError as error:
        raise bad(21115, "Certyfikat jest nieczytelny.") from error


def _check_signature_value(signature: etree._Element, certificate: x509.Certificate) -> None:
    info = _one(signature, "ds:SignedInfo")
    data = _canonical(info, _one(info, "ds:CanonicalizationMethod"))
    method = _one(info, "ds:SignatureMethod").get("Algorithm", "")
    value = _bytes(_one(signature, "ds:SignatureValue"))
    key = certificate.public_key()
    try:
        if isinstance(key, rsa.RSAPublicKey) and (method in _RSA or method in _PSS):
            if key.key_size < 2048:
                raise bad(21115, "Klucz RSA ma mniej niż 2048 bitów.")
            if method in _RSA:
                key.verify(value, data, padding.PKCS1v15(), _RSA[method])
            else:
                scheme = padding.PSS(padding.MGF1(_PSS[method]), _PSS[method].digest_size)
                key.verify(value, data, scheme, _PSS[method])
        elif isinstance(key, ec.EllipticCurvePublicKey) and method in _ECDSA:
            if key.key_size < 256:
                raise bad(21115, "Krzywa eliptyczna ma mniej niż 256 bitów.")
            width = (key.key_size + 7) // 8
            if len(value) != 2 * width:
                raise _fault("Wartość podpisu ECDSA nie ma postaci R||S o stałej długości.")
            numbers = int.from_bytes(value[:width]), int.from_bytes(value[width:])
            key.verify(encode_dss_signature(*numbers), data, ec.ECDSA(_ECDSA[method]))
        else:
            raise _fault(f"Algorytm podpisu {method} nie jest obsługiwany dla tego klucza.")
    except InvalidSignature as error:
        raise _fault("Wartość podpisu jest nieprawidłowa.") from error


def _canonical(element: etree._Element, method: etree._Element) -> bytes:
    algorithm = method.get("Algorithm", "")
    if algorithm not in _CANONICAL:
        raise _fault(f"Kanonikalizacja {algorithm} nie jest obsługiwana.")
    exclusive, comments = _CANONICAL[algorithm]
    prefixes = None
    inclusive = method.find("{http://www.w3.org/2001/10/xml-exc-c14n#}InclusiveNamespaces")
    if inclusive is not None:
        prefixes = (inclusive.get("PrefixList") or "").split()
    return etree.tostring(
        element,
        method="c14n",
        exclusive=exclusive,
        with_comments=comments,
        inclusive_ns_prefixes=prefixes,
        with_tail=False,
    )


def _signed_properties(signature: etree._Element) -> etree._Element:
    qualifying = _one(signature, "ds:Object/xades:QualifyingProperties")
    identifier = signature.get("Id")
    if not identifier or qualifying.get("Target") != f"#{identifier}":
        raise _fault("Atrybut Target elementu QualifyingProperties nie wskazuje na podpis.")
    properties = _one(qualifying, "xades:SignedProperties")
    if not properties.get("Id"):
        raise _fault("Element SignedProperties nie ma atrybutu Id.")
    return properties


def _check_references(root: etree._Element, signature: etree._Element, properties: etree._Element) -> etree._Element:
    """Check every digest; the document that is covered comes back, without its signature."""
    covered: etree._Element | None = None
    properties_covered = False
    for reference in signature.findall("ds:SignedInfo/ds:Reference", _NS):
        uri = reference.get("URI")
        if uri is None:
            raise _fault("Odwołanie bez atrybutu URI.")
        target = _resolve(root, uri)
        document = _check_digest(reference, target, root, signature, uri)
        if target is properties:
            if reference.get("Type") != _SIGNED_PROPERTIES_TYPE:
                raise _fault("Odwołanie do SignedProperties nie ma właściwego atrybutu Type.")
            properties_covered = True
        elif signature is root:
            inside = target if etree.QName(target).localname == "AuthTokenRequest" else None
            if etree.QName(target).namespace == DS and etree.QName(target).localname == "Object" and len(target) == 1:
                inside = target[0]
            covered = inside if inside is not None else covered
        elif target is root:
            covered = document
    if not properties_covered:
        raise _fault("Podpis nie obejmuje elementu SignedProperties.")
    if covered is None:
        raise _fault("Podpis nie obejmuje dokumentu.")
    return covered


def _resolve(root: etree._Element, uri: str) -> etree._Element:
    if uri == "":
        return root
    if not uri.startswith("#"):
        raise bad(9101, "Podpis zewnętrzny (detached) nie jest obsługiwany.")
    found = [
        element
        for element in root.iter(etree.Element)
        if uri[1:] in {element.get("Id"), element.get("ID"), element.get("id")}
    ]
    if len(found) != 1:
        raise _fault(f"Element odwołania '{uri}' nie został znaleziony.")
    return found[0]


def _check_digest(
    reference: etree._Element,
    target: etree._Element,
    root: etree._Element,
    signature: etree._Element,
    uri: str,
) -> etree._Element:
    """Compare one digest; what it was computed over comes back."""
    subject = target
    transforms = reference.findall("ds:Transforms/ds:Transform", _NS)
    method: etree._Element | None = None
    for transform in transforms:
        algorithm = transform.get("Algorithm", "")
        if algorithm == _ENVELOPED:
            if target is not root or signature is root:
                raise _fault("Transformacja enveloped-signature poza podpisem otoczonym.")
            subject = _without_signature(root)
        elif algorithm in _CANONICAL:
            method = transform
        else:
            raise _fault(f"Transformacja {algorithm} nie jest obsługiwana.")
    if target is root and subject is root:
        raise _fault("Odwołanie do dokumentu obejmuje sam podpis.")
    if method is None:
        # Without a canonicalisation the standard's own applies.
        method = etree.Element("method", Algorithm="http://www.w3.org/TR/2001/REC-xml-c14n-20010315")
    algorithm = _one(reference, "ds:DigestMethod").get("Algorithm", "")
    if algorithm not in _DIGESTS:
        raise _fault(f"Algorytm skrótu {algorithm} nie jest obsługiwany.")
    digest = hashes.Hash(_DIGESTS[algorithm])
    digest.update(_canonical(subject, method))
    if digest.finalize() != _bytes(_one(reference, "ds:DigestValue")):
        raise _fault(f"Skrót elementu '{uri}' jest niezgodny z podpisem.")
    return subject


def _without_signature(root: etree._Element) -> etree._Element:
    """A copy of the document without its signature; the text behind the signature stays."""
    plain = copy.deepcopy(root)
    signature = plain.find(f"{{{DS}}}Signature")
    if signature is None:
        raise bad(9102)
    tail, before = signature.tail or "", signature.getprevious()
    if before is not None:
        before.tail = (before.tail or "") + tail
    else:
        plain.text = (plain.text or "") + tail
    plain.remove(signature)
    return plain


def _check_properties(properties: etree._Element, certificate: x509.Certificate, now: datetime) -> None:
    """The profile that KSeF insists on: time of signing and the signing certificate's digest."""
    signed = _one(properties, "xades:SignedSignatureProperties")
    moment = _one(signed, "xades:SigningTime").text or ""
    try:
        signing_time = datetime.fromisoformat(moment.strip())
    except ValueError as error:
        raise _fault(f"SigningTime nie jest czasem: {moment}.") from error
    if signing_time.tzinfo is None:
        raise _fault("SigningTime nie ma strefy czasowej.")
    if signing_time > now + _MAX_CLOCK_SKEW:
        raise _fault("SigningTime leży w przyszłości.")
    certs = [
        *signed.findall("xades:SigningCertificate/xades:Cert", _NS),
        *signed.findall("xades:SigningCertificateV2/xades:Cert", _NS),
    ]
    if not certs:
        raise _fault("Brak elementu SigningCertificate lub SigningCertificateV2 (profil XAdES).")
    algorithm = _one(certs[0], "xades:CertDigest/ds:DigestMethod").get("Algorithm", "")
    if algorithm not in _DIGESTS:
        raise _fault(f"Algorytm skrótu {algorithm} nie jest obsługiwany.")
    digest = hashes.Hash(_DIGESTS[algorithm])
    digest.update(certificate.public_bytes(Encoding.DER))
    if digest.finalize() != _bytes(_one(certs[0], "xades:CertDigest/ds:DigestValue")):
        raise _fault("Skrót certyfikatu podpisującego jest niezgodny z certyfikatem.")
