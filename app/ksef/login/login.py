"""One login at KSeF, from the challenge to its tokens.

    challenge -> signed request or encrypted token -> status until 200 -> tokens -> from time to time a new access token

A login changes only the list of logins at KSeF, so it may be repeated from the start after any step.
Source: ksef-docs, uwierzytelnianie.md; KSeF API 2.9, /auth.
"""

import base64
import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import anyio
import anyio.to_thread

from app.ksef.errors import AuthFailed, KeyUnknown, Outcome, Unreadable
from app.ksef.keys import KeyUsage, PublicKeys, WrappedKey, encrypt_token
from app.ksef.login.certificates import SigningIdentity
from app.ksef.login.tokens import StoredTokens
from app.ksef.login.xades import CONTEXT_PATTERNS, ContextType, SubjectIdentifierType, sign_auth_token_request
from app.ksef.models import (
    AuthenticationStarted,
    AuthenticationStatus,
    AuthenticationTokens,
    Challenge,
    RefreshedToken,
    read_model,
)
from app.ksef.transport import Call, KsefTransport, LimitGroup

LOGIN_TIMEOUT_SECONDS = 120.0
"""How long a login's status is polled: the revocation check of a qualified certificate can take many seconds."""
_FIRST_POLL_SECONDS, _LONGEST_POLL_SECONDS = 0.5, 2.0
_BACKDATED = timedelta(minutes=1)

_CHALLENGE = Call(LimitGroup.ANONYMOUS, "POST", "/auth/challenge", frozenset({200}))
_XADES = Call(LimitGroup.ANONYMOUS, "POST", "/auth/xades-signature", frozenset({200, 201, 202}))
_TOKEN = Call(LimitGroup.ANONYMOUS, "POST", "/auth/ksef-token", frozenset({200, 201, 202}))
_STATUS = Call(LimitGroup.ANONYMOUS, "GET", "/auth/{referenceNumber}", frozenset({200}))
_REDEEM = Call(LimitGroup.ANONYMOUS, "POST", "/auth/token/redeem", frozenset({200}))
_REFRESH = Call(LimitGroup.ANONYMOUS, "POST", "/auth/token/refresh", frozenset({200}))

_WORTH_ANOTHER_TRY = frozenset({425, 500, 550})
"""Statuses of a login after which a new login may work: revoked by the user, unknown error, cancelled by the system."""


@dataclass(frozen=True, slots=True)
class AuthContext:
    """The taxpayer of the login. Raises ValueError when the value does not have the form of its type."""

    value: str
    type: ContextType = ContextType.NIP

    def __post_init__(self) -> None:
        if CONTEXT_PATTERNS[self.type].fullmatch(self.value) is None:
            raise ValueError(f"the context value does not have the form of a {self.type.value}")


@dataclass(frozen=True, slots=True)
class XadesCredentials:
    """Credentials for a login by signature: a KSeF certificate, a qualified one, or on TEST a self-signed one."""

    identity: SigningIdentity
    subject_identifier_type: SubjectIdentifierType = SubjectIdentifierType.CERTIFICATE_SUBJECT
    verify_certificate_chain: bool | None = None
    """Whether TEST checks the chain as production does; None leaves it to the environment."""


@dataclass(frozen=True, slots=True)
class TokenCredentials:
    """Credentials for a login with a KSeF token."""

    token: str = field(repr=False)


class Login:
    """Login procedure of one tenant. It keeps no state: each run is a new login."""

    def __init__(
        self,
        transport: KsefTransport,
        keys: PublicKeys,
        context: AuthContext,
        credentials: XadesCredentials | TokenCredentials,
        *,
        now: Callable[[], datetime],
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        """Create the procedure. `now` returns aware times; `sleep` waits between polls of the login's status."""
        self.context = context
        self._transport = transport
        self._keys = keys
        self._credentials = credentials
        self._now = now
        self._sleep = sleep

    async def run(self) -> tuple[StoredTokens, AuthenticationStatus]:
        """Log in and return the tokens and the login's status. Raises AuthFailed, or the error of a step."""
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
        # If the answer to this call is lost, the login is lost, because the exchange works only once.
        answer = await self._transport.send(_REDEEM, token=login.authentication_token.token.get_secret_value())
        tokens = read_model(answer, AuthenticationTokens)
        stored = StoredTokens(
            access_token=tokens.access_token.token.get_secret_value(),
            access_valid_until=tokens.access_token.valid_until,
            obtained_at=started,
            refresh_token=tokens.refresh_token.token.get_secret_value(),
            refresh_valid_until=tokens.refresh_token.valid_until,
            reference_number=login.reference_number,
            document_sha256=document_sha256,
        )
        return stored, status

    async def refresh(self, tokens: StoredTokens) -> StoredTokens:
        """Exchange the refresh token for a new access token; the login stays the same."""
        started = self._now()
        answer = await self._transport.send(_REFRESH, token=tokens.refresh_token)
        fresh = read_model(answer, RefreshedToken).access_token
        return replace(
            tokens,
            access_token=fresh.token.get_secret_value(),
            access_valid_until=fresh.valid_until,
            obtained_at=started,
        )

    async def _sign(self, challenge: Challenge, credentials: XadesCredentials) -> bytes:
        # Sign with KSeF's time: our clock may run ahead, and KSeF refuses a signing time in its future.
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
            # The documented remedy is to fetch the keys and repeat once.
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
            if waited >= LOGIN_TIMEOUT_SECONDS:
                raise AuthFailed(
                    f"login {login.reference_number} was not finished within {LOGIN_TIMEOUT_SECONDS:.0f} s",
                    auth_status=code,
                    outcome=Outcome.TRY_AGAIN,
                    operation=_STATUS.operation,
                )
            await self._sleep(pause)
            waited += pause
            pause = min(pause * 1.5, _LONGEST_POLL_SECONDS)
