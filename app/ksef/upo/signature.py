"""Whether the signature of a receipt (UPO) fits its bytes. Who signed is shown, not judged: the chain is the ministry's.

signxml judges. It goes through a document a dozen times, so that a receipt of the plain form is given to it as its frame, and where it
digests the frame, the documents are put back in. Only VALID is believed of this short way; whatever else it says, it is asked again about
the whole.
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
    """What a look at the signature found."""

    VALID = "valid"
    INVALID = "invalid"
    ABSENT = "absent"


def check_signature(document: bytes, plain: PlainUpo | None = None) -> SignatureState:
    """Check that the receipt's bytes are those that were signed, by the certificate that it carries.

    `plain` is the same receipt taken apart, if it could be: that takes a few milliseconds for 10,000 documents, otherwise it takes
    half a second. Call it in a thread. Never raises: a receipt is kept whatever its signature, since the official test samples
    themselves break rules.
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
    # One of them has to be of all that is read here: a signature of some element says nothing of the others.
    whole = any(
        reference.get("URI") == "" and result.signed_xml is not None and result.signed_xml.tag == root.tag
        for reference, result in zip(references, results, strict=False)
    )
    return SignatureState.VALID if whole else SignatureState.INVALID


class _FrameVerifier(XMLVerifier):
    """Judges a receipt by its frame: the documents are put where their mark is in what a reference digests."""

    def __init__(self, plain: PlainUpo) -> None:
        super().__init__()
        self._plain = plain
        self.documents_are_signed = False

    def _get_digest(self, data: bytes, algorithm: DigestAlgorithm) -> Any:
        whole = self._plain.whole(data)
        if whole is not None:
            self.documents_are_signed = True
        return super()._get_digest(data if whole is None else whole, algorithm)
