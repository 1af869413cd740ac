"""Checks of every request before its endpoint: token, address, limits, permissions; and the readers of bodies."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel
from starlette.requests import Request
from starlette.responses import Response

from sandbox.answers.table import checked_answer, expected_answer
from sandbox.auth.jwt import InvalidToken, decode_token
from sandbox.auth.login_document import address_is_allowed
from sandbox.errors import (
    ApiError,
    BadRequest,
    Forbidden,
    Rejection,
    Unauthorized,
    Unprocessable,
    bad,
    rejection_response,
)
from sandbox.ids import REFERENCE
from sandbox.service import Sandbox
from sandbox.state.records.logins import AuthOperation

_MAX_BODY = 1_000_000
_LARGE = 200_000
"""The size above which a body is parsed in a thread, so that other requests are not delayed."""
_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_ECHOED_WARNING = "x-test-system-warning"

TokenKind = Literal["ContextToken", "AuthenticationToken", "RefreshToken"]


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller: the login of the token, and the token's permissions (which may exceed those granted now)."""

    login: AuthOperation
    permissions: frozenset[str]
    kind: str

    @property
    def rate_key(self) -> str:
        """The context as the key of the limits."""
        return f"{self.login.context.type}:{self.login.context.value}"


@dataclass(frozen=True, slots=True)
class Call:
    """A request that passed the guard."""

    sandbox: Sandbox
    request: Request
    caller: Principal | None
    address: str

    @property
    def principal(self) -> Principal:
        """The caller, on endpoints that require a token."""
        if self.caller is None:
            raise Unauthorized
        return self.caller

    def path(self, name: str) -> str:
        """Return a path parameter."""
        return str(self.request.path_params[name])

    def reference(self, name: str) -> str:
        """Return a reference number in the path; raises BadRequest 21405 for another form."""
        reference = self.path(name)
        if REFERENCE.fullmatch(reference) is None:
            raise bad(21405, f"Numer referencyjny '{reference}' ma nieprawidłowy format.")
        return reference


Handler = Callable[[Call], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One operation of the contract: its path, handler, limit group, tokens and permissions."""

    method: str
    path: str
    handler: Handler
    group: str
    tokens: tuple[TokenKind, ...] = ("ContextToken",)
    """Accepted kinds of token; empty for anonymous operations."""
    any_of: frozenset[str] = frozenset()
    """Permissions of which one is enough; empty when none is needed."""


def guarded(endpoint: Endpoint, sandbox: Sandbox) -> Callable[[Request], Awaitable[Response]]:
    """Wrap an endpoint with the checks before it and the check of its answer against the contract."""
    expected = expected_answer(endpoint.method, endpoint.path, sandbox.options.api)

    async def handle(request: Request) -> Response:
        address = request.client.host if request.client else "0.0.0.0"  # noqa: S104 - not bound, only written
        try:
            caller = _authenticate(endpoint, request, sandbox, address)
            context = caller.rate_key if caller and endpoint.group != "anonymous" else ""
            sandbox.limiter.book(context, address, endpoint.group, sandbox.clock.now())
            _check_permissions(endpoint, caller)
            _check_content_type(request)
            response = checked_answer(await endpoint.handler(Call(sandbox, request, caller, address)), expected)
        except Rejection as rejection:
            response = rejection_response(rejection, request, sandbox.clock.now())
        warning = request.headers.get(_ECHOED_WARNING)
        if warning:
            response.headers["X-System-Warning"] = warning
        return response

    return handle


def _authenticate(endpoint: Endpoint, request: Request, sandbox: Sandbox, address: str) -> Principal | None:
    if not endpoint.tokens:
        return None
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme != "Bearer" or not token:
        raise Unauthorized("Brak tokena w nagłówku Authorization.")
    try:
        claims = decode_token(token, sandbox.keys.token_secret, sandbox.clock.now().timestamp())
    except InvalidToken as error:
        raise Unauthorized("Token jest nieprawidłowy lub wygasł.") from error
    if claims["typ"] not in endpoint.tokens:
        raise Unauthorized("Rodzaj tokena jest niewłaściwy dla tej operacji.")
    login = sandbox.state.logins.get(claims["arn"])
    if login is None:
        if claims["typ"] == "ContextToken":
            raise Unauthorized("Token należy do nieznanego uwierzytelnienia.")
        detail = f"Operacja uwierzytelniania o numerze referencyjnym {claims['arn']} nie została znaleziona."
        raise bad(21304, detail)
    if not address_is_allowed(address, login.allowed_ips):
        raise Forbidden("ip-not-allowed", "Żądanie z niedozwolonego adresu IP.", {"clientIp": address})
    return Principal(login, frozenset(claims.get("per", ())), claims["typ"])


def _check_permissions(endpoint: Endpoint, caller: Principal | None) -> None:
    if caller is None or not endpoint.any_of or caller.permissions & endpoint.any_of:
        return
    raise Forbidden(
        "missing-permissions",
        "Brak wymaganych uprawnień do wykonania operacji w bieżącym kontekście.",
        {
            "requiredAnyOfPermissions": sorted(endpoint.any_of),
            "presentPermissions": sorted(caller.permissions),
        },
    )


def _check_content_type(request: Request) -> None:
    """Reject a form content type on a call without a body with 415 (ksef-api, issue 137)."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media in {"application/x-www-form-urlencoded", "multipart/form-data"}:
        raise Unprocessable(415)


class Body(BaseModel):
    """Base of JSON bodies. Members have the contract's names; unknown members are rejected, so that they are noticed."""

    model_config = ConfigDict(
        alias_generator=to_camel, extra="forbid", strict=True, validate_by_alias=True, validate_by_name=False
    )


def _moment(value: object) -> datetime:
    """Parse a date-time of RFC 3339 and the contract, a string with an offset; return UTC."""
    if not isinstance(value, str) or _DATE_TIME.fullmatch(value) is None:
        raise ValueError("a date and time with an offset, as in RFC 3339")
    try:
        return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except OverflowError as error:
        raise ValueError("a date and time that exist in UTC") from error


Moment = Annotated[datetime, BeforeValidator(_moment)]

_B = TypeVar("_B", bound=Body)


async def read_body(request: Request, media_type: str, limit: int = _MAX_BODY) -> bytes:
    """Read a body of the operation's media type with at most `limit` bytes."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != media_type:
        raise Unprocessable(415)
    return await read_raw(request, limit)


async def read_raw(request: Request, limit: int) -> bytes:
    """Read a body of any media type with at most `limit` bytes."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise Unprocessable(413)
    return bytes(body)


async def read_json(request: Request, model: type[_B], limit: int = _MAX_BODY) -> _B:
    """Read the body as a model; raises 21001 when it is not JSON, 21405 with a detail for each breach of the contract."""
    body = await read_body(request, "application/json", limit)
    try:
        if len(body) > _LARGE:
            return await asyncio.to_thread(model.model_validate_json, body)
        return model.model_validate_json(body)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
        details = tuple(_sentence(fault) for fault in faults)
        unreadable = any(fault["type"] == "json_invalid" for fault in faults)
        raise BadRequest(ApiError(21001 if unreadable else 21405, details)) from error


async def read_optional_json(request: Request, model: type[_B]) -> _B:
    """Read an optional body as a model; without a body and a content type, return the model's defaults."""
    if "content-type" not in request.headers and not await read_raw(request, 0):
        return model.model_validate({})
    return await read_json(request, model)


def _sentence(item: Any) -> str:
    place = ".".join(str(step) for step in item["loc"]) or "body"
    return f"'{place}': {item['msg']}."
