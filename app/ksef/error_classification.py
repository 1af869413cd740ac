"""Classification of KSeF's answers and of missing answers as errors, and hints read from their texts."""

import re
from typing import TypeVar

import httpx

from app.ksef.answers import Answer, ErrorBody, read_error_body
from app.ksef.errors import (
    ContinuationRefused,
    DeadlineExceeded,
    FrontLayerBlocked,
    InvoiceNotAvailable,
    KeyUnknown,
    KsefError,
    OperationExpired,
    Outcome,
    PartMismatch,
    PartMissing,
    PermissionMissing,
    RateLimited,
    RequestRefused,
    ServerFailed,
    SessionNotFound,
    SessionUnavailable,
    StateForbids,
    TransportFailed,
    Unauthenticated,
    Unreadable,
    UpoNotFound,
)

_Kind = TypeVar("_Kind", bound=KsefError)

DEFAULT_RETRY_AFTER_SECONDS = 60
"""The wait after a 429 that names none: the longest of the short windows."""

_BY_CODE: dict[int, type[KsefError]] = {
    21157: PartMismatch,
    21164: InvoiceNotAvailable,
    21165: InvoiceNotAvailable,
    21173: SessionNotFound,
    21178: UpoNotFound,
    21180: StateForbids,
    21184: SessionUnavailable,
    21205: PartMissing,
    21208: DeadlineExceeded,
    21418: ContinuationRefused,
    21470: KeyUnknown,
}
_REFUSALS_WITHOUT_A_BODY = frozenset({405, 406, 410, 411, 413, 414, 415, 431})
"""Statuses that a server decides by the request line and headers, before the operation can have begun."""

_NEVER_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)


def classify(answer: Answer) -> KsefError:
    """Classify an answer of the API that is not a success. Total: an unexpected answer gets an error with UNKNOWN.

    Call it also for a 2xx whose body is a web page or cannot be read.
    """
    body = read_error_body(answer.body)
    kind = _error_class(answer, body)
    retry_after = answer.retry_after_seconds
    if kind is RateLimited:
        # Header and text have differed by a second; the longer wait is safe.
        waits = [wait for wait in (retry_after, body.wait_seconds) if wait is not None]
        retry_after = max(waits, default=DEFAULT_RETRY_AFTER_SECONDS)
    return make_error(kind, _sentence(kind, answer, body), answer, body=body, retry_after_seconds=retry_after)


def make_error(
    kind: type[_Kind],
    detail: str,
    answer: Answer,
    *,
    body: ErrorBody | None = None,
    retry_after_seconds: int | None = None,
) -> _Kind:
    """Create an error of a class with the origin and content of the answer."""
    return kind(
        detail,
        operation=answer.operation,
        http_status=answer.status,
        body=body,
        retry_after_seconds=retry_after_seconds,
        azure_ref=answer.headers.get("x-azure-ref"),
    )


def _error_class(  # noqa: PLR0911 - a table of cases, read from the top
    answer: Answer, body: ErrorBody
) -> type[KsefError]:
    status = answer.status
    if status == 429:
        return RateLimited
    if status >= 500:
        return ServerFailed
    if status == 403:
        if body.reason_code is None or body.reason_code == "security-service-blocked":
            return FrontLayerBlocked
        return PermissionMissing
    if answer.is_html or status < 400:
        return Unreadable
    if status == 401:
        return Unauthenticated
    if status == 410:
        return OperationExpired
    for code in body.codes:
        if code in _BY_CODE:
            return _BY_CODE[code]
    # A 4xx without a body in KSeF's formats comes from a layer in front of KSeF and proves nothing.
    if body.recognised or status in _REFUSALS_WITHOUT_A_BODY:
        return RequestRefused
    return Unreadable


def _sentence(kind: type[KsefError], answer: Answer, body: ErrorBody) -> str:
    said = "; ".join((*body.descriptions, *body.details)) or ("a web page" if answer.is_html else "no reason given")
    codes = "".join(f" {code}" for code in body.codes)
    reason = f" {body.reason_code}" if body.reason_code else ""
    return f"{kind.__name__} at {answer.operation}: HTTP {answer.status}{codes}{reason}: {said}"


def classify_transport(error: Exception, operation: str) -> TransportFailed:
    """Classify a call without an answer: only a failure before the connection was open proves that it was not done."""
    never_sent = isinstance(error, _NEVER_SENT)
    what = "could not be sent" if never_sent else "was not answered"
    return TransportFailed(
        f"{operation} {what} ({type(error).__name__})",
        outcome=Outcome.TRY_AGAIN if never_sent else Outcome.UNKNOWN,
        operation=operation,
    )


def unreadable(answer: Answer, why: str) -> Unreadable:
    """Create the error for a success whose body is not as promised. `why` must not quote the body."""
    return make_error(Unreadable, f"{answer.operation}: HTTP {answer.status} cannot be read: {why}", answer)


def part_numbers_hint(error: KsefError) -> tuple[int, ...]:
    """Return the ordinal numbers of parts in the text of a 21205 or 21157; empty means that all parts must be checked."""
    pattern = re.compile(r"cz[eę][sś]ci\s+'?(\d{1,2})\b|'(\d{1,2})'\s+cz[eę][sś]ci|part\s+'?(\d{1,2})\b", re.IGNORECASE)
    found = {int(next(filter(None, m.groups()))) for text in error.details for m in pattern.finditer(text)}
    return tuple(sorted(found))
