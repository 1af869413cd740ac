"""Whether the signature of a receipt (UPO) fits its bytes. Who signed is shown, not judged: the chain is the ministry's."""

from enum import StrEnum
from typing import Final

from lxml import etree
from signxml.exceptions import InvalidInput, InvalidSignature
from signxml.verifier import SignatureConfiguration, XMLVerifier

_DSIG: Final = "{http://www.w3.org/2000/09/xmldsig#}"


class SignatureState(StrEnum):
    """What a look at the signature found."""

    VALID = "valid"
    INVALID = "invalid"
    ABSENT = "absent"


def check_signature(document: bytes) -> SignatureState:
    """Check that the receipt's bytes are those that were signed, by the certificate that it carries.

    Takes a few hundred milliseconds for 10,000 documents: call it in a thread. Never raises: a receipt is kept whatever
    its signature, since the official test samples themselves break rules.
    """
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
    references = len(signature.findall(f"{_DSIG}SignedInfo/{_DSIG}Reference"))
    try:
        XMLVerifier().verify(
            root,
            x509_cert=pem,
            expect_config=SignatureConfiguration(require_x509=True, expect_references=max(1, references)),
        )
    except (InvalidSignature, InvalidInput, ValueError, etree.LxmlError):
        return SignatureState.INVALID
    return SignatureState.VALID
