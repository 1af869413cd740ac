"""Reads and writes the headers of tus 1.0.0 (https://tus.io/protocols/resumable-upload)."""

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, Final

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from app.api.dependencies import tenant_of_request
from app.api.http.errors import ChecksumMismatch, UnsupportedTusVersion
from app.api.http.problems import answer_error, answer_http, answer_invalid
from app.errors import DispatchError, RequestError

VERSION: Final = "1.0.0"
EXTENSIONS: Final = "creation,creation-with-upload,creation-defer-length,expiration,checksum,termination"
CHECKSUMS: Final = ("sha1", "sha256", "sha512")
"""Supported checksums; the protocol demands sha1 of every server."""
CONTENT_TYPE: Final = "application/offset+octet-stream"
MAX_METADATA: Final = 4_096

_WITHOUT_VERSION: Final = frozenset({"OPTIONS", "GET"})
_NUMBER: Final = re.compile(r"[0-9]{1,18}")
_KEY: Final = re.compile(r"[!-+\--~]{1,64}")

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class TusRoute(APIRoute):
    """A route that requires the protocol's version, and adds it to every answer, problems included."""

    def get_route_handler(self) -> Handler:
        """Return a handler that checks the version before the endpoint."""
        inner = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                version = request.headers.get("tus-resumable")
                if request.method not in _WITHOUT_VERSION:
                    # The key comes first: a client without one gets 401, not 412.
                    await tenant_of_request(request)
                if request.method not in _WITHOUT_VERSION and version != VERSION:
                    raise UnsupportedTusVersion(
                        f"Tus-Resumable is {version[:20]!r}; the service supports {VERSION}" if version else None
                    )
                answer = await inner(request)
            except DispatchError as error:
                answer = answer_error(request, error)
                if isinstance(error, UnsupportedTusVersion):
                    answer.headers["Tus-Version"] = VERSION
            except RequestValidationError as error:
                answer = answer_invalid(request, error)
            except HTTPException as error:
                answer = answer_http(request, error)
            if request.method != "GET":
                answer.headers["Tus-Resumable"] = VERSION
            return answer

        return handle


def number(request: Request, name: str) -> int | None:
    """Return the number of bytes in a header, None without the header. Raises RequestError when it is not a number."""
    text = request.headers.get(name)
    if text is None:
        return None
    if not _NUMBER.fullmatch(text):
        raise RequestError(f"{name} is not a number of bytes")
    return int(text)


def read_metadata(text: str | None) -> dict[str, str]:
    """Parse `Upload-Metadata`: keys, each with a value in Base64 or without one. Raises RequestError."""
    found: dict[str, str] = {}
    if not text or not text.strip():
        return found
    if len(text) > MAX_METADATA:
        raise RequestError(f"Upload-Metadata is longer than {MAX_METADATA} characters")
    for item in text.split(","):
        key, _, value = item.strip().partition(" ")
        if not _KEY.fullmatch(key) or key in found:
            raise RequestError("Upload-Metadata has a key that is empty, repeated or not plain ASCII")
        try:
            found[key] = base64.b64decode(value.strip(), validate=True).decode("utf-8")
        except (binascii.Error, ValueError) as error:
            raise RequestError(f"Upload-Metadata: the value of {key!r} is not UTF-8 in Base64") from error
    return found


@dataclass(slots=True)
class Checksum:
    """The checksum that the bytes of one request must have, computed while they arrive."""

    name: str
    expected: bytes
    _digest: Any = field(init=False)

    def __post_init__(self) -> None:
        self._digest = hashlib.new(self.name, usedforsecurity=False)
        if len(self.expected) != self._digest.digest_size:
            raise RequestError(f"Upload-Checksum has not the length of {self.name}")

    def update(self, piece: bytes) -> None:
        """Add the next bytes."""
        self._digest.update(piece)

    def verify(self) -> None:
        """Raise ChecksumMismatch when the bytes do not have the checksum."""
        if self._digest.digest() != self.expected:
            raise ChecksumMismatch


def read_checksum(request: Request) -> Checksum | None:
    """Return the checksum in `Upload-Checksum`, None without the header. Raises RequestError."""
    text = request.headers.get("upload-checksum")
    if text is None:
        return None
    name, _, value = text.strip().partition(" ")
    if name.lower() not in CHECKSUMS:
        raise RequestError(f"Upload-Checksum can be {', '.join(CHECKSUMS)}, not {name[:20]!r}")
    try:
        expected = base64.b64decode(value.strip(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError("Upload-Checksum is not Base64") from error
    return Checksum(name.lower(), expected)


def http_date(moment: datetime) -> str:
    """Return a time in the form of `Upload-Expires` (RFC 9110, section 5.6.7)."""
    return format_datetime(moment.astimezone(UTC), usegmt=True)
