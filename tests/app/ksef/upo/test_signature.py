"""Whether a receipt's signature fits its bytes."""

from datetime import UTC, datetime

import pytest
from lxml import etree
from signxml.algorithms import CanonicalizationMethod
from signxml.signer import XMLSigner

from app.ksef.login.certificates import self_signed_seal
from app.ksef.upo.signature import SignatureState, check_signature

RECEIPT = (
    b'<Potwierdzenie xmlns="http://upo.schematy.mf.gov.pl/KSeF/v4-3"><NumerReferencyjnySesji>x</NumerReferencyjnySesji>'
    b"<Dokument><NumerKSeFDokumentu>5265877635-20250826-0100001AF629-AF</NumerKSeFDokumentu></Dokument></Potwierdzenie>"
)


@pytest.fixture(scope="module")
def signed() -> bytes:
    certificate, key = self_signed_seal("5265877635", "Ministerstwo", now=datetime(2026, 11, 22, tzinfo=UTC))
    signer = XMLSigner(c14n_algorithm=CanonicalizationMethod.CANONICAL_XML_1_0)
    root = signer.sign(etree.fromstring(RECEIPT), key=key, cert=certificate.decode())
    return etree.tostring(root)


def test_a_signed_receipt_is_valid(signed: bytes) -> None:
    assert check_signature(signed) is SignatureState.VALID


def test_one_changed_character_is_noticed(signed: bytes) -> None:
    assert check_signature(signed.replace(b"0100001AF629", b"0100001AF628")) is SignatureState.INVALID


def test_a_receipt_without_a_signature_is_told_apart() -> None:
    assert check_signature(RECEIPT) is SignatureState.ABSENT


@pytest.mark.parametrize("broken", [b"", b"<html>", b"no xml", RECEIPT.replace(b"</Potwierdzenie>", b'<Signature xmlns="http://www.w3.org/2000/09/xmldsig#"/></Potwierdzenie>')])  # fmt: skip
def test_what_cannot_be_read_is_invalid_and_raises_nothing(broken: bytes) -> None:
    assert check_signature(broken) is SignatureState.INVALID
