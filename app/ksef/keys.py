"""KSeF's public keys: their selection, and encryption with them.

KSeF publishes keys by use. The valid key that became valid last is used, and its id is sent with the encrypted data, so that a
planned change of keys causes no error. After error 21470 or session status 415 call `refresh` and wrap again; the same AES
key may be wrapped again, and the parts stay unchanged.
Source: KSeF API 2.9, GET /security/public-key-certificates; ksef-docs, klucze publiczne.
"""

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import anyio
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from app.ksef.errors import KsefError, Outcome, Unreadable
from app.ksef.models import PublicKeyCertificate, read_list
from app.ksef.transport import Call, KsefTransport, LimitGroup

AES_KEY_BYTES = 32
MAX_AGE = timedelta(hours=24)
"""How long a list of keys is used before it is fetched again, as in KSeF's own client."""
GRACE = timedelta(hours=6)
"""How much longer an old list is used when KSeF cannot be reached."""

_LIST = Call(LimitGroup.ANONYMOUS, "GET", "/security/public-key-certificates", frozenset({200}))
_EARLIEST = datetime.min.replace(tzinfo=UTC)
_LATEST = datetime.max.replace(tzinfo=UTC)


class KeyUsage(StrEnum):
    """The use of a public key (PublicKeyCertificateUsage)."""

    TOKEN = "KsefTokenEncryption"  # noqa: S105 - the name of a use, not a secret
    SYMMETRIC_KEY = "SymmetricKeyEncryption"


@dataclass(frozen=True, slots=True)
class KsefPublicKey:
    """One usable RSA key of KSeF."""

    public_key_id: str
    valid_from: datetime
    valid_to: datetime
    usages: frozenset[str]
    key: rsa.RSAPublicKey = field(repr=False)
    id_is_proven: bool = True
    """Whether the id is the hash of the key, as documented. If not, KSeF's id is still used."""


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A secret encrypted for KSeF, and the id of the public key used."""

    ciphertext: bytes = field(repr=False)
    public_key_id: str


def read_public_keys(published: Iterable[PublicKeyCertificate]) -> list[KsefPublicKey]:
    """Return the usable keys of a published list. Unreadable entries and keys other than RSA are left out."""
    keys = []
    for entry in published:
        certificate = _certificate(entry.certificate)
        if certificate is None:
            continue
        key = certificate.public_key()
        if not isinstance(key, rsa.RSAPublicKey):
            continue
        spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        own_id = base64.b64encode(hashlib.sha256(spki).digest()).decode("ascii")
        keys.append(
            KsefPublicKey(
                public_key_id=entry.public_key_id or own_id,
                valid_from=entry.valid_from or certificate.not_valid_before_utc,
                valid_to=entry.valid_to or certificate.not_valid_after_utc,
                usages=frozenset(entry.usage),
                key=key,
                id_is_proven=entry.public_key_id in (None, own_id),
            )
        )
    return keys


def _certificate(text: str) -> x509.Certificate | None:
    try:
        if text.lstrip().startswith("-----BEGIN"):
            return x509.load_pem_x509_certificate(text.encode("ascii"))
        return x509.load_der_x509_certificate(base64.b64decode(text))
    except (ValueError, binascii.Error):
        return None


def select_key(keys: Iterable[KsefPublicKey], usage: KeyUsage, now: datetime) -> KsefPublicKey | None:
    """Return the key for this use that is valid now and became valid last; None when there is none.

    A key whose id is the hash of the key is preferred to one whose id is not.
    """
    fitting = [key for key in keys if usage.value in key.usages and key.valid_from <= now <= key.valid_to]
    return max(fitting, key=lambda key: (key.id_is_proven, key.valid_from), default=None)


def wrap_key(key: KsefPublicKey, aes_key: bytes) -> WrappedKey:
    """Wrap an AES-256 key for KSeF (RSAES-OAEP, SHA-256 for hash and MGF1, no label)."""
    if len(aes_key) != AES_KEY_BYTES:
        raise ValueError("an AES-256 key has 32 bytes")
    return WrappedKey(_oaep(key.key, aes_key), key.public_key_id)


def encrypt_token(key: KsefPublicKey, token: str, timestamp_ms: int) -> WrappedKey:
    """Encrypt a KSeF token for login: `token|timestampMs` with the challenge's own milliseconds.

    KSeF refuses a rounded or local time. Source: ksef-docs, uwierzytelnianie.md.
    """
    return WrappedKey(_oaep(key.key, f"{token}|{timestamp_ms}".encode()), key.public_key_id)


def _oaep(key: rsa.RSAPublicKey, plain: bytes) -> bytes:
    return key.encrypt(plain, padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None))


class PublicKeys:
    """The keys of one KSeF environment, fetched when needed and shared by all tenants."""

    def __init__(self, transport: KsefTransport, *, now: Callable[[], datetime]) -> None:
        """Create an empty cache of keys. `now` returns aware times."""
        self._transport = transport
        self._now = now
        self._keys: list[KsefPublicKey] = []
        self._fetched_at = _EARLIEST
        self._lock = anyio.Lock()

    async def key_for(self, usage: KeyUsage) -> KsefPublicKey:
        """Return the key to use now. Raises a KsefError when there is none; no other request has been sent then."""
        now = self._now()
        found = select_key(self._keys, usage, now)
        if found is not None and now - self._fetched_at < MAX_AGE:
            return found
        try:
            await self._fetch(older_than=now)
        except KsefError:
            if found is not None and now - self._fetched_at < MAX_AGE + GRACE:
                return found
            raise
        fresh = select_key(self._keys, usage, self._now())
        if fresh is None:
            raise Unreadable(f"KSeF publishes no valid RSA key for {usage.value}", outcome=Outcome.TRY_AGAIN)
        return fresh

    async def refresh(self) -> None:
        """Fetch the list now, because KSeF refused the key that was used (21470, or session status 415)."""
        await self._fetch(older_than=self._now())

    async def wrap_key(self, aes_key: bytes) -> WrappedKey:
        """Wrap an AES-256 key with the current key. Raises the errors of `key_for`."""
        return wrap_key(await self.key_for(KeyUsage.SYMMETRIC_KEY), aes_key)

    async def _fetch(self, *, older_than: datetime) -> None:
        async with self._lock:
            if self._fetched_at > older_than:
                return  # another task fetched the list while this one waited
            answer = await self._transport.send(_LIST)
            self._keys = read_public_keys(read_list(answer, PublicKeyCertificate))
            self._fetched_at = self._now()
