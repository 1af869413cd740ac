"""Errors of KSeF calls. `app.ksef.error_classification` maps answers to these classes.

Callers mostly need `outcome`: the operation was certainly refused, certainly not done, or the result is unknown. An unknown
result is resolved by polling the session's status, never by a guess. No outcome means success.
"""

from enum import StrEnum
from math import ceil
from typing import Any, ClassVar

from app.errors import ConfigurationError, DispatchError
from app.ksef.answers import ErrorBody


class Outcome(StrEnum):
    """Outcome of the requested operation, as far as the error proves it."""

    REFUSED = "refused"
    """KSeF read the request and refused it. It will refuse the same request again."""
    TRY_AGAIN = "try_again"
    """Certainly not done: the request did not arrive, or was turned away before KSeF read it."""
    UNKNOWN = "unknown"
    """No answer, or an answer that proves nothing. The operation may be done: check its result before the next step."""
    BLOCKED = "blocked"
    """A firewall turned the request away. Further requests make it worse: pause for a long time and alert the operator."""


class KsefError(DispatchError):
    """KSeF did not carry out an operation, or did not confirm it."""

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
        """Create the error. The content of `body`, if the answer had one, is copied to the fields that callers use."""
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
        """Return the fields for a history row or a log line: no tokens, links or invoice content."""
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
    """KSeF refused the request for a reason without a class of its own."""


class KeyUnknown(RequestRefused):
    """The public key is unknown to KSeF or expired: fetch the keys and wrap the AES key again (21470)."""


class SessionNotFound(RequestRefused):
    """KSeF finds no session with this reference number (21173). Seconds after opening this may be temporary."""


class PartMissing(RequestRefused):
    """A declared part has not arrived (21205): upload it again, wait a little, close again."""


class PartMismatch(RequestRefused):
    """The size of a part is not allowed, or not the declared one (21157)."""


class StateForbids(RequestRefused):
    """The session's state does not allow the operation (21180): it is closed or cancelled. Poll its status."""


class DeadlineExceeded(RequestRefused):
    """The time for uploading or closing is over and the session is cancelled (21208)."""


class ContinuationRefused(RequestRefused):
    """KSeF refuses the continuation token (21418): start the list again."""


class UpoNotFound(RequestRefused):
    """KSeF has no receipt for this invoice in this session (21178)."""


class InvoiceNotAvailable(RequestRefused):
    """KSeF does not find the invoice (21164), or cannot give it yet (21165). Both pass for an invoice that was just accepted."""


class PermissionMissing(RequestRefused):
    """The login lacks a permission (403 with a reason): a person must grant it or change the login."""

    code: ClassVar[str] = "ksef-permission-missing"
    title: ClassVar[str] = "KSeF permission missing"


class OperationExpired(RequestRefused):
    """KSeF no longer keeps this operation (410)."""


class SessionUnavailable(KsefError):
    """The session is temporarily unavailable (21184)."""

    default_outcome = Outcome.TRY_AGAIN


class RateLimited(KsefError):
    """Too many requests (429): wait `retry_after_seconds`, which is always set."""

    default_outcome = Outcome.TRY_AGAIN


class QuotaExhausted(KsefError):
    """Our own request quota is used up, so the request was not sent: try again after `wait_seconds`."""

    default_outcome = Outcome.TRY_AGAIN

    def __init__(self, detail: str | None = None, *, wait_seconds: float, operation: str | None = None) -> None:
        super().__init__(detail, operation=operation, retry_after_seconds=ceil(wait_seconds))
        self.wait_seconds = wait_seconds


class Unauthenticated(KsefError):
    """The token was not accepted (401)."""

    default_outcome = Outcome.TRY_AGAIN


class AuthFailed(KsefError):
    """KSeF refused the login; `auth_status` is the status code of the login (415, 450, 460 ...)."""

    code: ClassVar[str] = "ksef-login"
    title: ClassVar[str] = "KSeF login failed"

    def __init__(self, detail: str | None = None, *, auth_status: int | None = None, **known: Any) -> None:
        super().__init__(detail, **known)
        self.auth_status = auth_status


class TransportFailed(KsefError):
    """The connection failed or gave no answer; `outcome` shows whether the request may have arrived."""

    default_outcome = Outcome.UNKNOWN


class ServerFailed(KsefError):
    """KSeF or a layer in front of it failed (5xx). The request may have been carried out."""

    default_outcome = Outcome.UNKNOWN


class Unreadable(KsefError):
    """The answer breaks the contract: a web page, a broken body, a missing field."""

    default_outcome = Outcome.UNKNOWN


class FrontLayerBlocked(KsefError):
    """The firewall in front of KSeF refuses our address or traffic. The ministry's form asks for `incident_id`."""

    default_outcome = Outcome.BLOCKED


class LinkRefused(KsefError):
    """The storage refused the pre-signed link (401, 403, 404): it has expired or was changed on the way."""


class PartNotStored(KsefError):
    """The storage answered with another status than 201, so the part may not be stored: send it again."""

    default_outcome = Outcome.UNKNOWN


class PartBodyWrong(KsefError):
    """Our own copy of a part does not have the declared size: it must be built again."""

    default_outcome = Outcome.TRY_AGAIN


class CertificateUnusable(ConfigurationError):
    """The certificate or key cannot be read, they do not fit together, or KSeF does not accept their kind."""

    code = "certificate-unusable"
    title = "Certificate unusable"
