"""Signature of the login request: `AuthTokenRequest` with an enveloped XAdES BASELINE-B signature.

Of several permitted forms of the signature the one of KSeF's own clients is used: exclusive canonicalisation, named in every
reference, SHA-256 throughout, and a signing time one minute back, because KSeF refuses one in its future. The returned bytes
are the signed ones: do not parse and write them again.
Source: ksef-docs, auth/podpis-xades.md; schema AuthTokenRequest 2.0; ETSI EN 319 132-1.
"""

import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from lxml import etree
from signxml.algorithms import (
    CanonicalizationMethod,
    DigestAlgorithm,
    SignatureConstructionMethod,
    SignatureMethod,
)
from signxml.xades.xades import XAdESSigner

from app.ksef.errors import CertificateUnusable

AUTH_NAMESPACE = "http://ksef.mf.gov.pl/auth/token/2.0"
"""The namespace of version 2.0. Version 2.1 differs only in the patterns of addresses, which we do not send."""

_DS = "http://www.w3.org/2000/09/xmldsig#"
_C14N = CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0
_NSMAP: Any = {None: AUTH_NAMESPACE}  # lxml's stubs do not know the default namespace's None
_NIP = r"[1-9](?:[0-9][1-9]|[1-9][0-9])[0-9]{7}"
_CHALLENGE = re.compile(r"[0-9]{8}-CR-[A-F0-9]{10}-[A-F0-9]{10}-[A-F0-9]{2}")


class ContextType(StrEnum):
    """Type of a login's context (KSeF API 2.9, AuthenticationContextIdentifierType)."""

    NIP = "Nip"
    INTERNAL_ID = "InternalId"
    NIP_VAT_UE = "NipVatUe"
    PEPPOL_ID = "PeppolId"


class SubjectIdentifierType(StrEnum):
    """Identification of the signer by KSeF: by the certificate's subject, or by its fingerprint."""

    CERTIFICATE_SUBJECT = "certificateSubject"
    CERTIFICATE_FINGERPRINT = "certificateFingerprint"


CONTEXT_PATTERNS: dict[ContextType, re.Pattern[str]] = {
    ContextType.NIP: re.compile(_NIP),
    ContextType.INTERNAL_ID: re.compile(rf"{_NIP}-[0-9]{{5}}"),
    ContextType.NIP_VAT_UE: re.compile(rf"{_NIP}-[A-Z]{{2}}[A-Z0-9+*]{{2,12}}"),
    ContextType.PEPPOL_ID: re.compile(r"P[A-Z]{2}[0-9]{6}"),
}


def sign_auth_token_request(
    challenge: str,
    context_type: ContextType,
    context_value: str,
    certificate: x509.Certificate,
    private_key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
    *,
    signing_time: datetime,
    subject_identifier_type: SubjectIdentifierType = SubjectIdentifierType.CERTIFICATE_SUBJECT,
) -> bytes:
    """Build and sign the login request: UTF-8 bytes to post to /auth/xades-signature.

    `signing_time` must be aware and should be a minute ago. Takes some milliseconds of CPU: call it in a
    thread. Raises ValueError when the challenge or the context does not have its form, and
    CertificateUnusable when the key cannot make a signature that KSeF accepts.
    """
    root = _auth_token_request(challenge, context_type, context_value, subject_identifier_type)
    signer = _Signer(signing_time, _signature_method(private_key))
    signed = signer.sign(root, key=private_key, cert=[certificate], always_add_key_value=False)
    return b'<?xml version="1.0" encoding="utf-8"?>\n' + etree.tostring(signed, encoding="utf-8")


def _auth_token_request(
    challenge: str, context_type: ContextType, context_value: str, subject: SubjectIdentifierType
) -> etree._Element:
    if _CHALLENGE.fullmatch(challenge) is None:
        raise ValueError("the challenge does not have the form that KSeF gives it")
    if CONTEXT_PATTERNS[context_type].fullmatch(context_value) is None:
        raise ValueError(f"the context value does not have the form of a {context_type.value}")
    root = etree.Element(etree.QName(AUTH_NAMESPACE, "AuthTokenRequest"), nsmap=_NSMAP)
    etree.SubElement(root, etree.QName(AUTH_NAMESPACE, "Challenge")).text = challenge
    context = etree.SubElement(root, etree.QName(AUTH_NAMESPACE, "ContextIdentifier"))
    etree.SubElement(context, etree.QName(AUTH_NAMESPACE, context_type.value)).text = context_value
    etree.SubElement(root, etree.QName(AUTH_NAMESPACE, "SubjectIdentifierType")).text = subject.value
    return root


def _signature_method(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> SignatureMethod:
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= 2048:
        return SignatureMethod.RSA_SHA256
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.key_size >= 256:
        return SignatureMethod.ECDSA_SHA256
    raise CertificateUnusable("KSeF takes RSA keys from 2048 bits and elliptic curves from 256 bits")


class _Signer(XAdESSigner):
    """signxml's signer with a given signing time, and with every reference naming its canonicalisation.

    signxml digests the SignedProperties with the signature's canonicalisation but writes no transform for them, and without
    one a verifier must use inclusive C14N: the digests then differ for a request with a default namespace. Writing the
    transform makes both sides use the same canonicalisation.
    """

    def __init__(self, signing_time: datetime, method: SignatureMethod) -> None:
        super().__init__(
            method=SignatureConstructionMethod.enveloped,
            signature_algorithm=method,
            digest_algorithm=DigestAlgorithm.SHA256,
            c14n_algorithm=_C14N,
        )
        self._signing_time = signing_time.astimezone(UTC)

    def add_signing_time(self, signed_signature_properties: Any, sig_root: Any, signing_settings: Any) -> None:
        """Write the given time instead of the current one."""
        super().add_signing_time(signed_signature_properties, sig_root, signing_settings)
        signed_signature_properties[-1].text = f"{self._signing_time:%Y-%m-%dT%H:%M:%SZ}"

    def _add_reference_to_signed_info(self, sig_root: Any, node_to_reference: Any, **attributes: str) -> None:
        super()._add_reference_to_signed_info(sig_root, node_to_reference, **attributes)  # type: ignore[no-untyped-call]  # signxml has no types here
        reference = sig_root.find(f"{{{_DS}}}SignedInfo")[-1]
        transforms = etree.Element(f"{{{_DS}}}Transforms")
        etree.SubElement(transforms, f"{{{_DS}}}Transform", Algorithm=_C14N.value)
        reference.insert(0, transforms)
