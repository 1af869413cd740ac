"""What can go wrong between us and KSeF, and the one function that judges an answer.

A caller mostly needs `outcome`: was the thing certainly not done, certainly refused, or do we not know.
Not knowing is asked about (the session's status), never guessed, and no outcome means that all is well.
"""

import re
from enum import StrEnum
from math import ceil
from typing import Any, ClassVar

import httpx

from app.errors import ConfigurationError, DispatchError
from app.ksef.answers import Answer, ErrorBody, read_error_body


class Outcome(StrEnum):
    """What an error says about the thing that was asked for."""

    REFUSED = "refused"
    """KSeF understood and said no. The same request will be refused again."""
    TRY_AGAIN = "try_again"
    """Certainly not done: it never arrived, or was turned away before anybody looked at it."""
    UNKNOWN = "unknown"
    """No answer, or none that can be trusted. It may have been done: ask before doing anything else."""
    BLOCKED = "blocked"
    """A firewall turned us away. Trying on makes it worse: stop for a long time and tell the operator."""


class KsefError(DispatchError):
    """KSeF did not do what it was asked to do, or did not say so."""

    status: ClassVar[int] = 502
    code: ClassVar[str] = "ksef"
    title: ClassVar[str] = "KSeF did not do it"
    default_outcome: ClassVar[Outcome] = Outcome.REFUSED

    def __init__(
        self,
        detail: str | None = None,
        *,
        outcome: Outcome | None = None,
        operation: str | None = None,
        http_status: int | None = None,
        body: ErrorBody | None = None,
        retry_after_seconds: int | None = None,
        azure_ref: str | None = None,
    ) -> None:
        """`body` is what could be read of the answer; it is spread over the fields that callers use."""
        super().__init__(detail)
        body = body or ErrorBody()
        self.outcome = outcome or self.default_outcome
        self.operation = operation
        self.http_status = http_status
        self.codes = body.codes
        self.descriptions = body.descriptions
        self.details = body.details
        self.reason_code = body.reason_code
        self.trace_id = body.trace_id
        self.incident_id = body.incident_id
        self.permissions = body.permissions
        self.retry_after_seconds = retry_after_seconds
        self.azure_ref = azure_ref

    def as_dict(self) -> dict[str, Any]:
        """What to write into a history row or a log line: no tokens, links or invoice content."""
        shape = {
            "error": type(self).__name__,
            "outcome": self.outcome.value,
            "detail": self.detail,
            "operation": self.operation,
            "http_status": self.http_status,
            "codes": list(self.codes),
            "details": list(self.details),
            "reason_code": self.reason_code,
            "trace_id": self.trace_id,
            "incident_id": self.incident_id,
            "azure_ref": self.azure_ref,
            "retry_after_seconds": self.retry_after_seconds,
        }
        return {name: value for name, value in shape.items() if value not in (None, [])}


class RequestRefused(KsefError):
    """KSeF refused the request for a reason that has no class of its own."""


class KeyUnknown(RequestRefused):
    """The public key is not, or no longer, one of KSeF's: fetch the keys and wrap the AES key again (21470)."""


class SessionNotFound(RequestRefused):
    """There is no session with this reference number (21173). Seconds after opening it may be a passing fault."""


class PartMissing(RequestRefused):
    """A declared part has not arrived (21205): upload it again, wait a little, close again."""


class PartMismatch(RequestRefused):
    """The size of a part is not allowed, or not the declared one (21157)."""


class StateForbids(RequestRefused):
    """The state of the session does not allow this (21180): it is closed already, or dead. Read its status."""


class DeadlineExceeded(RequestRefused):
    """The time for uploading or closing is over and the session is cancelled (21208)."""


class ContinuationRefused(RequestRefused):
    """The continuation token is not taken (21418): start the list again."""


class PermissionMissing(RequestRefused):
    """The login may not do this (403 with a reason): a person has to grant something or change the login."""

    code: ClassVar[str] = "ksef-permission-missing"
    title: ClassVar[str] = "KSeF permission missing"


class OperationExpired(RequestRefused):
    """KSeF no longer keeps this operation (410)."""


class SessionUnavailable(KsefError):
    """The session cannot be worked with for the moment (21184)."""

    default_outcome = Outcome.TRY_AGAIN


class RateLimited(KsefError):
    """Too many requests (429): wait `retry_after_seconds`, which is always set."""

    default_outcome = Outcome.TRY_AGAIN


class QuotaExhausted(KsefError):
    """Our own count forbids the request for now, so it was not sent: ask again after `wait_seconds`."""

    default_outcome = Outcome.TRY_AGAIN

    def __init__(self, detail: str | None = None, *, wait_seconds: float, operation: str | None = None) -> None:
        super().__init__(detail, operation=operation, retry_after_seconds=ceil(wait_seconds))
        self.wait_seconds = wait_seconds


class Unauthenticated(KsefError):
    """The token was not accepted (401)."""

    default_outcome = Outcome.TRY_AGAIN


class AuthFailed(KsefError):
    """KSeF did not let us in; `auth_status` is the status code of the login (415, 450, 460 ...)."""

    code: ClassVar[str] = "ksef-login"
    title: ClassVar[str] = "KSeF login failed"

    def __init__(self, detail: str | None = None, *, auth_status: int | None = None, **known: Any) -> None:
        super().__init__(detail, **known)
        self.auth_status = auth_status


class TransportFailed(KsefError):
    """The connection failed or stayed silent; `outcome` tells whether the request can have arrived."""

    default_outcome = Outcome.UNKNOWN


class ServerFailed(KsefError):
    """KSeF or a layer in front of it failed (5xx). The request may have been carried out."""

    default_outcome = Outcome.UNKNOWN


class Unreadable(KsefError):
    """The answer is not what the contract promises: a web page, a broken body, a missing field."""

    default_outcome = Outcome.UNKNOWN


class FrontLayerBlocked(KsefError):
    """The firewall in front of KSeF refuses our address or traffic. Keep `incident_id` for the ministry's form."""

    default_outcome = Outcome.BLOCKED


class LinkRefused(KsefError):
    """The storage did not take the pre-signed link (401, 403, 404): it has expired or was changed on the way."""


class PartNotStored(KsefError):
    """The storage answered something other than 201, so nothing can be assumed to be stored: send the part again."""

    default_outcome = Outcome.UNKNOWN


class PartBodyWrong(KsefError):
    """Our own copy of a part does not have the size that was declared: it must be built again."""

    default_outcome = Outcome.TRY_AGAIN


class CertificateUnusable(ConfigurationError):
    """The certificate or key cannot be read, does not belong together, or is of a kind KSeF does not take."""

    code = "certificate-unusable"
    title = "Certificate unusable"


DEFAULT_RETRY_AFTER_SECONDS = 60
"""For a 429 that does not say how long: the longest of the short windows."""

_BY_CODE: dict[int, type[KsefError]] = {
    21157: PartMismatch,
    21173: SessionNotFound,
    21180: StateForbids,
    21184: SessionUnavailable,
    21205: PartMissing,
    21208: DeadlineExceeded,
    21418: ContinuationRefused,
    21470: KeyUnknown,
}
_REFUSALS_WITHOUT_A_BODY = frozenset({405, 406, 410, 411, 413, 414, 415, 431})
"""Statuses that a server decides from the request line and headers, before the operation can have begun."""

_NEVER_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)


def classify(answer: Answer) -> KsefError:
    """Judge an answer of the API that is not a success. Total: every answer gets an error, the unexpected ones UNKNOWN.

    Call it also for a 2xx whose body is a web page or cannot be read.
    """
    body = read_error_body(answer.body)
    kind = _judge(answer, body)
    retry_after = answer.retry_after_seconds
    if kind is RateLimited:
        # Header and text have been seen to differ by a second; the longer wait is the safe one.
        waits = [wait for wait in (retry_after, body.wait_seconds) if wait is not None]
        retry_after = max(waits, default=DEFAULT_RETRY_AFTER_SECONDS)
    return kind(
        _sentence(kind, answer, body),
        operation=answer.operation,
        http_status=answer.status,
        body=body,
        retry_after_seconds=retry_after,
        azure_ref=answer.headers.get("x-azure-ref"),
    )


def _judge(  # noqa: PLR0911 - a table of cases, read from the top
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
    # A 4xx whose body nobody in KSeF would write comes from a layer in front of it, and proves nothing.
    if body.recognised or status in _REFUSALS_WITHOUT_A_BODY:
        return RequestRefused
    return Unreadable


def _sentence(kind: type[KsefError], answer: Answer, body: ErrorBody) -> str:
    said = "; ".join((*body.descriptions, *body.details)) or ("a web page" if answer.is_html else "no reason given")
    codes = "".join(f" {code}" for code in body.codes)
    reason = f" {body.reason_code}" if body.reason_code else ""
    return f"{kind.__name__} at {answer.operation}: HTTP {answer.status}{codes}{reason}: {said}"


def classify_transport(error: Exception, operation: str) -> TransportFailed:
    """Judge a call that ended without an answer: only what failed before a connection stood is certainly not done."""
    never_sent = isinstance(error, _NEVER_SENT)
    what = "could not be sent" if never_sent else "was not answered"
    return TransportFailed(
        f"{operation} {what} ({type(error).__name__})",
        outcome=Outcome.TRY_AGAIN if never_sent else Outcome.UNKNOWN,
        operation=operation,
    )


def unreadable(answer: Answer, why: str) -> Unreadable:
    """The error for a success that does not carry what it should. `why` must not quote the body."""
    return Unreadable(
        f"{answer.operation}: HTTP {answer.status} cannot be read: {why}",
        operation=answer.operation,
        http_status=answer.status,
        azure_ref=answer.headers.get("x-azure-ref"),
    )


def session_status_hint(error: KsefError) -> int | None:
    """The session status that the text of a 21180 mentions. A hint for logs; the status call decides."""
    for text in error.details:
        match = re.search(r"Status sesji \(?(\d{3})\)?", text)
        if match:
            return int(match[1])
    return None


def part_numbers_hint(error: KsefError) -> tuple[int, ...]:
    """The ordinal numbers of parts that the text of a 21205 or 21157 mentions; empty means: check all of them."""
    pattern = re.compile(r"cz[eę][sś]ci\s+'?(\d{1,2})\b|'(\d{1,2})'\s+cz[eę][sś]ci|part\s+'?(\d{1,2})\b", re.IGNORECASE)
    found = {int(next(filter(None, m.groups()))) for text in error.details for m in pattern.finditer(text)}
    return tuple(sorted(found))
