"""What can go wrong between us and KSeF. `app.ksef.error_classification` says which of these an answer is.

A caller mostly needs `outcome`: was the thing certainly not done, certainly refused, or do we not know.
Not knowing is asked about (the session's status), never guessed, and no outcome means that all is well.
"""

from enum import StrEnum
from math import ceil
from typing import Any, ClassVar

from app.errors import ConfigurationError, DispatchError
from app.ksef.answers import ErrorBody


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
