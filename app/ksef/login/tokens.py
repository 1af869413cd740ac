"""Tokens of a login, and the protocol of their store."""

import base64
import binascii
import json
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class StoredTokens:
    """The tokens of a login. Times are aware. `document_sha256` is the hash of the signed login request, which a UPO names."""

    access_token: str = field(repr=False)
    access_valid_until: datetime
    obtained_at: datetime
    refresh_token: str = field(repr=False)
    refresh_valid_until: datetime
    reference_number: str
    document_sha256: bytes | None = None


class TokenStore(Protocol):
    """Store of tokens that processes share. Its implementation encrypts them."""

    async def load(self) -> StoredTokens | None:
        """Return the tokens saved last, or None."""

    async def save(self, tokens: StoredTokens) -> None:
        """Save these tokens in place of the earlier ones."""

    def renewing(self) -> AbstractAsyncContextManager[None]:
        """Lock out renewal by other processes inside the block. Load again there: another process may have renewed before.

        Raises a KsefError with TRY_AGAIN when the renewal of another process takes too long.
        """


class MemoryTokenStore:
    """Store of tokens in the memory of this process."""

    def __init__(self) -> None:
        self._tokens: StoredTokens | None = None

    async def load(self) -> StoredTokens | None:
        """Return the tokens saved last, or None."""
        return self._tokens

    async def save(self, tokens: StoredTokens) -> None:
        """Save these tokens in place of the earlier ones."""
        self._tokens = tokens

    def renewing(self) -> AbstractAsyncContextManager[None]:
        """Lock nothing: no other process has these tokens, and their Authenticator makes one renewal at a time."""
        return nullcontext()


def permissions_in(token: str) -> tuple[str, ...]:
    """Return the permissions in a KSeF token's claim `per`; empty when it cannot be read. They are not verified."""
    parts = token.split(".")
    if len(parts) != 3:
        return ()
    try:
        claims: Any = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        permissions = claims.get("per") if isinstance(claims, dict) else None
        if isinstance(permissions, str) and permissions.startswith("["):
            permissions = json.loads(permissions)
    except (ValueError, binascii.Error, RecursionError):
        return ()
    if isinstance(permissions, str):
        permissions = permissions.replace(",", " ").split()
    return tuple(str(item) for item in permissions) if isinstance(permissions, list) else ()
