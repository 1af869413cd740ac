"""Every kind of file that people have is read, or refused with what is wrong."""

import base64
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat, PublicFormat, pkcs12
from hypothesis import given, settings
from hypothesis import strategies as st

from app.ksef.login.credential_files import der
from app.ksef.login.credential_files.blocks import MAX_FILE_BYTES
from app.ksef.login.credential_files.kinds import CertificateKind
from app.ksef.login.credential_files.reader import Credential, Purpose, read_credential_files
from app.ksef.login.credential_files.refusals import CertificateNotYetValid, CredentialRefused, Reason
from tests.app.ksef.fake_ksef import START
from tests.app.ksef.login import credential_material as made
from tests.app.ksef.login.credential_material import PASSWORD, certificate, container, ec_key, key_bytes, pem, rsa_key

Files = tuple[bytes, bytes | None, bytes | None]
"""Certificate file, key file, password."""

TRADITIONAL = PrivateFormat.TraditionalOpenSSL


def read(files: Files, purpose: Purpose = Purpose.LOGIN) -> Credential:
    return read_credential_files(*files, now=START, purpose=purpose)


def refusal(files: Files, purpose: Purpose = Purpose.LOGIN) -> CredentialRefused:
    with pytest.raises(CredentialRefused) as caught:
        read(files, purpose)
    return caught.value


def rsa_pem() -> bytes:
    return pem(certificate(rsa_key()))


def with_attributes() -> bytes:
    bag = b"Bag Attributes\r\n    friendlyName: Firma \xb9\xea\r\nKey Attributes: <No Attributes>\r\n"
    return bag + key_bytes() + b"0 s:O = Firma\n" + bag + pem(certificate()) + b"\n"


def der_of() -> bytes:
    return certificate().public_bytes(Encoding.DER)


ACCEPTED: dict[str, Callable[[], Files]] = {
    "pkcs12 aes": lambda: (container(), None, PASSWORD),
    "pkcs12 3des sha1": lambda: (container(algorithm=pkcs12.PBES.PBESv1SHA1And3KeyTripleDESCBC), None, PASSWORD),
    "pkcs12 rc2-40": lambda: (made.RC2_CONTAINER, None, made.RC2_PASSWORD),
    "pkcs12 without password": lambda: (container(password=None), None, None),
    "pkcs12 without password, one given": lambda: (container(password=None), None, b"x"),
    "pkcs12 with chain": lambda: (container(others=made.chain()), None, PASSWORD),
    "pkcs12 rsa": lambda: (container(certificate(rsa_key()), rsa_key()), None, PASSWORD),
    "pkcs12 in indefinite form": lambda: (made.in_indefinite_form(container()), None, PASSWORD),
    "pkcs12 without key, and a key file": lambda: (made.container_without_key(), key_bytes(), PASSWORD),
    "pem pair pkcs8": lambda: (pem(certificate()), key_bytes(), None),
    "pem pair, a password too many": lambda: (pem(certificate()), key_bytes(), b"x"),
    "pem pair, key encrypted": lambda: (pem(certificate()), key_bytes(password=PASSWORD), PASSWORD),
    "pem pair pkcs1": lambda: (rsa_pem(), key_bytes(rsa_key(), form=TRADITIONAL), None),
    "pem pair pkcs1, old encryption": lambda: (
        rsa_pem(), key_bytes(rsa_key(), password=b"tajne", form=TRADITIONAL), b"tajne",
    ),
    "pem pair sec1": lambda: (pem(certificate()), key_bytes(form=TRADITIONAL), None),
    "pem pair sec1, old encryption, windows": lambda: (
        pem(certificate()), key_bytes(password=b"tajne", form=TRADITIONAL).replace(b"\n", b"\r\n"), b"tajne",
    ),
    "pem pair with curve parameters": lambda: (
        pem(certificate()),
        b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n" + key_bytes(form=TRADITIONAL),
        None,
    ),
    "pem in one file": lambda: (key_bytes() + pem(certificate()), None, None),
    "pem with attributes": lambda: (with_attributes(), None, None),
    "pem after text that begins as DER": lambda: (b"0 s:O = Firma\n" + pem(certificate()), key_bytes(), None),
    "pem with windows line ends": lambda: (
        pem(certificate()).replace(b"\n", b"\r\n"), key_bytes().replace(b"\n", b"\r\n"), None,
    ),
    "pem with old mac line ends": lambda: (pem(certificate()).replace(b"\n", b"\r"), key_bytes(), None),
    "pem with a byte order mark": lambda: (
        b"\xef\xbb\xbf" + pem(certificate()), b"\xef\xbb\xbf" + key_bytes(), None,
    ),
    "pem in utf-16": lambda: (
        pem(certificate()).decode().encode("utf-16"), key_bytes().decode().encode("utf-16-le"), None,
    ),
    "pem in utf-16 big endian": lambda: (pem(certificate()).decode().encode("utf-16-be"), key_bytes(), None),
    "pem indented": lambda: (pem(certificate()).replace(b"\n", b"\n   "), key_bytes(), None),
    "pem on one line": lambda: (
        b"-----BEGIN CERTIFICATE-----\n" + base64.b64encode(der_of()) + b"\n-----END CERTIFICATE-----", key_bytes(), None,
    ),
    "chain, leaf first": lambda: (pem(certificate(), *made.chain()), key_bytes(), None),
    "chain, leaf last": lambda: (pem(*reversed(made.chain()), certificate()), key_bytes(), None),
    "chain as pkcs7": lambda: (made.pkcs7_list(), key_bytes(), None),
    "two keys": lambda: (pem(certificate()), key_bytes(ec_key(number=5)) + key_bytes(), None),
    "key file has the certificate too": lambda: (pem(*made.chain()), key_bytes() + pem(certificate()), None),
    "der pair": lambda: (der_of(), key_bytes(encoding=Encoding.DER), None),
    "der pair, key encrypted": lambda: (der_of(), key_bytes(encoding=Encoding.DER, password=PASSWORD), PASSWORD),
    "der pair sec1": lambda: (der_of(), key_bytes(encoding=Encoding.DER, form=TRADITIONAL), None),
    "der certificate, pem key": lambda: (der_of(), key_bytes(), None),
    "base64 without pem lines": lambda: (base64.encodebytes(der_of()), key_bytes(), None),
    "rsa 3072": lambda: (pem(certificate(rsa_key(3072))), key_bytes(rsa_key(3072)), None),
    "p-384": lambda: (pem(certificate(ec_key(ec.SECP384R1))), key_bytes(ec_key(ec.SECP384R1)), None),
    "p-521": lambda: (pem(certificate(ec_key(ec.SECP521R1))), key_bytes(ec_key(ec.SECP521R1)), None),
    "no key usage at all": lambda: (pem(certificate(usages=None)), key_bytes(), None),
    "qualified, non-repudiation only": lambda: (
        pem(certificate(subject=made.PERSON, usages=(made.NON_REPUDIATION,), qualified=True)), key_bytes(), None,
    ),
}  # fmt: skip

REFUSED: dict[str, tuple[Callable[[], Files], Reason, str]] = {
    "empty": (lambda: (b"", None, None), Reason.EMPTY, "certificate file is empty"),
    "blank with a mark": (lambda: (b"\xff\xfe\r\0\n\0", None, None), Reason.EMPTY, "certificate file is empty"),
    "empty key": (lambda: (pem(certificate()), b"\n", None), Reason.EMPTY, "key file is empty"),
    "too large": (lambda: (b"x" * (MAX_FILE_BYTES + 1), None, None), Reason.TOO_LARGE, "larger than 1 MiB"),
    "many blocks": (lambda: (pem(certificate()) * 101, None, None), Reason.TOO_LARGE, "more than 100 PEM blocks"),
    "many keys": (lambda: (pem(certificate()) + key_bytes() * 9, None, None), Reason.TOO_LARGE, "more than 8 private"),
    "a text": (lambda: (b"Dzie\xc5\x84 dobry", None, None), Reason.FOREIGN, "no certificate and no key"),
    "a picture": (lambda: (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", None, None), Reason.FOREIGN, "no certificate and no key"),
    "an archive": (lambda: (b"PK\x03\x04\x14\0\0\0", None, None), Reason.FOREIGN, "no certificate and no key"),
    "a foreign key file": (lambda: (pem(certificate()), b"tajne", None), Reason.FOREIGN, "the key file has no"),
    "pem cut off": (lambda: (pem(certificate())[:-30], key_bytes(), None), Reason.DAMAGED, "no line '-----END CERT"),
    "der cut off": (lambda: (der_of()[:-9], key_bytes(), None), Reason.DAMAGED, "cut off"),
    "pkcs12 cut off": (lambda: (container()[:-9], None, PASSWORD), Reason.DAMAGED, "cut off"),
    "pem with a hole": (
        lambda: (pem(certificate()).replace(b"M", b"?"), key_bytes(), None), Reason.DAMAGED, "not Base64",
    ),
    "pem of nothing known": (
        lambda: (b"-----BEGIN CERTIFICATE-----\nBggqhkjOPQMBBw==\n-----END CERTIFICATE-----", None, None),
        Reason.DAMAGED, "cannot be read",
    ),
    "hostile rounds": (lambda: (made.costly_container(), None, PASSWORD), Reason.TOO_COSTLY, "steps"),
    "hostile rounds in indefinite form": (
        lambda: (made.in_indefinite_form(made.costly_container()), None, PASSWORD), Reason.TOO_COSTLY, "steps",
    ),
    "request pem": (lambda: (made.request(Encoding.PEM), key_bytes(), None), Reason.REQUEST_ONLY, "request (CSR)"),
    "request der": (lambda: (made.request(Encoding.DER), None, None), Reason.REQUEST_ONLY, "request (CSR)"),
    "public key": (
        lambda: (ec_key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), None, None),
        Reason.PUBLIC_KEY_ONLY, "a public key, not a certificate",
    ),
    "rsa public key pkcs1": (
        lambda: (rsa_key().public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1), None, None),
        Reason.PUBLIC_KEY_ONLY, "a public key, not a certificate",
    ),
    "private key only": (lambda: (key_bytes(), None, None), Reason.PRIVATE_KEY_ONLY, "no certificate"),
    "encrypted key only": (
        lambda: (key_bytes(password=PASSWORD), None, None), Reason.PRIVATE_KEY_ONLY, "no certificate",
    ),
    "swapped": (lambda: (key_bytes(), pem(certificate()), None), Reason.PRIVATE_KEY_ONLY, "swapped"),
    "certificate only": (lambda: (pem(certificate()), None, None), Reason.KEY_MISSING, "give the key file"),
    "key file with a certificate": (
        lambda: (pem(certificate()), pem(certificate()), None), Reason.KEY_MISSING, "key file has no private key",
    ),
    "pkcs12 without key": (lambda: (made.container_without_key(), None, PASSWORD), Reason.KEY_MISSING, "private key"),
    "pkcs12 without certificate": (
        lambda: (made.container_without_certificate(), None, PASSWORD), Reason.CERTIFICATE_MISSING, "no certificate",
    ),
    "pkcs12, no password": (lambda: (container(), None, None), Reason.PASSWORD_MISSING, "give its password"),
    "pkcs12, empty password": (lambda: (container(), None, b""), Reason.PASSWORD_MISSING, "give its password"),
    "pkcs12, wrong password": (lambda: (container(), None, b"x"), Reason.PASSWORD_WRONG, "is wrong"),
    "rc2, wrong password": (lambda: (made.RC2_CONTAINER, None, b"x"), Reason.PASSWORD_WRONG, "is wrong"),
    "rc2, no password": (lambda: (made.RC2_CONTAINER, None, None), Reason.PASSWORD_MISSING, "give its password"),
    "key, no password": (
        lambda: (pem(certificate()), key_bytes(password=PASSWORD), None), Reason.PASSWORD_MISSING, "key file is encrypted",
    ),
    "key, wrong password": (
        lambda: (pem(certificate()), key_bytes(password=PASSWORD), b"x"), Reason.PASSWORD_WRONG, "is wrong",
    ),
    "old key, wrong password": (
        lambda: (pem(certificate()), key_bytes(password=b"tajne", form=TRADITIONAL), b"x"),
        Reason.PASSWORD_WRONG, "is wrong",
    ),
    "key of another": (
        lambda: (pem(certificate()), key_bytes(ec_key(number=5)), None), Reason.KEY_OF_ANOTHER, "does not belong",
    ),
    "rsa key of an ec certificate": (
        lambda: (pem(certificate()), key_bytes(rsa_key()), None), Reason.KEY_OF_ANOTHER, "does not belong",
    ),
    "rsa 1024": (
        lambda: (pem(certificate(rsa_key(1024))), key_bytes(rsa_key(1024)), None), Reason.RSA_TOO_SMALL, "1024 bits",
    ),
    "secp256k1": (
        lambda: (pem(certificate(ec_key(ec.SECP256K1))), key_bytes(ec_key(ec.SECP256K1)), None),
        Reason.CURVE_UNSUPPORTED, "secp256k1",
    ),
    "ed25519": (
        lambda: (pem(certificate(made.ed_key())), key_bytes(made.ed_key()), None), Reason.KEY_UNSUPPORTED, "Ed25519",
    ),
    "dsa": (lambda: (pem(certificate()), key_bytes(made.dsa_key()), None), Reason.KEY_UNSUPPORTED, "DSA"),
    "openssh": (
        lambda: (pem(certificate()), key_bytes(form=PrivateFormat.OpenSSH), None), Reason.KEY_UNSUPPORTED, "ssh-keygen",
    ),
    "expired": (
        lambda: (pem(certificate(ends=timedelta(0))), key_bytes(), None), Reason.EXPIRED, "ended on 2026-11-22 10:00 UTC",
    ),
    "not yet valid": (
        lambda: (pem(certificate(begins=timedelta(hours=2))), key_bytes(), None),
        Reason.NOT_YET_VALID, "valid from 2026-11-22 12:00 UTC",
    ),
    "of a web server": (
        lambda: (pem(certificate(usages=(made.KEY_ENCIPHERMENT,))), key_bytes(), None),
        Reason.USAGE_MISSING, "not for signatures",
    ),
    "of an authority": (
        lambda: (pem(made.chain()[0]), key_bytes(ec_key(number=1)), None), Reason.USAGE_MISSING, "not for signatures",
    ),
    "offline for login": (
        lambda: (pem(certificate(usages=(made.NON_REPUDIATION,))), key_bytes(), None),
        Reason.OFFLINE_FOR_LOGIN, "type Offline",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ACCEPTED)
def test_a_credential_that_people_have_is_read(case: str) -> None:
    files = ACCEPTED[case]()
    credential = read(files)
    assert credential.certificate.public_key() == credential.private_key.public_key()
    assert credential.valid_from < START < credential.valid_to


@pytest.mark.parametrize("case", REFUSED)
def test_a_credential_that_cannot_be_used_is_refused_with_what_is_wrong(case: str) -> None:
    build, reason, words = REFUSED[case]
    refused = refusal(build())
    assert (refused.reason, words in (refused.detail or "")) == (reason, True), refused.detail


def test_no_refusal_repeats_the_password_or_the_key() -> None:
    secret = b"hasloktoregoniewolno"
    for build, _, _ in REFUSED.values():
        certificate_file, key_file, _ = build()
        with pytest.raises(CredentialRefused) as caught:
            read((certificate_file, key_file, secret))
        assert secret.decode() not in str(caught.value)
    shown = repr(read(ACCEPTED["pem pair pkcs8"]()))
    assert "rivate" not in shown


def test_the_chain_is_given_in_its_order_and_a_stray_certificate_last() -> None:
    authority, root = made.chain()
    stray = certificate(ec_key(number=7), subject=made.PERSON)
    credential = read((pem(root, stray, certificate(), authority, root), key_bytes(), None))
    assert credential.chain == (authority, root, stray)


@pytest.mark.parametrize(
    ("build", "kind"),
    [
        (lambda: certificate(subject=made.SEAL), CertificateKind.SEAL),
        (lambda: certificate(subject=made.PERSON), CertificateKind.PERSONAL),
        (lambda: certificate(subject=made.ROOT), CertificateKind.OTHER),
        (lambda: certificate(usages=(made.NON_REPUDIATION,), qualified=True), CertificateKind.SEAL),
        (lambda: certificate(usages=(made.DIGITAL_SIGNATURE,)), CertificateKind.KSEF_AUTHENTICATION),
        (lambda: certificate(usages=(made.DIGITAL_SIGNATURE,), serial=1 << 100), CertificateKind.SEAL),
        (lambda: certificate(usages=(made.DIGITAL_SIGNATURE,), issuer=made.SEAL), CertificateKind.SEAL),
    ],
)
def test_the_kind_is_told_as_far_as_the_certificate_shows_it(
    build: Callable[[], x509.Certificate], kind: CertificateKind
) -> None:
    assert read((pem(build()), key_bytes(), None)).kind is kind


def test_subject_and_serial_are_those_that_ksef_names() -> None:
    credential = read((pem(certificate(serial=0xAB)), key_bytes(), None))
    assert credential.serial == "00000000000000AB"
    assert "VATPL-9999999999" in credential.subject
    assert credential.identity.certificate == credential.certificate


def test_only_an_offline_certificate_signs_offline_invoices() -> None:
    offline = (pem(certificate(usages=(made.NON_REPUDIATION,))), key_bytes(), None)
    assert read(offline, Purpose.OFFLINE).kind is CertificateKind.KSEF_OFFLINE
    for case in ("pem pair pkcs8", "no key usage at all", "qualified, non-repudiation only"):
        assert refusal(ACCEPTED[case](), Purpose.OFFLINE).reason is Reason.NOT_OFFLINE


def test_a_certificate_that_begins_later_says_when() -> None:
    refused = refusal(REFUSED["not yet valid"][0]())
    assert isinstance(refused, CertificateNotYetValid)
    assert refused.valid_from == START + timedelta(hours=2)


def test_the_cost_of_a_container_is_counted_without_paying_it() -> None:
    assert 2048 * 2 <= der.encryption_work(made.RC2_CONTAINER) <= 2048 * 3
    assert der.encryption_work(key_bytes(encoding=Encoding.DER, password=PASSWORD)) >= 2048
    assert der.encryption_work(key_bytes(encoding=Encoding.DER)) == 0


def test_a_file_of_a_million_elements_is_refused_at_once() -> None:
    deep = b"\x30\x80\x02\x01\x03" + b"\x30\x80" * 200_000
    container_head = b"\x30\x80\x02\x01\x03\x30\x80\x06\x01\x01" + b"\x30\x80" * 20
    wide = container_head + b"\x02\0" * 500_000 + b"\0\0" * 22
    for hostile in (deep, wide):
        began = time.process_time()
        assert refusal((hostile, None, None)).reason in {Reason.DAMAGED, Reason.FOREIGN}
        assert time.process_time() - began < 3


@settings(max_examples=150, deadline=None)
@given(
    at=st.integers(0, 2000), byte=st.integers(0, 255), case=st.sampled_from(["der pair", "pem with attributes", "rc2"])
)
def test_a_changed_byte_is_read_or_refused_and_nothing_else(at: int, byte: int, case: str) -> None:
    files = (made.RC2_CONTAINER, None, made.RC2_PASSWORD) if case == "rc2" else ACCEPTED[case]()
    changed = bytearray(files[0])
    changed[at % len(changed)] = byte
    # Any other exception fails the test.
    with suppress(CredentialRefused):
        read((bytes(changed), *files[1:]))
