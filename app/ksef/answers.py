"""HTTP answers before their classification, and the reader of error bodies.

KSeF has two formats of errors (its older `exception` tree and RFC 9457 problem details), and the layers in front of it add
HTML pages and JSON of their own. `read_error_body` reads all of them and never raises.
Source: KSeF API 2.9, schemas ExceptionResponse, BadRequestProblemDetails, ForbiddenProblemDetails,
TooManyRequestsResponse; ksef-docs, README.md on X-Error-Format.
"""

import email.utils
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

_TEXT_LIMIT = 500
"""Characters kept of one message. Validators' messages can be long, and errors are stored in logs and rows."""

_WARNING = re.compile(r"\[(?P<code>[^\]]+)\]: (?P<message>[^|]+)")
_SECONDS_IN_TEXT = re.compile(r"(\d{1,6})\s*(?:sekund|second|s\b)", re.IGNORECASE)
_HTML_START = (b"<!doctype html", b"<html", b"<head", b"<script", b"<meta", b"<body", b"<iframe")
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class SystemWarning:
    """A warning of KSeF about an accepted request: it announces a future refusal."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer with its body (bounded in size), header names in lower case."""

    operation: str
    """Method and path template, for messages. A full URL is not used, because it may be a credential."""
    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    truncated: bool = False

    @property
    def media_type(self) -> str:
        """The content type without parameters, in lower case; empty when there is none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def is_html(self) -> bool:
        """Whether the body is a web page. KSeF does not answer with web pages; a firewall in front of it does."""
        return looks_like_html(self.media_type, self.body)

    @property
    def warnings(self) -> tuple[SystemWarning, ...]:
        """The items of `X-System-Warning`; text without the documented format has an empty code."""
        text = self.headers.get("x-system-warning", "").strip()
        if not text:
            return ()
        found = tuple(SystemWarning(m["code"].strip(), m["message"].strip()) for m in _WARNING.finditer(text))
        return found or (SystemWarning("", text[:_TEXT_LIMIT]),)

    @property
    def retry_after_seconds(self) -> int | None:
        """`Retry-After` in whole seconds, rounded up; a date is measured against the answer's own `Date`."""
        text = self.headers.get("retry-after", "").strip()
        if not text:
            return None
        if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text):
            return int(float(text)) + (1 if not float(text).is_integer() else 0)
        until, sent = _http_date(text), _http_date(self.headers.get("date", ""))
        return None if until is None or sent is None else max(0, int(until - sent))


def looks_like_html(media_type: str, start: bytes) -> bool:
    """Return whether a body is a web page, by its media type or, since that may be wrong, by its first bytes."""
    if media_type in {"text/html", "application/xhtml+xml"}:
        return True
    head = start[:1024].removeprefix(_BOM).lstrip().lower()
    return head.startswith(_HTML_START) or b"_incapsula_resource" in head


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """Content of an error body. `recognised` is false when the body has neither of KSeF's formats."""

    recognised: bool = False
    codes: tuple[int, ...] = ()
    descriptions: tuple[str, ...] = ()
    details: tuple[str, ...] = ()
    reason_code: str | None = None
    trace_id: str | None = None
    incident_id: str | None = None
    permissions: tuple[str, ...] = ()
    """For missing-permissions: the permissions of which one is enough."""

    @property
    def wait_seconds(self) -> int | None:
        """The longest wait in seconds that the texts of a 429 name."""
        found = [int(m[1]) for text in (*self.descriptions, *self.details) for m in _SECONDS_IN_TEXT.finditer(text)]
        return max(found, default=None)


def read_error_body(body: bytes) -> ErrorBody:
    """Read an error body of either format, or of none. Never raises."""
    try:
        document = json.loads(body.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return ErrorBody()
    if not isinstance(document, dict):
        return ErrorBody()
    exception = document.get("exception")
    if isinstance(exception, dict):
        return _older_format(exception)
    status = document.get("status")
    if isinstance(status, dict):
        return ErrorBody(
            recognised=True,
            codes=tuple(_numbers([status.get("code")])),
            descriptions=tuple(_texts([status.get("description")])),
            details=tuple(_texts(status.get("details"))),
        )
    return _problem(document)


def _older_format(exception: dict[str, Any]) -> ErrorBody:
    items = _objects(exception.get("exceptionDetailList"))
    return ErrorBody(
        recognised=bool(items) or "serviceCode" in exception,
        codes=tuple(_numbers(item.get("exceptionCode") for item in items)),
        descriptions=tuple(_texts(item.get("exceptionDescription") for item in items)),
        details=tuple(text for item in items for text in _texts(item.get("details"))),
        trace_id=_text(exception.get("serviceCode")),
    )


def _problem(document: dict[str, Any]) -> ErrorBody:
    errors = _objects(document.get("errors"))
    security = document.get("security")
    security = security if isinstance(security, dict) else {}
    reason = _text(document.get("reasonCode"))
    return ErrorBody(
        recognised=bool(errors or reason or document.get("title") or document.get("detail")),
        codes=tuple(_numbers(item.get("code") for item in errors)),
        descriptions=tuple(_texts(item.get("description") for item in errors))
        or tuple(_texts([document.get("title"), document.get("detail")])),
        details=tuple(text for item in errors for text in _texts(item.get("details"))),
        reason_code=reason,
        trace_id=_text(document.get("traceId")),
        incident_id=_text(security.get("incidentId")) or _text(document.get("incidentId")),
        permissions=tuple(_texts(security.get("requiredAnyOfPermissions"))),
    )


def _objects(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _numbers(values: Any) -> Iterator[int]:
    for value in values:
        if isinstance(value, int) and not isinstance(value, bool):
            yield value
        elif isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value):
            yield int(value)


def _texts(values: Any) -> Iterator[str]:
    if isinstance(values, str):
        values = [values]
    for value in values if hasattr(values, "__iter__") and not isinstance(values, dict) else ():
        text = _text(value)
        if text is not None:
            yield text


def _text(value: object) -> str | None:
    return value.strip()[:_TEXT_LIMIT] or None if isinstance(value, str) else None


def _http_date(text: str) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None
