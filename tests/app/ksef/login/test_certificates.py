"""The stored certificate and its key, and the certificate for the test environment."""

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from app.ksef.errors import CertificateUnusable
from app.ksef.login.certificates import SigningIdentity, load_certificate, self_signed_seal
from tests.app.ksef.fake_ksef import START
from tests.app.ksef.signatures import identity_of


def pem_pair(identity: SigningIdentity) -> tuple[bytes, bytes]:
    return (
        identity.certificate.public_bytes(Encoding.PEM),
        identity.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )


def test_a_seal_has_the_subject_that_ksef_reads(seal: SigningIdentity) -> None:
    subject = seal.certificate.subject

    def text(oid: x509.ObjectIdentifier) -> list[str]:
        return [str(attribute.value) for attribute in subject.get_attributes_for_oid(oid)]

    assert text(NameOID.ORGANIZATION_IDENTIFIER) == ["VATPL-5265877635"]
    assert text(NameOID.ORGANIZATION_NAME) == text(NameOID.COMMON_NAME) == ["Zażółć & Synowie"]
    assert text(NameOID.COUNTRY_NAME) == ["PL"]
    assert text(NameOID.GIVEN_NAME) == text(NameOID.SURNAME) == []
    assert seal.certificate.not_valid_before_utc == START - timedelta(hours=1)
    assert isinstance(seal.private_key, rsa.RSAPrivateKey)
    assert "private" not in repr(seal)


@pytest.mark.parametrize("name", ["", " ", "x" * 300])
def test_any_name_makes_a_seal(name: str) -> None:
    assert load_certificate(*self_signed_seal("5265877635", name, now=START)).valid_until > START


def test_the_stored_pair_is_loaded(seal: SigningIdentity) -> None:
    assert load_certificate(*pem_pair(seal)).certificate == seal.certificate


def test_a_stored_pair_that_cannot_be_used_is_refused(seal: SigningIdentity) -> None:
    certificate, key = pem_pair(seal)
    other = identity_of(ec.generate_private_key(ec.SECP256R1()))
    for pair in ((certificate, pem_pair(other)[1]), (b"nonsense", key), (certificate, b"nonsense")):
        with pytest.raises(CertificateUnusable, match="stored"):
            load_certificate(*pair)
