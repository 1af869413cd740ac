"""Errors that only the HTTP API raises, in addition to those of `app.errors`."""

from app.errors import NotFound, RequestError, TryLater, UnsupportedContentType


class InvalidRequest(RequestError):
    """A parameter or the body does not have the form that the endpoint takes; `errors` names each one."""

    code = "invalid-request"
    title = "Invalid request"


class BadCursor(RequestError):
    """The cursor was not made by this list."""

    code = "bad-cursor"
    title = "Bad cursor"


class EmptyBody(RequestError):
    """The request has no body, or an empty one."""

    code = "empty-body"
    title = "Empty body"


class MethodNotAllowed(RequestError):
    """The address exists, but not for this method."""

    status = 405
    code = "method-not-allowed"
    title = "Method not allowed"


class NotAcceptable(RequestError):
    """The endpoint can make none of the media types in the Accept header."""

    status = 406
    code = "not-acceptable"
    title = "Not acceptable"


class BodyTooSlow(RequestError):
    """The body arrived too slowly or not to its end; the bytes that had arrived were dropped."""

    status = 408
    code = "body-too-slow"
    title = "Body too slow"


class UnsupportedTusVersion(RequestError):
    """The header `Tus-Resumable: 1.0.0` is missing, or names another version of tus."""

    status = 412
    code = "unsupported-tus-version"
    title = "Unsupported tus version"


class ChecksumMismatch(RequestError):
    """The bytes of the request do not have the Upload-Checksum that it declares; none of them were kept."""

    status = 460
    code = "checksum-mismatch"
    title = "Checksum mismatch"


class UnsupportedContentCoding(UnsupportedContentType):
    """The Content-Encoding is not supported for this body; the answer's Accept-Encoding names the one that is."""

    code = "unsupported-content-coding"
    title = "Unsupported content coding"
    accepted: str

    def __init__(self, detail: str, *, accepted: str = "gzip") -> None:
        """Set the detail; `accepted` goes into the answer's Accept-Encoding (RFC 9110, section 15.5.16)."""
        super().__init__(detail)
        self.accepted = accepted


class ContentCodingDamaged(RequestError):
    """The body cannot be inflated, although its Content-Encoding says that it is gzip."""

    code = "content-coding-damaged"
    title = "Content coding damaged"


class XmlNotKept(NotFound):
    """The invoice exists, but its bytes are not stored (any more)."""

    code = "xml-not-kept"
    title = "XML not kept"


class UpoNotAvailable(NotFound):
    """There is no UPO yet: KSeF has not accepted the invoice or the session, or its UPO has not been fetched yet."""

    code = "upo-not-available"
    title = "UPO not available"


class QrNotAvailable(NotFound):
    """The invoice cannot have a QR code: its seller or issue date could not be read."""

    code = "qr-not-available"
    title = "QR code not available"


class TenantLimitReached(TryLater):
    """A limit of the tenant on waiting work is reached; `errors` names the limit, its used part and its value."""

    status = 429
    retry_after_seconds = 2
    code = "tenant-limit"
    title = "Tenant limit reached"


class ConnectionLimitReached(TryLater):
    """The client's address has too many connections open; close some, or use fewer at a time."""

    status = 429
    code = "connection-limit"
    title = "Connection limit reached"


class TooManyFailedKeys(TryLater):
    """This address has sent too many wrong API keys; a valid key is accepted from it all the same."""

    status = 429
    code = "too-many-failed-keys"
    title = "Too many failed keys"


class QueueFull(TryLater):
    """Too many invoices of this installation wait for KSeF; it accepts more when some have been sent."""

    code = "queue-full"
    title = "Queue full"
    retry_after_seconds = 60


class SpoolFull(TryLater):
    """Too many bytes of uploads wait to be read; the service accepts more when some have been read."""

    code = "spool-full"
    title = "Spool full"
    retry_after_seconds = 30


class Busy(TryLater):
    """Too many requests of this kind are being served; this one had no effect."""

    code = "busy"
    title = "Busy"
    retry_after_seconds = 2


class Stopping(TryLater):
    """This process is stopping and takes no more bytes; send the request again, to the one that follows it."""

    code = "stopping"
    title = "Stopping"


class NotReady(TryLater):
    """A component that the service needs does not work; `errors` names it."""

    code = "not-ready"
    title = "Not ready"
