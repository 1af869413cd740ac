"""Check of a receipt's (UPO's) signature against its bytes.

The signer is shown but not verified, because the certificate chain is the ministry's.

signxml verifies. It walks through a receipt a dozen times, so a receipt of the plain form is passed to it as its frame, and the
documents are inserted where it digests the frame. Of this fast check only VALID is used; after any other result signxml verifies
the whole receipt.
"""

from enum import StrEnum
from typing import Any, Final

from lxml import etree
from signxml.algorithms import DigestAlgorithm
from signxml.exceptions import InvalidInput, InvalidSignature
from signxml.verifier import SignatureConfiguration, XMLVerifier

from app.ksef.upo.plain_reader import PlainUpo

_DSIG: Final = "{http://www.w3.org/2000/09/xmldsig#}"


class SignatureState(StrEnum):
    """Result of a signature check."""

    VALID = "valid"
    INVALID = "invalid"
    ABSENT = "absent"


def check_signature(document: bytes, plain: PlainUpo | None = None) -> SignatureState:
    """Check that the receipt's bytes are the signed ones, by the certificate in the receipt.

    `plain` is the same receipt after `take_apart`: with it the check takes a few milliseconds for 10,000 documents, without it half
    a second. Call it in a thread. Never raises: a receipt with any signature is kept, since the official test samples break rules.
    """
    if plain is not None:
        verifier = _FrameVerifier(plain)
        if _check(plain.frame, verifier) is SignatureState.VALID and verifier.documents_are_signed:
            return SignatureState.VALID
    return _check(document, XMLVerifier())


def _check(document: bytes, verifier: XMLVerifier) -> SignatureState:
    try:
        parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
        root = etree.fromstring(document, parser)
    except etree.XMLSyntaxError:
        return SignatureState.INVALID
    signature = root.find(f".//{_DSIG}Signature")
    if signature is None:
        return SignatureState.ABSENT
    certificate = signature.findtext(f"{_DSIG}KeyInfo/{_DSIG}X509Data/{_DSIG}X509Certificate")
    if not certificate:
        return SignatureState.INVALID
    pem = "-----BEGIN CERTIFICATE-----\n" + "\n".join(certificate.split()) + "\n-----END CERTIFICATE-----\n"
    references = signature.findall(f"{_DSIG}SignedInfo/{_DSIG}Reference")
    config = SignatureConfiguration(require_x509=True, expect_references=max(1, len(references)))
    try:
        found = verifier.verify(root, x509_cert=pem, expect_config=config)
    except (InvalidSignature, InvalidInput, ValueError, etree.LxmlError):
        return SignatureState.INVALID
    results = found if isinstance(found, list) else [found]
    # One reference must cover the whole receipt: a signature of one element proves nothing about the other elements.
    whole = any(
        reference.get("URI") == "" and result.signed_xml is not None and result.signed_xml.tag == root.tag
        for reference, result in zip(references, results, strict=False)
    )
    return SignatureState.VALID if whole else SignatureState.INVALID


class _FrameVerifier(XMLVerifier):
    """Verifier of a receipt's frame: it inserts the documents at their mark into the data that a reference digests."""

    def __init__(self, plain: PlainUpo) -> None:
        super().__init__()
        self._plain = plain
        self.documents_are_signed = False

    def _get_digest(self, data: bytes, algorithm: DigestAlgorithm) -> Any:
        whole = self._plain.whole(data)
        if whole is not None:
            self.documents_are_signed = True
        return super()._get_digest(data if whole is None else whole, algorithm)
