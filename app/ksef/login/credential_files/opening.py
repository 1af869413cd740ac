"""Opens the blocks of a file with the password: certificates, and private keys."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_pem_private_key, pkcs7, pkcs12

from app.ksef.login.credential_files import der
from app.ksef.login.credential_files.blocks import Block, Content
from app.ksef.login.credential_files.refusals import CredentialRefused, Reason

MAX_ENCRYPTION_WORK: Final = 5_000_000
"""Steps of key derivation in all blocks together; Windows writes 2,000, OpenSSL 2,048, careful people up to a million."""

UNREADABLE: Final = (
    ValueError,
    TypeError,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""The exceptions of cryptography for a certificate whose fields cannot be read, when it is loaded or at the first use of a field."""

_MAX_KEYS: Final = 8
_ENCRYPTED: Final = {Content.CONTAINER, Content.ENCRYPTED_KEY, Content.OLD_ENCRYPTED_KEY}


@dataclass(slots=True)
class Opened:
    """The certificates and private keys of one file, in its order."""

    certificates: list[x509.Certificate] = field(default_factory=list)
    keys: list[PrivateKeyTypes] = field(default_factory=list, repr=False)


def check_work(blocks: Iterable[Block]) -> None:
    """Refuse files whose encryption would keep a processor busy for long. Raises CredentialRefused.

    A count that is itself inside an encrypted part is not seen: a caller that takes files over the network needs a deadline too.
    """
    try:
        work = sum(der.encryption_work(block.data) for block in blocks if block.content in _ENCRYPTED)
    except der.TooDeep as error:
        raise CredentialRefused(
            Reason.DAMAGED, "the file has more parts than any certificate file: export it again"
        ) from error
    if work > MAX_ENCRYPTION_WORK:
        raise CredentialRefused(
            Reason.TOO_COSTLY,
            f"the file's encryption has {work:,} steps, more than {MAX_ENCRYPTION_WORK:,}: export it again with the usual settings",
        )


def open_blocks(blocks: list[Block], name: str, password: bytes | None) -> Opened:
    """Read all certificates and private keys among the blocks of the file `name`. Raises CredentialRefused."""
    opened = Opened()
    for block in blocks:
        try:
            _open_block(block, opened, name, password)
        except UnsupportedAlgorithm as error:
            raise _unsupported(block, name) from error
        if len(opened.keys) > _MAX_KEYS:
            raise CredentialRefused(
                Reason.TOO_LARGE,
                f"the {name} has more than {_MAX_KEYS} private keys: give the certificate's own key alone",
            )
    return opened


def _open_block(block: Block, opened: Opened, name: str, password: bytes | None) -> None:
    match block.content:
        case Content.CERTIFICATE:
            opened.certificates.append(_certificate(block.data, name))
        case Content.CERTIFICATES:
            opened.certificates += _certificates(block.data, name)
        case Content.CONTAINER:
            _open_container(block.data, opened, name, password)
        case Content.KEY:
            opened.keys.append(_key(block.data, name))
        case Content.ENCRYPTED_KEY | Content.OLD_ENCRYPTED_KEY:
            opened.keys.append(_encrypted_key(block, name, password))
        case Content.OPENSSH_KEY:
            raise CredentialRefused(
                Reason.KEY_UNSUPPORTED,
                f"the {name} has a private key in OpenSSH's own form: convert it with 'ssh-keygen -p -m PKCS8 -f FILE'",
            )


def _certificate(data: bytes, name: str) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(data)
    except UNREADABLE as error:
        raise CredentialRefused(Reason.DAMAGED, f"a certificate in the {name} is damaged: export it again") from error


def _certificates(data: bytes, name: str) -> list[x509.Certificate]:
    try:
        return pkcs7.load_der_pkcs7_certificates(data)
    except UNREADABLE as error:
        raise CredentialRefused(
            Reason.DAMAGED, f"the list of certificates (PKCS#7) in the {name} is damaged: export it again"
        ) from error


def _open_container(data: bytes, opened: Opened, name: str, password: bytes | None) -> None:
    # A container without a password may have been made with none or with an empty one.
    for attempt in dict.fromkeys((password or None, None, b"")):
        try:
            container = pkcs12.load_pkcs12(data, attempt)
        except UNREADABLE:
            continue
        if container.key is not None:
            opened.keys.append(container.key)
        found = [container.cert] if container.cert is not None else []
        opened.certificates += [one.certificate for one in (*found, *container.additional_certs)]
        return
    raise _password_refusal(f"the {name} (PKCS#12)", password)


def _key(data: bytes, name: str) -> PrivateKeyTypes:
    try:
        return load_der_private_key(data, None)
    except (ValueError, TypeError) as error:
        raise CredentialRefused(
            Reason.DAMAGED,
            f"the private key in the {name} is damaged, or of a kind that KSeF does not take: export it again",
        ) from error


def _encrypted_key(block: Block, name: str, password: bytes | None) -> PrivateKeyTypes:
    load = load_pem_private_key if block.content is Content.OLD_ENCRYPTED_KEY else load_der_private_key
    if not password:
        raise _password_refusal(f"the private key in the {name}", None)
    try:
        return load(block.data, password)
    except (ValueError, TypeError) as error:
        raise _password_refusal(f"the private key in the {name}", password) from error


def _password_refusal(what: str, password: bytes | None) -> CredentialRefused:
    if not password:
        return CredentialRefused(
            Reason.PASSWORD_MISSING,
            f"{what} is encrypted, if it is not damaged: give its password (ksefd: --password-file FILE)",
        )
    return CredentialRefused(
        Reason.PASSWORD_WRONG,
        f"the password of {what} is wrong, or the file is damaged: mind capital letters, and blanks at the end of the line",
    )


def _unsupported(block: Block, name: str) -> CredentialRefused:
    if block.content in _ENCRYPTED:
        return CredentialRefused(
            Reason.ENCRYPTION_UNSUPPORTED,
            f"the {name} is encrypted in a way that cannot be read here, or has a key of a kind that KSeF does not take: "
            "export it again as PKCS#12 with AES-256",
        )
    return CredentialRefused(
        Reason.KEY_UNSUPPORTED,
        f"the key in the {name} is of a kind that KSeF does not take: RSA from 2048 bits, P-256 or P-384 is needed",
    )
