"""The tokens of a login, and where they are kept between processes."""

import base64
import binascii
import json
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class StoredTokens:
    """The tokens of a login. Times are aware. `document_sha256` is of the signed document, which a UPO names."""

    access_token: str = field(repr=False)
    access_valid_until: datetime
    obtained_at: datetime
    refresh_token: str = field(repr=False)
    refresh_valid_until: datetime
    reference_number: str
    document_sha256: bytes | None = None


class TokenStore(Protocol):
    """Where tokens are kept between processes, encrypted by whoever implements this."""

    async def load(self) -> StoredTokens | None:
        """The tokens saved last, or None."""

    async def save(self, tokens: StoredTokens) -> None:
        """Keep these tokens in place of the earlier ones."""

    def renewing(self) -> AbstractAsyncContextManager[None]:
        """Keep all others from renewing inside the block; load once more there, somebody may have been faster.

        Raises a KsefError with TRY_AGAIN when another one's renewal takes too long.
        """


class MemoryTokenStore:
    """Keeps tokens in this process only."""

    def __init__(self) -> None:
        self._tokens: StoredTokens | None = None

    async def load(self) -> StoredTokens | None:
        """The tokens saved last, or None."""
        return self._tokens

    async def save(self, tokens: StoredTokens) -> None:
        """Keep these tokens in place of the earlier ones."""
        self._tokens = tokens

    def renewing(self) -> AbstractAsyncContextManager[None]:
        """Nobody else knows these tokens, and their Authenticator renews once at a time."""
        return nullcontext()


def permissions_in(token: str) -> tuple[str, ...]:
    """The permissions that a KSeF token's claim `per` names; empty when it cannot be read. Proves nothing."""
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
