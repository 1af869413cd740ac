"""Verification of a signed AuthTokenRequest: XML signature, XAdES properties, signing certificate.

It uses only lxml and cryptography, not the library that the product signs with. Enveloped and enveloping signatures with one
of the listed algorithms are accepted; all other ones are rejected with KSeF's code: 9101 document, 9102 no signature,
9103 too many signatures, 9105 the signature itself.
Source: ksef-docs, auth/podpis-xades.md (July 2026) and uwierzytelnianie.md.
"""

import base64
import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree

from sandbox.auth.signature_algorithms import (
    DS,
    base64_content,
    canonical,
    digest_of,
    one_child,
    signature_fault,
    verify_value,
)
from sandbox.auth.signature_transforms import referenced
from sandbox.errors import bad

XADES = "http://uri.etsi.org/01903/v1.3.2#"
_NS = {"ds": DS, "xades": XADES}
_SIGNED_PROPERTIES_TYPE = "http://uri.etsi.org/01903#SignedProperties"
_MAX_CLOCK_SKEW = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """The content of a verified signature, and its certificate."""

    document: etree._Element
    """The AuthTokenRequest without its signature."""
    certificate: x509.Certificate
    document_hash: str
    """Base64 SHA-256 of the body as received."""


def verify_signed_request(body: bytes, now: datetime) -> SignedRequest:
    """Verify a signed login request and return its content; raises BadRequest with KSeF's code."""
    root = _parse(body)
    signature = _only_signature(root)
    certificate = _certificate(signature)
    _check_signature_value(signature, certificate)
    properties = _signed_properties(signature)
    covered = _check_references(root, signature, properties)
    _check_properties(properties, certificate, now)
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode("ascii")
    return SignedRequest(covered, certificate, digest)


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
    docinfo: Any = root.getroottree().docinfo  # lxml's stubs lack a part of it
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


def _certificate(signature: etree._Element) -> x509.Certificate:
    found = signature.findall("ds:KeyInfo/ds:X509Data/ds:X509Certificate", _NS)
    if not found:
        raise signature_fault("Brak certyfikatu w elemencie KeyInfo/X509Data.")
    try:
        return x509.load_der_x509_certificate(base64_content(found[0]))
    except ValueError as error:
        raise bad(21115, "Certyfikat jest nieczytelny.") from error


def _check_signature_value(signature: etree._Element, certificate: x509.Certificate) -> None:
    info = _one(signature, "ds:SignedInfo")
    data = canonical(info, _one(info, "ds:CanonicalizationMethod"))
    method = _one(info, "ds:SignatureMethod").get("Algorithm", "")
    verify_value(data, base64_content(_one(signature, "ds:SignatureValue")), method, certificate)


def _one(element: etree._Element, path: str) -> etree._Element:
    return one_child(element, path, _NS)


def _signed_properties(signature: etree._Element) -> etree._Element:
    qualifying = _one(signature, "ds:Object/xades:QualifyingProperties")
    identifier = signature.get("Id")
    if not identifier or qualifying.get("Target") != f"#{identifier}":
        raise signature_fault("Atrybut Target elementu QualifyingProperties nie wskazuje na podpis.")
    properties = _one(qualifying, "xades:SignedProperties")
    if not properties.get("Id"):
        raise signature_fault("Element SignedProperties nie ma atrybutu Id.")
    return properties


def _check_references(root: etree._Element, signature: etree._Element, properties: etree._Element) -> etree._Element:
    """Check every digest and return the document that the signature covers, without the signature."""
    covered: etree._Element | None = None
    properties_covered = False
    for reference in signature.findall("ds:SignedInfo/ds:Reference", _NS):
        uri = reference.get("URI")
        if uri is None:
            raise signature_fault("Odwołanie bez atrybutu URI.")
        target = _resolve(root, uri)
        document = _check_digest(reference, target, root, signature, uri)
        if target is properties:
            if reference.get("Type") != _SIGNED_PROPERTIES_TYPE:
                raise signature_fault("Odwołanie do SignedProperties nie ma właściwego atrybutu Type.")
            properties_covered = True
        elif signature is root and document is not target:
            covered = document
        elif signature is root:
            inside = target if etree.QName(target).localname == "AuthTokenRequest" else None
            if etree.QName(target).namespace == DS and etree.QName(target).localname == "Object" and len(target) == 1:
                inside = target[0]
            covered = inside if inside is not None else covered
        elif target is root:
            covered = document
    if not properties_covered:
        raise signature_fault("Podpis nie obejmuje elementu SignedProperties.")
    if covered is None:
        raise signature_fault("Podpis nie obejmuje dokumentu.")
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
        raise signature_fault(f"Element odwołania '{uri}' nie został znaleziony.")
    return found[0]


def _check_digest(
    reference: etree._Element,
    target: etree._Element,
    root: etree._Element,
    signature: etree._Element,
    uri: str,
) -> etree._Element:
    """Check one digest and return the element that it covers."""
    data, subject = referenced(reference, target, root, signature)
    algorithm = _one(reference, "ds:DigestMethod").get("Algorithm", "")
    if digest_of(data, algorithm) != base64_content(_one(reference, "ds:DigestValue")):
        raise signature_fault(f"Skrót elementu '{uri}' jest niezgodny z podpisem.")
    return subject


def _check_properties(properties: etree._Element, certificate: x509.Certificate, now: datetime) -> None:
    """Check the properties that KSeF requires: the signing time and the signing certificate's digest."""
    signed = _one(properties, "xades:SignedSignatureProperties")
    moment = _one(signed, "xades:SigningTime").text or ""
    try:
        signing_time = datetime.fromisoformat(moment.strip())
    except ValueError as error:
        raise signature_fault(f"SigningTime nie jest czasem: {moment}.") from error
    if signing_time.tzinfo is None:
        raise signature_fault("SigningTime nie ma strefy czasowej.")
    if signing_time > now + _MAX_CLOCK_SKEW:
        raise signature_fault("SigningTime leży w przyszłości.")
    certs = [
        *signed.findall("xades:SigningCertificate/xades:Cert", _NS),
        *signed.findall("xades:SigningCertificateV2/xades:Cert", _NS),
    ]
    if not certs:
        raise signature_fault("Brak elementu SigningCertificate lub SigningCertificateV2 (profil XAdES).")
    algorithm = _one(certs[0], "xades:CertDigest/ds:DigestMethod").get("Algorithm", "")
    digest = digest_of(certificate.public_bytes(Encoding.DER), algorithm)
    if digest != base64_content(_one(certs[0], "xades:CertDigest/ds:DigestValue")):
        raise signature_fault("Skrót certyfikatu podpisującego jest niezgodny z certyfikatem.")
