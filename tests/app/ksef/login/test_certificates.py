"""Reading what an operator may have, and the certificate for the test environment."""

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from cryptography.x509.oid import NameOID

from app.ksef.errors import CertificateUnusable
from app.ksef.login.certificates import SigningIdentity, load_certificate, self_signed_seal
from tests.app.ksef.fake_ksef import START
from tests.app.ksef.signatures import identity_of


def pem_pair(identity: SigningIdentity, password: bytes | None = None) -> tuple[bytes, bytes]:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return (
        identity.certificate.public_bytes(Encoding.PEM),
        identity.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption),
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


@pytest.mark.parametrize("password", [None, b"tajne"])
def test_pem_is_read_with_and_without_a_password(seal: SigningIdentity, password: bytes | None) -> None:
    certificate, key = pem_pair(seal, password)
    assert load_certificate(certificate, key, password).certificate == seal.certificate
    assert load_certificate(key + certificate, None, password).certificate == seal.certificate


def test_a_password_that_was_not_needed_does_no_harm(seal: SigningIdentity) -> None:
    assert load_certificate(*pem_pair(seal), b"tajne").certificate == seal.certificate


def test_der_is_read(seal: SigningIdentity) -> None:
    der = seal.certificate.public_bytes(Encoding.DER)
    key = seal.private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    assert load_certificate(der, key).certificate == seal.certificate


@pytest.mark.parametrize("password", [None, b"tajne"])
def test_pkcs12_is_read(seal: SigningIdentity, password: bytes | None) -> None:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    packed = pkcs12.serialize_key_and_certificates(b"x", seal.private_key, seal.certificate, None, encryption)
    assert load_certificate(packed, None, password).certificate == seal.certificate


def test_of_a_chain_the_certificate_of_the_key_is_taken(seal: SigningIdentity) -> None:
    issuer = identity_of(ec.generate_private_key(ec.SECP256R1()))
    certificate, key = pem_pair(seal)
    chain = issuer.certificate.public_bytes(Encoding.PEM) + certificate
    assert load_certificate(chain, key).certificate == seal.certificate


def test_what_does_not_fit_is_named(seal: SigningIdentity) -> None:
    certificate, key = pem_pair(seal, b"tajne")
    other = identity_of(ec.generate_private_key(ec.SECP256R1()))
    weak = identity_of(ec.generate_private_key(ec.SECP192R1()))
    cases = [
        ((certificate, key, None), "give its password"),
        ((certificate, key, b"wrong"), "wrong password"),
        ((certificate, pem_pair(other)[1], None), "does not belong"),
        ((*pem_pair(weak), None), "256 bits"),
        ((b"nonsense", key, b"tajne"), "neither PEM nor DER"),
        ((b"nonsense", None, None), "PKCS#12"),
    ]
    for arguments, words in cases:
        with pytest.raises(CertificateUnusable, match=words):
            load_certificate(*arguments)
