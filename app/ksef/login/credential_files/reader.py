"""Reads a person's credential for KSeF from the bytes of its files, and checks everything that shows before a login.

Pure: no file, no clock. Every refusal is a CredentialRefused with a reason and a message for the person.
"""

import warnings
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from app.ksef.login.certificates import PrivateKey, SigningIdentity
from app.ksef.login.credential_files.blocks import Block, Content, blocks_of
from app.ksef.login.credential_files.kinds import CertificateKind, kind_of, usages_of
from app.ksef.login.credential_files.opening import UNREADABLE, Opened, check_work, open_blocks
from app.ksef.login.credential_files.refusals import CertificateNotYetValid, CredentialRefused, Reason
from app.ksef.login.credential_files.strength import usable_key


class Purpose(StrEnum):
    """The use of the credential: login to KSeF, or the second code of offline invoices."""

    LOGIN = "login"
    OFFLINE = "offline"


@dataclass(frozen=True, slots=True)
class Credential:
    """A certificate with its private key and its chain, checked for its purpose."""

    certificate: x509.Certificate
    private_key: PrivateKey = field(repr=False)
    chain: tuple[x509.Certificate, ...]
    """The other certificates of the files: each one's issuer after it, then those that do not belong to the chain."""
    kind: CertificateKind

    @property
    def identity(self) -> SigningIdentity:
        """The certificate and its key, as a login needs them."""
        return SigningIdentity(self.certificate, self.private_key)

    @property
    def subject(self) -> str:
        """The subject (RFC 4514)."""
        return self.certificate.subject.rfc4514_string()

    @property
    def serial(self) -> str:
        """The serial number in upper-case hexadecimal, at least 16 digits as KSeF writes it."""
        return f"{self.certificate.serial_number:016X}"

    @property
    def valid_from(self) -> datetime:
        """The start (UTC) of the certificate's validity."""
        return self.certificate.not_valid_before_utc

    @property
    def valid_to(self) -> datetime:
        """The end (UTC) of the certificate's validity."""
        return self.certificate.not_valid_after_utc


def read_credential_files(
    certificate_file: bytes,
    key_file: bytes | None = None,
    password: bytes | None = None,
    *,
    now: datetime,
    purpose: Purpose = Purpose.LOGIN,
) -> Credential:
    """Read and check a credential. `now` is aware; a password that is not needed does no harm.

    Takes up to some seconds of CPU for an encrypted file: call it in a thread. Raises CredentialRefused, and
    CertificateNotYetValid when all is right but the certificate begins later.
    """
    with warnings.catch_warnings():
        # cryptography warns on standard error of oddities, such as BER or a serial number of zero.
        warnings.simplefilter("ignore")
        return _read(certificate_file, key_file, password, now, purpose)


def _read(
    certificate_file: bytes, key_file: bytes | None, password: bytes | None, now: datetime, purpose: Purpose
) -> Credential:
    blocks = blocks_of(certificate_file, "certificate file")
    key_blocks = blocks_of(key_file, "key file") if key_file is not None else []
    check_work(blocks + key_blocks)
    _refuse_what_is_no_certificate(blocks, key_blocks)
    opened = open_blocks(blocks, "certificate file", password)
    if key_file is not None:
        from_key_file = open_blocks(key_blocks, "key file", password)
        # The file that was given for it has the key; one in the certificate file may be of another pair.
        opened = Opened(opened.certificates + from_key_file.certificates, from_key_file.keys or opened.keys)
    try:
        leaf, key = _pair(opened, has_key_file=key_file is not None)
        chain = _chain(leaf, [one for one in opened.certificates if one != leaf])
        credential = Credential(leaf, key, chain, _checked_kind(leaf, purpose))
        _check_validity(credential, now)
    except UNREADABLE as error:
        raise CredentialRefused(
            Reason.DAMAGED, "the certificate is damaged: its fields cannot be read; export it again"
        ) from error
    return credential


def _refuse_what_is_no_certificate(blocks: list[Block], key_blocks: list[Block]) -> None:
    found = {block.content for block in blocks}
    if found & {Content.CERTIFICATE, Content.CERTIFICATES, Content.CONTAINER}:
        return
    if found & {Content.KEY, Content.ENCRYPTED_KEY, Content.OLD_ENCRYPTED_KEY, Content.OPENSSH_KEY}:
        swapped = any(block.content is Content.CERTIFICATE for block in key_blocks)
        hint = "the two files are swapped" if swapped else "give the certificate that was issued for it too"
        raise CredentialRefused(
            Reason.PRIVATE_KEY_ONLY, f"the certificate file has a private key and no certificate: {hint}"
        )
    if Content.REQUEST in found:
        raise CredentialRefused(
            Reason.REQUEST_ONLY,
            "the certificate file has a certificate request (CSR), not a certificate: give the certificate that was issued for it",
        )
    raise CredentialRefused(
        Reason.PUBLIC_KEY_ONLY,
        "the certificate file has a public key, not a certificate: give the certificate that was issued for it",
    )


def _pair(opened: Opened, *, has_key_file: bool) -> tuple[x509.Certificate, PrivateKey]:
    """Find the certificate and the key that belong together, wherever in the files they are."""
    if not opened.certificates:
        raise CredentialRefused(
            Reason.CERTIFICATE_MISSING,
            "the PKCS#12 file has no certificate in it: export it again with the certificate, or give both files",
        )
    if not opened.keys:
        raise CredentialRefused(
            Reason.KEY_MISSING,
            "the key file has no private key in it: give the key that was made with the certificate's request"
            if has_key_file
            else "the certificate comes without its private key: give the key file too (ksefd: --key FILE), or export both as PKCS#12",
        )
    by_public_key = {_public_bytes(one): one for one in reversed(opened.certificates)}
    for found in opened.keys:
        leaf = by_public_key.get(_public_bytes(found))
        if leaf is not None:
            return leaf, usable_key(found)
    # A key that KSeF does not take is named before a pair that does not fit.
    for found in opened.keys:
        usable_key(found)
    raise CredentialRefused(
        Reason.KEY_OF_ANOTHER,
        "the private key does not belong to the certificate: give the pair that was issued together",
    )


def _public_bytes(holder: x509.Certificate | PrivateKeyTypes) -> bytes:
    """Return the public key of a certificate or private key; empty for a kind that is not known here."""
    try:
        return holder.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm):
        return b""


def _chain(leaf: x509.Certificate, others: list[x509.Certificate]) -> tuple[x509.Certificate, ...]:
    chain, last = list[x509.Certificate](), leaf
    rest = list(dict.fromkeys(others))
    while (issuer := next((one for one in rest if one.subject == last.issuer), None)) is not None:
        rest.remove(issuer)
        chain.append(issuer)
        last = issuer
    return (*chain, *rest)


def _checked_kind(leaf: x509.Certificate, purpose: Purpose) -> CertificateKind:
    usages, kind = usages_of(leaf), kind_of(leaf)
    if purpose is Purpose.OFFLINE:
        if kind is not CertificateKind.KSEF_OFFLINE:
            raise CredentialRefused(
                Reason.NOT_OFFLINE,
                "the certificate is for login, not for offline invoices: give a KSeF certificate of type Offline, "
                "whose only key usage is non-repudiation",
            )
        return kind
    if kind is CertificateKind.KSEF_OFFLINE:
        raise CredentialRefused(
            Reason.OFFLINE_FOR_LOGIN,
            "the certificate is a KSeF certificate of type Offline (its only key usage is non-repudiation), and KSeF lets no "
            "one log in with it: give one of type Authentication, a qualified signature or a seal",
        )
    if not usages.may_sign:
        raise CredentialRefused(
            Reason.USAGE_MISSING,
            "the certificate is not for signatures (no key usage digital signature or non-repudiation), such as one of a web "
            "server: give a certificate for signatures",
        )
    return kind


def _check_validity(credential: Credential, now: datetime) -> None:
    if credential.valid_to <= now:
        raise CredentialRefused(
            Reason.EXPIRED,
            f"the certificate ended on {_moment(credential.valid_to)}: give the one that replaced it, or get a new one",
        )
    if credential.valid_from > now:
        raise CertificateNotYetValid(
            credential.valid_from,
            f"the certificate is valid from {_moment(credential.valid_from)} on, and it is {_moment(now)} now: "
            "try again then, and look whether this machine's clock is right",
        )


def _moment(value: datetime) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
