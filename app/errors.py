"""Tree of the service's errors. Each class defines the HTTP status, the code and the title that a client gets.

Only `app.api.http.problems` converts them to RFC 9457 problem details.
"""

from typing import Any, ClassVar, Final

_CAUSE_CHARACTERS: Final = 500


class DispatchError(Exception):
    """An unexpected error of ksef-dispatch."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"

    def __init__(self, detail: str | None = None, *, errors: list[dict[str, Any]] | None = None) -> None:
        """Create the error. `detail` is shown to the client for errors below 500; `errors` lists single faults."""
        self.detail = detail or (self.__doc__ or self.title).splitlines()[0]
        self.errors = errors
        super().__init__(self.detail)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the error with its detail and errors, so that a pool process can return it."""
        return (_rebuild, (type(self), self.detail, self.errors, self.__dict__))


def _rebuild(
    kind: type[DispatchError], detail: str, errors: list[dict[str, Any]] | None, state: dict[str, Any]
) -> DispatchError:
    error = kind.__new__(kind)
    DispatchError.__init__(error, detail, errors=errors)
    error.__dict__.update(state)
    return error


def cause_fields(error: BaseException) -> dict[str, str]:
    """Return the fields of a log line that name the cause of an error: its type, its SQLSTATE and its text.

    Of a PostgreSQL error the text is the primary message only: the detail and the context can quote an invoice's values.
    """
    cause = error.__cause__
    if cause is None:
        return {}
    sqlstate = getattr(cause, "sqlstate", None)
    if sqlstate is None:
        return {"cause": type(cause).__name__, "cause_text": str(cause)[:_CAUSE_CHARACTERS]}
    primary = getattr(getattr(cause, "diag", None), "message_primary", None) or ""
    return {"cause": type(cause).__name__, "sqlstate": sqlstate, "cause_text": primary[:_CAUSE_CHARACTERS]}


class ConfigurationError(DispatchError):
    """A setting is missing or wrong; the service does not start."""

    code = "configuration"
    title = "Wrong configuration"


class RequestError(DispatchError):
    """The request is wrong; sending it again unchanged gives the same error."""

    status = 400
    code = "bad-request"
    title = "Bad request"


class Unauthorized(RequestError):
    """The API key is missing, unknown or revoked."""

    status = 401
    code = "unauthorized"
    title = "Unauthorized"


class Forbidden(RequestError):
    """The API key is valid but lacks the permission."""

    status = 403
    code = "forbidden"
    title = "Forbidden"


class TenantDisabled(Forbidden):
    """The tenant of the API key is disabled; the operator enables it with `ksefd tenant enable`."""

    code = "tenant-disabled"
    title = "Tenant disabled"


class NotFound(RequestError):
    """The tenant has no object with this id."""

    status = 404
    code = "not-found"
    title = "Not found"


class Conflict(RequestError):
    """The request does not fit the current state of the object."""

    status = 409
    code = "conflict"
    title = "Conflict"


class BodyTooLarge(RequestError):
    """The body is larger than this installation allows."""

    status = 413
    code = "body-too-large"
    title = "Body too large"


class UnsupportedContentType(RequestError):
    """The content type is not supported."""

    status = 415
    code = "unsupported-content-type"
    title = "Unsupported content type"


class DigestMismatch(RequestError):
    """The body does not have the digest that its header declares."""

    code = "digest-mismatch"
    title = "Digest mismatch"


class IdempotencyKeyReused(RequestError):
    """The Idempotency-Key was used before with another body or other parameters."""

    status = 422
    code = "idempotency-key-reused"
    title = "Idempotency key reused"


class InvalidInvoice(RequestError):
    """The invoice breaks at least one rule; `errors` lists every finding."""

    status = 422
    code = "invalid-invoice"
    title = "Invalid invoice"


class UnreadableUpload(RequestError):
    """The upload cannot be read to its end; `errors` has the place of the fault.

    It is raised while a stored body is read, after the 202, so it is stored in the upload's `errors` and is no HTTP answer.
    """

    status = 422
    code = "unreadable-upload"
    title = "Unreadable upload"


class TryLater(DispatchError):
    """The service is at a limit or a dependency does not answer; the same request may succeed later."""

    status = 503
    code = "try-later"
    title = "Try again later"
    retry_after_seconds: int = 5
