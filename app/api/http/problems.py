"""Turns exceptions into HTTP answers: problem details (RFC 9457).

`code` is stable: programs may depend on it, and `PROBLEMS` lists every one. `python -m app.api.http.problems --write` makes
docs/problems.md from the same list.
"""

import html
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Literal

from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from app import errors
from app.api.failed_keys import FAILURES_AT_ONCE, SECONDS_OF_A_FAILURE
from app.api.http import errors as api_errors
from app.api.http.connections import Place
from app.api.http.json_faults import request_faults, undecodable_body
from app.api.http.rate_limits import RateLimit, limit_headers, limit_of_tenant
from app.errors import DispatchError, NotFound, RequestError, TryLater, cause_fields
from app.observability.logs import get_logger
from app.store.blob_errors import BlobMissing, BlobStoreUnavailable
from app.store.database_errors import (
    DatabaseDiskFull,
    DatabaseError,
    DatabaseUnavailable,
    LockTimeout,
    StatementCancelled,
    TooManyConnections,
    TransactionConflict,
)
from app.store.disk import DiskLow
from app.store.events.replays import ReplayConflict, UnknownEvent
from app.store.sessions.settlements import NotUnresolved
from app.store.sessions.upo_links import LinkInvalid
from app.store.uploads.late_invoices import NotAwaitingDecision
from app.store.uploads.resumable import TooManyUnfinished, UploadNotFinished, WrongOffset
from app.webhooks.addresses import InvalidWebhookUrl
from app.webhooks.headers import InvalidWebhookHeaders

MEDIA_TYPE: Final = "application/problem+json"

_KEY_PROBLEMS: Final[tuple[type[DispatchError], ...]] = (errors.TenantDisabled, api_errors.TooManyFailedKeys)

DATABASE_PROBLEMS: Final[tuple[type[DatabaseError], ...]] = (
    DatabaseUnavailable,
    TransactionConflict,
    LockTimeout,
    StatementCancelled,
    DatabaseDiskFull,
    TooManyConnections,
    DatabaseError,
)

PROBLEMS: Final[tuple[type[DispatchError], ...]] = (
    errors.RequestError,
    api_errors.InvalidRequest,
    api_errors.BadCursor,
    api_errors.EmptyBody,
    errors.DigestMismatch,
    api_errors.ContentCodingDamaged,
    errors.Unauthorized,
    errors.Forbidden,
    errors.TenantDisabled,
    LinkInvalid,
    errors.NotFound,
    api_errors.XmlNotKept,
    api_errors.UpoNotAvailable,
    api_errors.QrNotAvailable,
    api_errors.MethodNotAllowed,
    api_errors.NotAcceptable,
    api_errors.BodyTooSlow,
    errors.Conflict,
    UploadNotFinished,
    WrongOffset,
    NotAwaitingDecision,
    NotUnresolved,
    ReplayConflict,
    api_errors.UnsupportedTusVersion,
    errors.BodyTooLarge,
    errors.UnsupportedContentType,
    api_errors.UnsupportedContentCoding,
    errors.IdempotencyKeyReused,
    errors.InvalidInvoice,
    errors.UnreadableUpload,
    InvalidWebhookUrl,
    InvalidWebhookHeaders,
    UnknownEvent,
    TooManyUnfinished,
    api_errors.ChecksumMismatch,
    api_errors.TenantLimitReached,
    api_errors.ConnectionLimitReached,
    api_errors.TooManyFailedKeys,
    errors.TryLater,
    api_errors.Busy,
    api_errors.SpoolFull,
    api_errors.QueueFull,
    DiskLow,
    api_errors.Stopping,
    api_errors.NotReady,
    *DATABASE_PROBLEMS,
    BlobStoreUnavailable,
    BlobMissing,
    errors.DispatchError,
)
"""Every problem that an answer can have, by status. A test finds error classes that are missing here."""

_HIDDEN: Final = "The service failed. Its log has the details under the request id."

log = get_logger(__name__)


class Problem(BaseModel):
    """The reason why a request failed (RFC 9457). `code` is stable; `title` and `detail` are for people and may change."""

    type: str = Field(examples=["/docs/problems#digest-mismatch"])
    title: str
    status: int
    detail: str
    code: str
    instance: str = Field(description="The path of the request.")
    request_id: str | None = Field(None, description="The id of the request in the log.")
    errors: list[dict[str, Any]] | None = Field(None, description="Single faults, when there are several.")


def declare(*kinds: type[DispatchError]) -> dict[int | str, dict[str, Any]]:
    """Describe for OpenAPI the problems that an endpoint can answer with.

    Problems of the database and internal errors are added, since they are possible everywhere, and those of a key with Unauthorized.
    """
    by_status: dict[int | str, list[type[DispatchError]]] = {}
    with_key = _KEY_PROBLEMS if errors.Unauthorized in kinds else ()
    every: tuple[type[DispatchError], ...] = (*kinds, *with_key, *DATABASE_PROBLEMS, errors.DispatchError)
    for kind in every:
        if kind not in by_status.setdefault(kind.status, []):
            by_status[kind.status].append(kind)
    return {
        status: problem_response(found) for status, found in sorted(by_status.items(), key=lambda item: str(item[0]))
    }


def problem_response(kinds: Sequence[type[DispatchError]]) -> dict[str, Any]:
    """Describe for OpenAPI the answer of one status with these problems; each has an example under its code."""
    lines = [f"`{kind.code}`: {_sentence(kind)}" for kind in kinds]
    response: dict[str, Any] = {
        "description": lines[0] if len(lines) == 1 else "\n".join(f"- {line}" for line in lines),
        "content": {
            MEDIA_TYPE: {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "examples": {kind.code: {"$ref": f"#/components/examples/{kind.code}"} for kind in kinds},
            }
        },
    }
    if any(issubclass(kind, TryLater) for kind in kinds):
        response["headers"] = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}
    return response


def problem_examples() -> dict[str, Any]:
    """Return an example of every problem, by its code."""
    return {
        kind.code: {
            "summary": kind.title,
            "value": {
                "type": f"/docs/problems#{kind.code}",
                "title": kind.title,
                "status": kind.status,
                "detail": _sentence(kind),
                "code": kind.code,
                "instance": "/v1/uploads",
                "request_id": "4f1c0a5be2d94c6e8a7b3d2f1e0c9b8a",
            },
        }
        for kind in PROBLEMS
    }


def gives(description: str, *media_types: str) -> dict[int | str, dict[str, Any]]:
    """Describe for OpenAPI an answer with status 200 that is not JSON."""
    content = {media_type: {"schema": {"type": "string", "format": "binary"}} for media_type in media_types}
    return {200: {"description": description, "content": content}}


def answer_error(request: Request, error: Exception) -> Response:
    """Turn a DispatchError into its problem. An internal error is logged with its detail and answered without it."""
    if not isinstance(error, DispatchError):
        return answer_unexpected(request, error)
    detail = error.detail
    if error.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("request_failed", code=error.code, detail=detail, exc_info=error)
        detail = _HIDDEN
    if _is_put_off(error):
        log.warning("request_put_off", code=error.code, detail=detail, **cause_fields(error))
    return answer_known(request, error, detail)


def answer_known(request: Request, error: DispatchError, detail: str) -> Response:
    """Turn a DispatchError into its problem without a log line."""
    headers: dict[str, str] = {}
    if isinstance(error, TryLater) and _is_put_off(error):
        headers["Retry-After"] = str(error.retry_after_seconds)
        headers |= _limits_reached(error)
    if isinstance(error, api_errors.UnsupportedContentCoding):
        headers["Accept-Encoding"] = error.accepted
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return _problem(request, type(error), detail, errors_=error.errors, headers=headers)


async def refuse_connection(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request on a connection that has no ordinary place, as an ASGI application."""
    request = Request(scope)
    error: TryLater = api_errors.Busy("all connections of this service are taken; try again")
    if scope["ksefd"]["place"] is Place.OVER_ADDRESS_LIMIT:
        error = api_errors.ConnectionLimitReached(
            "this address has as many connections open as it may have; a reverse proxy belongs into KSEFD_TRUSTED_PROXIES"
        )
    await answer_known(request, error, error.detail)(scope, receive, send)


def _limits_reached(error: TryLater) -> dict[str, str]:
    """Return the rate limit headers of a limit that is reached, none for other errors."""
    seconds = error.retry_after_seconds
    if isinstance(error, api_errors.TenantLimitReached):
        reached = [limit_of_tenant(one["limit"], used=one["used"], most=one["most"]) for one in error.errors or ()]
        return limit_headers([replace(limit, used=limit.most) for limit in reached], seconds=seconds) if reached else {}
    if isinstance(error, api_errors.TooManyFailedKeys):
        window = round(FAILURES_AT_ONCE * SECONDS_OF_A_FAILURE)
        limit = RateLimit("failed-keys", FAILURES_AT_ONCE, FAILURES_AT_ONCE, window=window)
        return limit_headers([limit], seconds=seconds)
    return {}


def _is_put_off(error: DispatchError) -> bool:
    put_off = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}
    return isinstance(error, TryLater) and error.status in put_off


def answer_invalid(request: Request, error: Exception) -> Response:
    """Turn pydantic's refusal of a request into a problem; values are left out, since they may be secrets."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class only
    faults = request_faults(error)
    first = f"{faults[0]['where']}: {faults[0]['message']}" if faults else None
    return _problem(request, api_errors.InvalidRequest, first or "the request is not valid", errors_=faults)


def answer_http(request: Request, error: Exception) -> Response:
    """Turn the router's errors (no such path, no such method) into problems."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class only
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.BAD_REQUEST and (fault := undecodable_body(error.__cause__)) is not None:
        return _problem(request, api_errors.InvalidRequest, str(fault["message"]), errors_=[fault])
    kinds: Mapping[int, type[DispatchError]] = {
        404: NotFound,
        405: api_errors.MethodNotAllowed,
        408: api_errors.BodyTooSlow,
        413: errors.BodyTooLarge,
        415: errors.UnsupportedContentType,
    }
    kind = kinds.get(error.status_code, RequestError if error.status_code < 500 else DispatchError)
    details: Mapping[int, str] = {
        404: "there is nothing at this address",
        405: f"{request.method} is not possible at this address",
    }
    return _problem(request, kind, details.get(error.status_code, str(error.detail)), headers=headers)


def answer_unexpected(request: Request, error: Exception) -> Response:
    """Log an unexpected error, and answer with a problem that has no detail of it."""
    log.error("request_crashed", exc_info=error)
    return _problem(request, DispatchError, _HIDDEN)


def _problem(
    request: Request,
    kind: type[DispatchError],
    detail: str,
    *,
    errors_: list[dict[str, Any]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    known: dict[str, Any] = request.scope.setdefault("ksefd", {})
    known["code"] = kind.code
    problem = Problem(
        type=f"/docs/problems#{kind.code}",
        title=kind.title,
        status=kind.status,
        detail=detail,
        code=kind.code,
        instance=request.url.path,
        request_id=known.get("request_id"),
        errors=errors_,
    )
    body = problem.model_dump(exclude_none=True)
    return Response(
        json.dumps(body, ensure_ascii=False).encode("utf-8", "replace"),
        status_code=kind.status,
        media_type=MEDIA_TYPE,
        headers=dict(headers or {}),
    )


def _sentence(kind: type[DispatchError]) -> str:
    return (kind.__doc__ or kind.title).strip().splitlines()[0]


def problems_page(form: Literal["markdown", "html"]) -> str:
    """Return the page that `type` of every problem points to, with an anchor for each code."""
    rows = [(kind.code, str(kind.status), kind.title, _sentence(kind)) for kind in PROBLEMS]
    if form == "html":
        cells = "\n".join(
            f'<tr id="{code}"><td><code>{code}</code></td><td>{status}</td><td>{html.escape(meaning)}</td></tr>'
            for code, status, _, meaning in rows
        )
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Problems</title></head><body>\n'
            f"<h1>Problems</h1>\n<table>\n<tr><th>code</th><th>status</th><th>meaning</th></tr>\n{cells}\n</table>\n"
            "</body></html>\n"
        )
    sections = "\n".join(
        f'<a id="{code}"></a>\n## `{code}`\n\n{title}, HTTP {status}. {meaning}\n'
        for code, status, title, meaning in rows
    )
    return (
        "# Problems\n\n"
        "Every error of the API is answered with problem details (RFC 9457, `application/problem+json`) with a stable `code`.\n"
        "A 503 carries `Retry-After`: the request had no effect, and may succeed after that time.\n"
        "`python -m app.api.http.problems --write` makes this page from the code; a test compares them.\n\n"
        f"{sections}"
    )


def main() -> None:
    """Print the page, or write it to docs/problems.md with `--write`."""
    page = problems_page("markdown")
    if "--write" in sys.argv[1:]:
        Path("docs/problems.md").write_text(page, encoding="utf-8")
    else:
        sys.stdout.write(page)


if __name__ == "__main__":
    main()
