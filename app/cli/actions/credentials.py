"""A tenant's credential for KSeF: read from files, checked, and converted to the form that the store keeps.

    self_signed, certificate   {"certificate": PEM, "key": PEM, not encrypted: the store encrypts it}
    ksef_token                 {"token": the token}

No part of a credential is printed.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from app.cli.exit_codes import UsageProblem
from app.errors import ConfigurationError
from app.forms.nip import is_nip
from app.ksef.login.certificates import SigningIdentity, load_certificate, self_signed_seal
from app.ksef.login.credential_files.blocks import MAX_FILE_BYTES
from app.ksef.login.credential_files.reader import read_credential_files
from app.ksef.login.login import TokenCredentials, XadesCredentials
from app.settings import KsefEnvironment, Settings

_NIP: Final = re.compile(r"[1-9]((\d[1-9])|([1-9]\d))\d{7}", re.ASCII)
"""KSeF API 2.9, pattern of a Nip context identifier."""


@dataclass(frozen=True, slots=True)
class CredentialSource:
    """The source of the credential as the command line names it; exactly one of the first three is given."""

    self_signed: bool = False
    ksef_token_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    password_file: Path | None = None


def check_nip(nip: str, settings: Settings) -> str | None:
    """Check a tenant's NIP and return a warning to show, or None. Raises UsageProblem.

    A wrong check digit is refused for production only: test environments take made-up taxpayers (ksef-docs,
    srodowiska.md).
    """
    if _NIP.fullmatch(nip) is None:
        raise UsageProblem(f"{nip[:40]!r} is not a NIP: ten digits without separators, such as 5265877635")
    if is_nip(nip):
        return None
    if settings.checks_nip_checksums:
        raise UsageProblem(f"the check digit of NIP {nip} is wrong, and KSeF's production refuses it")
    return f"the check digit of NIP {nip} is wrong: good enough for a test environment, refused in production"


def read_credential(
    source: CredentialSource, *, nip: str, name: str, settings: Settings, now: datetime
) -> tuple[str, dict[str, str]]:
    """Read the credential and return its kind and the parts to store.

    Raises UsageProblem when not exactly one source is given or a file cannot be read, CredentialRefused when
    certificate, key and password cannot be used, ConfigurationError for a self-signed one outside the test environment.
    """
    chosen = [source.self_signed, source.ksef_token_file is not None, source.certificate_file is not None]
    if sum(chosen) != 1:
        raise UsageProblem("give exactly one of --self-signed, --ksef-token-file and --certificate")
    if source.certificate_file is None and (source.key_file or source.password_file):
        raise UsageProblem("--key and --password-file belong to --certificate")
    if source.self_signed:
        if settings.ksef_env is not KsefEnvironment.TEST:
            raise ConfigurationError(
                f"--self-signed: KSEFD_KSEF_ENV is {settings.ksef_env}, and only the test environment of KSeF takes "
                "self-signed certificates; use --certificate or --ksef-token-file"
            )
        certificate, key = self_signed_seal(nip, name, now=now)
        return "self_signed", {"certificate": certificate.decode("ascii"), "key": key.decode("ascii")}
    if source.ksef_token_file is not None:
        return "ksef_token", {"token": _secret_line(source.ksef_token_file, "KSeF token")}
    assert source.certificate_file is not None  # noqa: S101 - exactly one of three is given, and the other two are not
    credential = read_credential_files(
        _read(source.certificate_file),
        _read(source.key_file) if source.key_file else None,
        _secret_line(source.password_file, "password").encode() if source.password_file else None,
        now=now,
    )
    return "certificate", stored_identity(credential.identity)


def stored_identity(identity: SigningIdentity) -> dict[str, str]:
    """Convert a certificate and its key to the stored form: PEM, the key without a password."""
    key = identity.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return {
        "certificate": identity.certificate.public_bytes(Encoding.PEM).decode("ascii"),
        "key": key.decode("ascii"),
    }


def login_credentials(kind: str, parts: Mapping[str, str]) -> XadesCredentials | TokenCredentials:
    """Convert stored credential parts to the KSeF client's login credentials."""
    if kind == "ksef_token":
        return TokenCredentials(parts["token"])
    return XadesCredentials(load_certificate(parts["certificate"].encode(), parts["key"].encode()))


def certificate_end(kind: str, parts: Mapping[str, str]) -> datetime | None:
    """Return the end of the stored certificate's validity; None for a token, whose end only KSeF has."""
    credentials = login_credentials(kind, parts)
    return credentials.identity.valid_until if isinstance(credentials, XadesCredentials) else None


def _secret_line(path: Path, what: str) -> str:
    try:
        data = _read(path)
        # PowerShell writes UTF-16 with a byte order mark, Notepad UTF-8 with one.
        marked = data.startswith((b"\xff\xfe", b"\xfe\xff"))
        text = data.decode("utf-16" if marked else "utf-8-sig").strip("\r\n")
    except UnicodeDecodeError as error:
        raise UsageProblem(f"{path} holds no {what}: it is not a text file") from error
    if not text.strip():
        raise UsageProblem(f"{path} holds no {what}: it is empty")
    if "\n" in text:
        raise UsageProblem(f"{path} must hold the {what} alone, on one line")
    # Blanks around a token come from copying; in a password they may be part of it.
    return text.strip() if what == "KSeF token" else text


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            # One byte too many shows that a file is too large, which its reader refuses.
            return file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise UsageProblem(f"cannot read {path}: {error.strerror}") from error
