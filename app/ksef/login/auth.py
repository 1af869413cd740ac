"""Access tokens of one tenant: kept, renewed before their end, or fetched by a new login.

After an error here the call that needed the token has not been sent, so no error from here has the outcome UNKNOWN.
Source: ksef-docs, uwierzytelnianie.md; KSeF API 2.9, /auth.
"""

import copy
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import anyio

from app.ksef.errors import KsefError, Outcome, QuotaExhausted, TransportFailed
from app.ksef.keys import PublicKeys
from app.ksef.login.login import AuthContext, Login, TokenCredentials, XadesCredentials
from app.ksef.login.tokens import MemoryTokenStore, StoredTokens, TokenStore, permissions_in
from app.ksef.models import AuthenticationStatus
from app.ksef.transport import KsefTransport

AHEAD = timedelta(minutes=2)
"""How long before its end an access token is renewed, so that it does not end during a call."""
LAST_MOMENT = timedelta(seconds=20)
"""The remaining validity with which a token is still used when it could not be renewed."""


@dataclass(frozen=True, slots=True)
class LoginInfo:
    """The identity and token ends that KSeF reports after a login, for `ksefd auth check`."""

    reference_number: str
    method: str
    context_type: str
    context_value: str
    access_valid_until: datetime
    refresh_valid_until: datetime
    permissions: tuple[str, ...]
    """From the access token's claims. For diagnostics only: the token's content is not part of the contract."""


class Authenticator:
    """Source of access tokens for one tenant's context. A lock and, between processes, the token store serialise logins."""

    def __init__(
        self,
        transport: KsefTransport,
        keys: PublicKeys,
        context: AuthContext,
        credentials: XadesCredentials | TokenCredentials,
        *,
        now: Callable[[], datetime],
        store: TokenStore | None = None,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        """Create a source without tokens. `now` returns aware times; `sleep` waits between polls of a login's status."""
        self.context = context
        self._login = Login(transport, keys, context, credentials, now=now, sleep=sleep)
        self._store = store or MemoryTokenStore()
        self._now = now
        self._lock = anyio.Lock()
        self._tokens: StoredTokens | None = None
        self._dead_access: str | None = None
        self._dead_refresh: str | None = None
        self._attempts = 0
        self._failure: KsefError | None = None

    async def access_token(self) -> str:
        """Return a valid access token: a stored one, a renewed one, or one from a new login.

        Raises AuthFailed when KSeF refuses the login, or the error of a step; never with UNKNOWN. Callers that wait during
        a login that fails get the same error, instead of making one login after the other.
        """
        if self._tokens is not None and self._is_fresh(self._tokens):
            return self._tokens.access_token
        attempts_seen = self._attempts
        async with self._lock:
            tokens = await self._known_tokens()
            if tokens is not None and self._is_fresh(tokens):
                return tokens.access_token
            if self._failure is not None and self._attempts > attempts_seen:
                raise copy.copy(self._failure)
            try:
                tokens = await self._renew_alone()
            except KsefError as error:
                if tokens is not None and self._is_alive(tokens):
                    return tokens.access_token  # the early renewal failed, but the token is still valid
                self._failure = error
                raise _not_sent(error) from error.__cause__
            finally:
                self._attempts += 1
            self._failure = None
            return tokens.access_token

    def invalidate(self, token: str, *, drop_login: bool = False) -> None:
        """Stop using an access token that KSeF answered with 401; `drop_login` makes the next one a full login."""
        self._dead_access = token
        if drop_login and self._tokens is not None:
            self._dead_refresh = self._tokens.refresh_token

    async def login(self) -> LoginInfo:
        """Log in anew, even with valid tokens, and return the identity. Raises the errors of `access_token`."""
        async with self._lock:
            try:
                async with self._store.renewing():
                    tokens, status = await self._log_in()
            except KsefError as error:
                raise _not_sent(error) from error.__cause__
            return LoginInfo(
                reference_number=tokens.reference_number,
                method=status.method,
                context_type=self.context.type.value,
                context_value=self.context.value,
                access_valid_until=tokens.access_valid_until,
                refresh_valid_until=tokens.refresh_valid_until,
                permissions=permissions_in(tokens.access_token),
            )

    async def _known_tokens(self) -> StoredTokens | None:
        """Return this process's tokens, or newer ones that another process has saved."""
        stored = await self._store.load()
        if stored is not None and (self._tokens is None or stored.obtained_at >= self._tokens.obtained_at):
            self._tokens = stored
        return self._tokens

    def _is_fresh(self, tokens: StoredTokens) -> bool:
        if tokens.access_token == self._dead_access:
            return False
        # A token that is valid for minutes only is used for two thirds of that time.
        ahead = min(AHEAD, (tokens.access_valid_until - tokens.obtained_at) / 3)
        return tokens.access_valid_until - self._now() > ahead

    def _is_alive(self, tokens: StoredTokens) -> bool:
        return tokens.access_token != self._dead_access and tokens.access_valid_until - self._now() > LAST_MOMENT

    async def _renew_alone(self) -> StoredTokens:
        async with self._store.renewing():
            tokens = await self._known_tokens()
            if tokens is not None and self._is_fresh(tokens):
                return tokens
            return await self._renew(tokens)

    async def _renew(self, tokens: StoredTokens | None) -> StoredTokens:
        if (
            tokens is not None
            and tokens.refresh_token != self._dead_refresh
            and tokens.refresh_valid_until - self._now() > AHEAD
        ):
            try:
                return await self._keep(await self._login.refresh(tokens))
            except KsefError as error:
                if error.outcome is Outcome.BLOCKED or _is_about_traffic(error):
                    raise
                # KSeF refused the renewal or failed at it; a full login may work in both cases.
        tokens, _ = await self._log_in()
        return tokens

    async def _log_in(self) -> tuple[StoredTokens, AuthenticationStatus]:
        tokens, status = await self._login.run()
        return await self._keep(tokens), status

    async def _keep(self, tokens: StoredTokens) -> StoredTokens:
        self._tokens = tokens
        self._dead_access = None
        self._dead_refresh = None
        await self._store.save(tokens)
        return tokens


def _is_about_traffic(error: KsefError) -> bool:
    """Return whether a full login would fail in the same way: too many requests, or no connection."""
    return (
        error.http_status == 429
        or isinstance(error, QuotaExhausted)
        or (isinstance(error, TransportFailed) and error.outcome is Outcome.TRY_AGAIN)
    )


def _not_sent(error: KsefError) -> KsefError:
    """Mark an error's outcome: the call that needed the token was never sent."""
    if error.outcome is Outcome.UNKNOWN:
        error.outcome = Outcome.TRY_AGAIN
    return error
