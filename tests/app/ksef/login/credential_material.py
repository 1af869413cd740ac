"""Certificates, keys and containers for the tests of credential files; each is made once in a run."""

import base64
from datetime import timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs7,
    pkcs12,
)
from cryptography.x509.oid import NameOID

from app.ksef.login.certificates import PrivateKey
from tests.app.ksef.fake_ksef import START

PASSWORD = "zażółć hasło".encode()

RC2_PASSWORD = b"haslo"
RC2_CONTAINER = base64.b64decode("""
MIIDCgIBAzCCAtAGCSqGSIb3DQEHAaCCAsEEggK9MIICuTCCAa8GCSqGSIb3DQEHBqCCAaAwggGcAgEAMIIBlQYJKoZIhvcNAQcBMBwGCiqGSIb3
DQEMAQYwDgQIpOD2P6UPNHoCAggAgIIBaPNala5kiRJHGgLpRyagLemc77g0C+k9J71lGmuuT40yCsmYYKkQuOiW47mwWh1wq6wBf3zNMlcjsY2s
JZmI6riIGRAzui1Bhj7e1elCVmwfS6KMBzfWP0uWmxaFA09BPXt2E7ouOSGaup3V0yiDIqghHv39bLGkcHvP+rZVfoW+4cDMBzWT+MwOmh1IFvWn
gT6CINWmOXEUdwPkVd8XGqb0mXRt4EwQ8jAazGSmIm+18A8ArzP3+0aSWRzRMHsFOT/H1YadVVsUGRAU0FT6c9Vrv/+ifUmDZP3w7y+c4AUwGlId
jcLwKPrlJILW1tybh2yYOm5bRCgsZmfQutUnJOWWR7HvJ3yQBTsCo4zBMbnWgFtJ+ev5XAZECMaqwtmVEO7ja4LG99F+SvoQ95Lj2aaEDcMH/oCj
PVrTxSisxKvXIbbOrRrTkMSEjDOkq1IB/dhYBpvL2aZhbntPjeKSFn44bYxbSDeErzCCAQIGCSqGSIb3DQEHAaCB9ASB8TCB7jCB6wYLKoZIhvcN
AQwKAQKggbQwgbEwHAYKKoZIhvcNAQwBAzAOBAik8DPYZ9QPYAICCAAEgZAXpfAtqR4r7vG7DCTd2QAK7no+oAw1lKlLaA7TzA2xeoxPL6kBG07g
rURyjmlzGWoKhLEI/E56hjBJrrklvWImE71Jib5GmWY8gn39ookNx4uNOHucK+viDKKW1rdW3t1mpJQDhWQhSrdZqEKIzMcn7RXz4h7dlhM2NHQv
EZe1YAm+N3XRdHRuOYmeXGZSpPsxJTAjBgkqhkiG9w0BCRUxFgQUCYRoFgVe8rBwZPFJMQaGgWQEc6cwMTAhMAkGBSsOAwIaBQAEFGFARFC9MWZ3
ZsqNjLxTgakXA2+XBAiRCbNXdGj+mAICCAA=
""")
"""Made by OpenSSL with `-export -legacy`, for a made-up subject: the certificate in RC2-40, the key in 3DES, the MAC SHA-1.

It is kept ready because neither cryptography nor a present-day openssl without its old provider writes RC2-40.
"""

DIGITAL_SIGNATURE = "digital_signature"
NON_REPUDIATION = "content_commitment"
KEY_ENCIPHERMENT = "key_encipherment"


@cache
def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


@cache
def ec_key(curve: type[ec.EllipticCurve] = ec.SECP256R1, number: int = 0) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(curve())


@cache
def dsa_key() -> dsa.DSAPrivateKey:
    return dsa.generate_private_key(1024)


@cache
def ed_key() -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


def name(*attributes: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes])


SEAL = name((NameOID.ORGANIZATION_NAME, "Firma"), (NameOID.ORGANIZATION_IDENTIFIER, "VATPL-9999999999"))
PERSON = name((NameOID.GIVEN_NAME, "Jan"), (NameOID.SURNAME, "Testowy"), (NameOID.SERIAL_NUMBER, "PNOPL-99999999999"))
AUTHORITY = name((NameOID.COMMON_NAME, "Test authority"))
ROOT = name((NameOID.COMMON_NAME, "Test root"))


@cache
def certificate(
    key: PrivateKey | ed25519.Ed25519PrivateKey | None = None,
    *,
    subject: x509.Name = SEAL,
    issuer: x509.Name = AUTHORITY,
    usages: tuple[str, ...] | None = (DIGITAL_SIGNATURE, NON_REPUDIATION),
    qualified: bool = False,
    begins: timedelta = timedelta(days=-10),
    ends: timedelta = timedelta(days=10),
    serial: int = 0x0123_4567_89AB_CDEF,
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key((key or ec_key()).public_key())
        .serial_number(serial)
        .not_valid_before(START + begins)
        .not_valid_after(START + ends)
    )
    if usages is not None:
        names = (
            DIGITAL_SIGNATURE, NON_REPUDIATION, KEY_ENCIPHERMENT, "data_encipherment", "key_agreement", "key_cert_sign",
            "crl_sign", "encipher_only", "decipher_only",
        )  # fmt: skip
        builder = builder.add_extension(x509.KeyUsage(**{one: one in usages for one in names}), critical=True)
    if qualified:
        statements = x509.UnrecognizedExtension(
            x509.ObjectIdentifier("1.3.6.1.5.5.7.1.3"), bytes.fromhex("300a3008060604008e460101")
        )
        builder = builder.add_extension(statements, critical=False)
    return builder.sign(ec_key(number=99), hashes.SHA256())


@cache
def chain() -> tuple[x509.Certificate, x509.Certificate]:
    authority = certificate(ec_key(number=1), subject=AUTHORITY, issuer=ROOT, usages=("key_cert_sign",), serial=2)
    return authority, certificate(ec_key(number=2), subject=ROOT, issuer=ROOT, usages=("key_cert_sign",), serial=3)


def pem(*objects: x509.Certificate) -> bytes:
    return b"".join(one.public_bytes(Encoding.PEM) for one in objects)


def key_bytes(
    key: PrivateKey | dsa.DSAPrivateKey | ed25519.Ed25519PrivateKey | None = None,
    *,
    password: bytes | None = None,
    encoding: Encoding = Encoding.PEM,
    form: PrivateFormat = PrivateFormat.PKCS8,
) -> bytes:
    return (key or ec_key()).private_bytes(
        encoding, form, BestAvailableEncryption(password) if password else NoEncryption()
    )


def container(
    leaf: x509.Certificate | None = None,
    key: PrivateKey | None = None,
    *,
    password: bytes | None = PASSWORD,
    algorithm: pkcs12.PBES = pkcs12.PBES.PBESv2SHA256AndAES256CBC,
    rounds: int = 2048,
    others: tuple[x509.Certificate, ...] = (),
) -> bytes:
    builder = PrivateFormat.PKCS12.encryption_builder().kdf_rounds(rounds).key_cert_algorithm(algorithm)
    encryption = builder.build(password) if password else NoEncryption()
    return pkcs12.serialize_key_and_certificates(
        None, key or ec_key(), leaf or certificate(), list(others) or None, encryption
    )


def container_without_key() -> bytes:
    encryption = BestAvailableEncryption(PASSWORD)
    return pkcs12.serialize_key_and_certificates(None, None, None, [certificate()], encryption)


def container_without_certificate() -> bytes:
    return pkcs12.serialize_key_and_certificates(None, ec_key(), None, None, BestAvailableEncryption(PASSWORD))


def in_indefinite_form(der: bytes) -> bytes:
    """Write the outer sequence as old browsers do: without a length, ended by two zero bytes."""
    size = der[1] & 0x7F if der[1] > 0x80 else 0
    return b"\x30\x80" + der[2 + size :] + b"\0\0"


def costly_container() -> bytes:
    """Raise the rounds of a container to eight million without doing them."""
    return container(rounds=100_001).replace(b"\x02\x03\x01\x86\xa1", b"\x02\x03\x7f\xff\xff")


def pkcs7_list() -> bytes:
    return pkcs7.serialize_certificates([*chain(), certificate()], Encoding.DER)


def request(encoding: Encoding) -> bytes:
    built = x509.CertificateSigningRequestBuilder().subject_name(SEAL).sign(ec_key(), hashes.SHA256())
    return built.public_bytes(encoding)
