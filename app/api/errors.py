"""Errors that only the HTTP API raises, beside those of `app.errors`."""

from app.errors import NotFound, RequestError, TryLater


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
