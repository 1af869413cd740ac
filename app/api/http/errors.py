"""Errors that only the HTTP API raises, beside those of `app.errors`."""

from app.errors import NotFound, RequestError, TryLater, UnsupportedContentType


class InvalidRequest(RequestError):
    """A parameter or the body does not have the form that the endpoint takes; `errors` names each one."""

    code = "invalid-request"
    title = "Invalid request"


class BadCursor(RequestError):
    """The cursor is not one that this list gave."""

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
    """None of the forms that the Accept header names can be made."""

    status = 406
    code = "not-acceptable"
    title = "Not acceptable"


class BodyTooSlow(RequestError):
    """The body stopped arriving; what had come was dropped."""

    status = 408
    code = "body-too-slow"
    title = "Body too slow"


class UnsupportedTusVersion(RequestError):
    """Resumable uploads speak tus 1.0.0, and each request says so: `Tus-Resumable: 1.0.0`."""

    status = 412
    code = "unsupported-tus-version"
    title = "Unsupported tus version"


class ChecksumMismatch(RequestError):
    """The bytes of the request do not have the Upload-Checksum that it declares; none of them was kept."""

    status = 460
    code = "checksum-mismatch"
    title = "Checksum mismatch"


class UnsupportedContentCoding(UnsupportedContentType):
    """The Content-Encoding is not taken for this body; the answer's Accept-Encoding says which is."""

    code = "unsupported-content-coding"
    title = "Unsupported content coding"
    accepted: str

    def __init__(self, detail: str, *, accepted: str = "gzip") -> None:
        """`accepted` goes into the answer's Accept-Encoding (RFC 9110, section 15.5.16)."""
        super().__init__(detail)
        self.accepted = accepted


class ContentCodingDamaged(RequestError):
    """The body cannot be inflated, although its Content-Encoding says that it is gzip."""

    code = "content-coding-damaged"
    title = "Content coding damaged"


class XmlNotKept(NotFound):
    """The invoice is known, but its bytes are not kept (any more)."""

    code = "xml-not-kept"
    title = "XML not kept"


class UpoNotAvailable(NotFound):
    """There is no UPO yet: KSeF has not accepted the invoice or the session, or its receipt is still on the way."""

    code = "upo-not-available"
    title = "UPO not available"


class QrNotAvailable(NotFound):
    """The invoice cannot have a QR code: its seller or issue date could not be read."""

    code = "qr-not-available"
    title = "QR code not available"


class TenantLimitReached(TryLater):
    """The tenant has as much waiting as its share allows; `errors` names the limit, how much is used and the most."""

    status = 429
    retry_after_seconds = 2
    code = "tenant-limit"
    title = "Tenant limit reached"


class QueueFull(TryLater):
    """Too many invoices wait for KSeF on this installation; more are taken when some have been sent."""

    code = "queue-full"
    title = "Queue full"
    retry_after_seconds = 60


class SpoolFull(TryLater):
    """Too many bytes of uploads wait to be read; more are taken when some have been."""

    code = "spool-full"
    title = "Spool full"
    retry_after_seconds = 30


class Busy(TryLater):
    """Too many requests of this kind are being served; nothing of this one was taken."""

    code = "busy"
    title = "Busy"
    retry_after_seconds = 2


class NotReady(TryLater):
    """A part that the service needs does not work; `errors` names it."""

    code = "not-ready"
    title = "Not ready"
