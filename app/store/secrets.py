"""The master key: it encrypts the data keys of `app.store.keys`, and in earlier versions each secret itself.

The master key is a file made with mode 0600 at the first start of an installation. Without the file, the database reveals no
token, certificate key, session key, storage link or webhook secret.
"""

import base64
import binascii
import os
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from app.errors import ConfigurationError

_NONCE_BYTES: Final = 12
# First byte of every ciphertext, so that a later method can recognise old ones.
_VERSION: Final = b"\x01"


class SecretBox:
    """Encrypts and decrypts small secrets. Printing it shows nothing."""

    def __init__(self, master_key: bytes) -> None:
        """`master_key` has 32 bytes."""
        if len(master_key) != 32:
            raise ConfigurationError("the master key must have 32 bytes")
        self._cipher = AESGCM(master_key)
        self._master_key = master_key

    def __repr__(self) -> str:
        return "SecretBox(***)"

    def derived_key(self, purpose: str) -> bytes:
        """Give a key of 32 bytes for one purpose, always the same; the master key cannot be derived from it (RFC 5869)."""
        info = f"ksefd:{purpose}".encode()
        return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(self._master_key)

    def encrypt(self, secret: bytes, *, purpose: str) -> bytes:
        """Encrypt; `purpose` (such as `session-key:<id>`) must be given again to decrypt."""
        nonce = os.urandom(_NONCE_BYTES)
        return _VERSION + nonce + self._cipher.encrypt(nonce, secret, purpose.encode())

    def opens(self, sealed: bytes, *, purpose: str) -> bool:
        """Return whether this key decrypts a secret."""
        try:
            self.decrypt(sealed, purpose=purpose)
        except ConfigurationError:
            return False
        return True

    def decrypt(self, sealed: bytes, *, purpose: str) -> bytes:
        """Decrypt; raises ConfigurationError when the master key is another one or the row was tampered with."""
        if sealed[:1] != _VERSION:
            raise ConfigurationError(f"a secret ({purpose.partition(':')[0]}) has an unknown form")
        nonce, body = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        try:
            return self._cipher.decrypt(nonce, body, purpose.encode())
        except InvalidTag as error:
            kind = purpose.partition(":")[0]
            raise ConfigurationError(
                f"a stored secret ({kind}) cannot be decrypted: the master key file is not the one it was made with"
            ) from error


def make_master_key(path: Path) -> None:
    """Make a new master key in a file with mode 0600, durably. Raises ConfigurationError when it exists or cannot be made."""
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(os.urandom(32).hex().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        # Unlike a rename, a link does not replace a key that another process has made meanwhile.
        os.link(new, path)
        new.unlink()
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise ConfigurationError(f"KSEFD_MASTER_KEY_FILE: cannot make {path}: {error.strerror}") from error


def read_master_key(path: Path) -> bytes:
    """Read the master key. Raises ConfigurationError when the file is missing, open to other users or no key."""
    try:
        raw = path.read_bytes()
        mode = path.stat().st_mode
    except OSError as error:
        raise ConfigurationError(f"KSEFD_MASTER_KEY_FILE: cannot read {path}: {error.strerror}") from error
    if mode & 0o077:
        raise ConfigurationError(f"KSEFD_MASTER_KEY_FILE: {path} is readable by others; run chmod 600 on it")
    key = key_in(raw)
    if key is None:
        raise ConfigurationError(f"KSEFD_MASTER_KEY_FILE: {path} must hold 32 bytes, as they are or in hex or base64")
    return key


def key_in(raw: bytes) -> bytes | None:
    """Return the 32 bytes in the content of a key file: hex, base64 or the bytes themselves; None for any other content."""
    text = raw.strip()
    for decode in (bytes.fromhex, lambda value: base64.b64decode(value, validate=True)):
        try:
            key = decode(text.decode("ascii"))
        except (ValueError, binascii.Error, UnicodeDecodeError):
            continue
        if len(key) == 32:
            return key
    # A text of 32 characters is a key that was cut, never the bytes of one.
    return raw if len(raw) == 32 and not raw.isascii() else None
