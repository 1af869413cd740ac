"""Encryption of secrets under data keys: AES-256-GCM, with the number of the data key beside each secret.

    0x02, number of the data key (4 bytes), nonce (12 bytes), ciphertext and tag

A value that begins with 0x01 was encrypted under the master key itself, by a version without data keys.
"""

import os
import struct
from collections.abc import Mapping
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from app.errors import ConfigurationError
from app.store.keys.places import Place
from app.store.secrets import SecretBox

FIRST: Final = 1
"""The number of the data key from which keys for other purposes are derived."""

_HEAD: Final = struct.Struct(">BI")
_FORM: Final = 2
_NONCE_BYTES: Final = 12


class Envelope:
    """Encrypts and decrypts small secrets under data keys. Printing it shows nothing."""

    def __init__(self, master: SecretBox, keys: Mapping[int, bytes]) -> None:
        """`keys` are the data keys by number, decrypted; the highest number encrypts."""
        self._master = master
        self._keys = dict(keys)
        self._ciphers = {number: AESGCM(key) for number, key in keys.items()}
        self._newest = max(keys)

    def __repr__(self) -> str:
        return "Envelope(***)"

    def derived_key(self, purpose: str) -> bytes:
        """Derive a key of 32 bytes for one purpose (RFC 5869). It stays the same when the master key changes."""
        return HKDF(algorithm=SHA256(), length=32, salt=None, info=f"ksefd:{purpose}".encode()).derive(
            self._keys[FIRST]
        )

    def direct_derived_key(self, purpose: str) -> bytes:
        """Derive the key that versions without data keys derived from the master key."""
        return self._master.derived_key(purpose)

    def encrypt(self, secret: bytes, place: Place) -> bytes:
        """Encrypt a secret for its place."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._ciphers[self._newest].encrypt(nonce, secret, place.bound_to)
        return _HEAD.pack(_FORM, self._newest) + nonce + sealed

    def decrypt(self, sealed: bytes, place: Place) -> bytes:
        """Decrypt a secret at its place. Raises ConfigurationError when it was moved or changed, or its key is missing."""
        if is_direct(sealed):
            return self._master.decrypt(sealed, purpose=place.direct_purpose)
        number = key_number(sealed)
        cipher = self._ciphers.get(number)
        if cipher is None:
            raise ConfigurationError(f"a stored secret ({place.column}) needs data key {number}, which is not there")
        nonce, body = sealed[_HEAD.size : _HEAD.size + _NONCE_BYTES], sealed[_HEAD.size + _NONCE_BYTES :]
        try:
            return cipher.decrypt(nonce, body, place.bound_to)
        except (InvalidTag, ValueError) as error:
            raise ConfigurationError(
                f"a stored secret ({place.column}) cannot be decrypted: it was changed, or moved from another row"
            ) from error


def is_direct(sealed: bytes) -> bool:
    """Return whether a value was encrypted under the master key itself."""
    return sealed[:1] == b"\x01"


def key_number(sealed: bytes) -> int:
    """Return the number of the data key of a value. Raises ConfigurationError for a value of an unknown form."""
    if len(sealed) < _HEAD.size or sealed[0] != _FORM:
        raise ConfigurationError("a stored secret has an unknown form; a newer version may have written it")
    return int(_HEAD.unpack_from(sealed)[1])
