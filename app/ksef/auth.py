"""Keeping one tenant logged in.

    challenge -> signed document or encrypted token -> status until 200 -> tokens -> a new access token now and then

A login changes nothing at KSeF but the list of logins, so every step may be repeated from the start; whatever
goes wrong here, the call that needed the token has not been sent, and no error from here says UNKNOWN.
Source: ksef-docs, uwierzytelnianie.md; KSeF API 2.9, /auth.
"""

import base64
import binascii
import copy
import hashlib
import json
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

import anyio
import anyio.to_thread

from app.ksef.certificates import SigningIdentity
from app.ksef.errors import AuthFailed, KeyUnknown, KsefError, Outcome, QuotaExhausted, TransportFailed, Unreadable
from app.ksef.keys import KeyUsage, PublicKeys, WrappedKey, encrypt_token
from app.ksef.models import (
    AuthenticationStarted,
    AuthenticationStatus,
    AuthenticationTokens,
    Challenge,
    RefreshedToken,
    read_model,
)
from app.ksef.transport import Call, KsefTransport, LimitGroup
from app.ksef.xades import CONTEXT_PATTERNS, ContextType, SubjectIdentifierType, sign_auth_token_request

AHEAD = timedelta(minutes=2)
"""An access token is renewed this long before its end, so that it does not end under way."""
LAST_MOMENT = timedelta(seconds=20)
"""What a token must still have to be used when it could not be renewed."""
LOGIN_PATIENCE_SECONDS = 120.0
"""Checking a qualified certificate's revocation can take many seconds."""
_FIRST_POLL_SECONDS, _LONGEST_POLL_SECONDS = 0.5, 2.0
_BACKDATED = timedelta(minutes=1)

_CHALLENGE = Call(LimitGroup.ANONYMOUS, "POST", "/auth/challenge", frozenset({200}))
_XADES = Call(LimitGroup.ANONYMOUS, "POST", "/auth/xades-signature", frozenset({200, 201, 202}))
_TOKEN = Call(LimitGroup.ANONYMOUS, "POST", "/auth/ksef-token", frozenset({200, 201, 202}))
_STATUS = Call(LimitGroup.ANONYMOUS, "GET", "/auth/{referenceNumber}", frozenset({200}))
_REDEEM = Call(LimitGroup.ANONYMOUS, "POST", "/auth/token/redeem", frozenset({200}))
_REFRESH = Call(LimitGroup.ANONYMOUS, "POST", "/auth/token/refresh", frozenset({200}))

_WORTH_ANOTHER_TRY = frozenset({425, 500, 550})
"""Statuses of a login that a new login may cure: revoked by the user, unknown error, cancelled by the system."""


@dataclass(frozen=True, slots=True)
class AuthContext:
    """Whose data the login is for. Raises ValueError when the value does not have the form of its type."""

    value: str
    type: ContextType = ContextType.NIP

    def __post_init__(self) -> None:
        if CONTEXT_PATTERNS[self.type].fullmatch(self.value) is None:
            raise ValueError(f"the context value does not have the form of a {self.type.value}")


@dataclass(frozen=True, slots=True)
class XadesCredentials:
    """Log in by signing with a certificate: a KSeF certificate, a qualified one, or on TEST a self-made one."""

    identity: SigningIdentity
    subject_identifier_type: SubjectIdentifierType = SubjectIdentifierType.CERTIFICATE_SUBJECT
    verify_certificate_chain: bool | None = None
    """Ask TEST to check the chain as production does; None leaves it to the environment."""


@dataclass(frozen=True, slots=True)
class TokenCredentials:
    """Log in with a KSeF token."""

    token: str = field(repr=False)


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


@dataclass(frozen=True, slots=True)
class LoginInfo:
    """Who we are to KSeF after a login, for `ksefd auth check`."""

    reference_number: str
    method: str
    context_type: str
    context_value: str
    access_valid_until: datetime
    refresh_valid_until: datetime
    permissions: tuple[str, ...]
    """From the access token's claims: for diagnostics only, the token's inside is not part of the contract."""


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


class Authenticator:
    """Access tokens for one tenant's context, one login at a time: here by a lock, among processes by the token store."""

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
        """`now` gives aware times; `sleep` waits between looks at the status of a login."""
        self.context = context
        self._transport = transport
        self._keys = keys
        self._credentials = credentials
        self._store = store or MemoryTokenStore()
        self._now = now
        self._sleep = sleep
        self._lock = anyio.Lock()
        self._tokens: StoredTokens | None = None
        self._dead_access: str | None = None
        self._dead_refresh: str | None = None
        self._attempts = 0
        self._failure: KsefError | None = None

    async def access_token(self) -> str:
        """An access token that is good for a while: a kept one, a renewed one, or one from a new login.

        Raises AuthFailed when KSeF does not let us in, or what went wrong on the way; never with UNKNOWN.
        Callers that wait while another one's login fails get that failure instead of trying one after the other.
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
                    return tokens.access_token  # renewing ahead of time failed; there is still time
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
        """Log in anew, whatever tokens there are, and tell as whom. Raises as `access_token` does."""
        async with self._lock:
            try:
                async with self._store.renewing():
                    tokens, status = await self._login()
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
        """Ours, or newer ones that another process has saved."""
        stored = await self._store.load()
        if stored is not None and (self._tokens is None or stored.obtained_at >= self._tokens.obtained_at):
            self._tokens = stored
        return self._tokens

    def _is_fresh(self, tokens: StoredTokens) -> bool:
        if tokens.access_token == self._dead_access:
            return False
        # A token that lives only minutes is used for two thirds of its life rather than never.
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
                return await self._refresh(tokens)
            except KsefError as error:
                if error.outcome is Outcome.BLOCKED or _is_about_traffic(error):
                    raise
                # Refused, or broken at KSeF: a full login is the way out of both.
        tokens, _ = await self._login()
        return tokens

    async def _refresh(self, tokens: StoredTokens) -> StoredTokens:
        started = self._now()
        answer = await self._transport.send(_REFRESH, token=tokens.refresh_token)
        fresh = read_model(answer, RefreshedToken).access_token
        return await self._keep(
            StoredTokens(
                access_token=fresh.token.get_secret_value(),
                access_valid_until=fresh.valid_until,
                obtained_at=started,
                refresh_token=tokens.refresh_token,
                refresh_valid_until=tokens.refresh_valid_until,
                reference_number=tokens.reference_number,
                document_sha256=tokens.document_sha256,
            )
        )

    async def _login(self) -> tuple[StoredTokens, AuthenticationStatus]:
        started = self._now()
        challenge = read_model(await self._transport.send(_CHALLENGE), Challenge)
        document_sha256: bytes | None = None
        if isinstance(self._credentials, XadesCredentials):
            document = await self._sign(challenge, self._credentials)
            document_sha256 = hashlib.sha256(document).digest()
            login = await self._post_signed(document, self._credentials)
        else:
            login = await self._post_token(challenge, self._credentials)
        status = await self._wait(login)
        # A lost answer to this call costs the login: the exchange works only once.
        answer = await self._transport.send(_REDEEM, token=login.authentication_token.token.get_secret_value())
        tokens = read_model(answer, AuthenticationTokens)
        kept = await self._keep(
            StoredTokens(
                access_token=tokens.access_token.token.get_secret_value(),
                access_valid_until=tokens.access_token.valid_until,
                obtained_at=started,
                refresh_token=tokens.refresh_token.token.get_secret_value(),
                refresh_valid_until=tokens.refresh_token.valid_until,
                reference_number=login.reference_number,
                document_sha256=document_sha256,
            )
        )
        return kept, status

    async def _keep(self, tokens: StoredTokens) -> StoredTokens:
        self._tokens = tokens
        self._dead_access = None
        self._dead_refresh = None
        await self._store.save(tokens)
        return tokens

    async def _sign(self, challenge: Challenge, credentials: XadesCredentials) -> bytes:
        # KSeF's own time: ours may run ahead, and a signing time in KSeF's future is refused.
        server_time = challenge.timestamp or self._now()
        try:
            return await anyio.to_thread.run_sync(
                lambda: sign_auth_token_request(
                    challenge.challenge,
                    self.context.type,
                    self.context.value,
                    credentials.identity.certificate,
                    credentials.identity.private_key,
                    signing_time=server_time - _BACKDATED,
                    subject_identifier_type=credentials.subject_identifier_type,
                )
            )
        except ValueError as error:
            raise Unreadable(f"{_CHALLENGE.operation}: {error}", operation=_CHALLENGE.operation) from error

    async def _post_signed(self, document: bytes, credentials: XadesCredentials) -> AuthenticationStarted:
        check = credentials.verify_certificate_chain
        answer = await self._transport.send(
            _XADES,
            query=() if check is None else (("verifyCertificateChain", "true" if check else "false"),),
            body=document,
            content_type="application/xml",
        )
        return read_model(answer, AuthenticationStarted)

    async def _post_token(self, challenge: Challenge, credentials: TokenCredentials) -> AuthenticationStarted:
        try:
            return await self._post_encrypted(challenge, await self._encrypted(challenge, credentials))
        except KeyUnknown:
            # The one documented cure: fetch the keys and repeat once.
            await self._keys.refresh()
            return await self._post_encrypted(challenge, await self._encrypted(challenge, credentials))

    async def _encrypted(self, challenge: Challenge, credentials: TokenCredentials) -> WrappedKey:
        try:
            milliseconds = challenge.milliseconds
        except ValueError as error:
            raise Unreadable(f"{_CHALLENGE.operation}: {error}", operation=_CHALLENGE.operation) from error
        return encrypt_token(await self._keys.key_for(KeyUsage.TOKEN), credentials.token, milliseconds)

    async def _post_encrypted(self, challenge: Challenge, wrapped: WrappedKey) -> AuthenticationStarted:
        body = {
            "challenge": challenge.challenge,
            "contextIdentifier": {"type": self.context.type.value, "value": self.context.value},
            "encryptedToken": base64.b64encode(wrapped.ciphertext).decode("ascii"),
            "publicKeyId": wrapped.public_key_id,
        }
        answer = await self._transport.send(_TOKEN, body=json.dumps(body).encode(), content_type="application/json")
        return read_model(answer, AuthenticationStarted)

    async def _wait(self, login: AuthenticationStarted) -> AuthenticationStatus:
        pause, waited = _FIRST_POLL_SECONDS, 0.0
        while True:
            answer = await self._transport.send(
                _STATUS,
                path={"referenceNumber": login.reference_number},
                token=login.authentication_token.token.get_secret_value(),
            )
            status = read_model(answer, AuthenticationStatus)
            code = status.status.code
            if code == 200:
                return status
            if code >= 300:
                raise AuthFailed(
                    f"login {login.reference_number} failed with status {code}: "
                    + "; ".join((status.status.description, *status.status.details)),
                    auth_status=code,
                    outcome=Outcome.TRY_AGAIN if code in _WORTH_ANOTHER_TRY else Outcome.REFUSED,
                    operation=_STATUS.operation,
                )
            if waited >= LOGIN_PATIENCE_SECONDS:
                raise AuthFailed(
                    f"login {login.reference_number} was not finished within {LOGIN_PATIENCE_SECONDS:.0f} s",
                    auth_status=code,
                    outcome=Outcome.TRY_AGAIN,
                    operation=_STATUS.operation,
                )
            await self._sleep(pause)
            waited += pause
            pause = min(pause * 1.5, _LONGEST_POLL_SECONDS)


def _is_about_traffic(error: KsefError) -> bool:
    """Whether a full login would meet the same obstacle: too many requests, or no connection at all."""
    return (
        error.http_status == 429
        or isinstance(error, QuotaExhausted)
        or (isinstance(error, TransportFailed) and error.outcome is Outcome.TRY_AGAIN)
    )


def _not_sent(error: KsefError) -> KsefError:
    """Mark that the call which needed the token was never sent, whatever became of the login."""
    if error.outcome is Outcome.UNKNOWN:
        error.outcome = Outcome.TRY_AGAIN
    return error


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
