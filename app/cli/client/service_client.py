"""HTTP client of the service. It is the only module that converts httpx's errors to ours."""

import ipaddress
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Self
from urllib.parse import urlsplit

import httpx

from app.cli.exit_codes import UsageProblem
from app.errors import ConfigurationError, DispatchError, RequestError
from app.settings import load_settings

_CONNECT_SECONDS: Final = 10.0
# The answer to an upload comes after its last byte is durable, which takes long on a slow disk.
_ANSWER_SECONDS: Final = 120.0
_PAGE: Final = 500
_MAX_ERROR_BYTES: Final = 1 << 20

Parameters = Mapping[str, str | int]

RESUMABLE: Final = "/v1/uploads/resumable"
_TUS: Final = {"Tus-Resumable": "1.0.0"}


class ServiceUnreachable(DispatchError):
    """The service does not answer, or answers that it cannot work at the moment; the same command may work later."""

    status = 503
    code = "service-unreachable"
    title = "Service unreachable"
    retry_after_seconds: float | None = None
    was_connected: bool = True
    """False when the connection was refused, so that no byte was sent."""


class ServiceRefused(RequestError):
    """The service rejected the request."""

    code = "service-refused"
    title = "Refused by the service"
    http_status: int = 0
    """The status of the answer, such as 404."""


class ServiceClient:
    """Client of the service with one tenant's API key. A context manager; not for use by several threads."""

    def __init__(self, url: str, api_key: str) -> None:
        """Create a client. `url` has no path; `api_key` is the one that `ksefd tenant add` printed."""
        self.url = url.rstrip("/")
        self._http = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {api_key}", "User-Agent": "ksefd"},
            timeout=httpx.Timeout(_ANSWER_SECONDS, connect=_CONNECT_SECONDS),
            # A company's proxy cannot reach a service on this machine.
            trust_env=not _is_this_machine(self.url),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def get(self, path: str, parameters: Parameters | None = None) -> dict[str, Any]:
        """Get the JSON object at a path. Raises ServiceRefused or ServiceUnreachable."""
        return self._json(self._send("GET", path, params=parameters))

    def post(self, path: str, body: Any = None) -> dict[str, Any]:
        """Post JSON and return the JSON object of the answer, empty when there is none."""
        answer = self._send("POST", path, json=body)
        return self._json(answer) if answer.content else {}

    def patch(self, path: str, body: Any) -> dict[str, Any]:
        """Change the resource at a path and return its new state."""
        return self._json(self._send("PATCH", path, json=body))

    def delete(self, path: str) -> None:
        """Delete the resource at a path."""
        self._send("DELETE", path)

    def items(self, path: str, parameters: Parameters | None = None) -> Iterator[dict[str, Any]]:
        """Yield the items of a list; each page is requested when its first item is needed."""
        wanted: dict[str, str | int] = {"limit": _PAGE, **(parameters or {})}
        while True:
            page = self.get(path, wanted)
            yield from page.get("items", [])
            cursor = page.get("next")
            if not cursor or cursor == wanted.get("cursor"):
                return
            wanted["cursor"] = cursor

    def upload(self, pieces: Iterator[bytes], *, headers: Mapping[str, str], parameters: Parameters) -> dict[str, Any]:
        """Stream one body to `POST /v1/uploads` and return the acknowledgement.

        Raises ServiceUnreachable when no answer came: the body may have been taken, so repeat only with the same
        Idempotency-Key.
        """
        answer = self._send("POST", "/v1/uploads", params=parameters, content=pieces, headers=headers)
        return self._json(answer)

    def announce(self, *, headers: Mapping[str, str], parameters: Parameters) -> str:
        """Announce an upload that comes in pieces (tus 1.0.0) and return the address for its bytes."""
        answer = self._send("POST", RESUMABLE, params=parameters, headers={**_TUS, **headers})
        location = answer.headers.get("Location")
        if answer.status_code != 201 or not location:
            raise ServiceUnreachable(f"{self.url} answered something that is not ksef-dispatch; is KSEFD_URL right?")
        return str(location)

    def offset(self, location: str) -> int:
        """Return the number of an upload's bytes that are durable."""
        text = self._send("HEAD", location, headers=_TUS).headers.get("Upload-Offset", "")
        if not (text.isascii() and text.isdigit()):
            raise ServiceUnreachable(f"{self.url} does not report how much of the upload it has")
        return int(text)

    def add_bytes(self, location: str, offset: int, pieces: Iterator[bytes], length: int) -> None:
        """Stream `length` bytes to an upload, starting at an offset.

        Raises ServiceUnreachable when no answer came: some of them may have been taken, so ask for the offset.
        """
        headers = {
            **_TUS,
            "Content-Type": "application/offset+octet-stream",
            "Content-Length": str(length),
            "Upload-Offset": str(offset),
        }
        self._send("PATCH", location, content=pieces, headers=headers)

    def end_upload(self, location: str) -> None:
        """End an upload that is not complete."""
        self._send("DELETE", location, headers=_TUS)

    def lines(self, path: str) -> Iterator[dict[str, Any]]:
        """Yield the objects of an NDJSON answer as they arrive."""
        with self._streaming(path, accept="application/x-ndjson") as answer:
            try:
                for line in answer.iter_lines():
                    if line.strip():
                        yield json.loads(line)
            except httpx.TransportError as error:
                raise self._unreachable(error) from error
            except ValueError as error:
                raise ServiceUnreachable(f"{self.url} answered with a line that is not JSON") from error

    def download(self, path: str, target: BinaryIO) -> int:
        """Write the bytes at a path into a file as they arrive and return their number."""
        with self._streaming(path, accept="*/*") as answer:
            written = 0
            try:
                for piece in answer.iter_bytes():
                    written += target.write(piece)
            except httpx.TransportError as error:
                raise self._unreachable(error) from error
            return written

    def _send(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **arguments)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error
        self._refuse_error(answer)
        return answer

    def _streaming(self, path: str, *, accept: str) -> "_Streamed":
        return _Streamed(self._http, path, accept, self._refuse_error, self._unreachable)

    def _refuse_error(self, answer: httpx.Response) -> None:
        if answer.status_code < 300:
            return
        detail, code = _problem(answer)
        if answer.status_code in {429, 502, 503, 504}:
            away = ServiceUnreachable(f"{self.url} cannot take this now: {detail}")
            away.retry_after_seconds = _seconds(answer.headers.get("Retry-After"))
            raise away
        if answer.status_code >= 500:
            raise DispatchError(f"{self.url} failed (HTTP {answer.status_code}): {detail}")
        hint = "; is KSEFD_API_KEY right?" if answer.status_code == 401 else ""
        refused = ServiceRefused(f"{detail}{f' ({code})' if code else ''}{hint}")
        refused.http_status = answer.status_code
        raise refused

    def _unreachable(self, error: httpx.TransportError) -> ServiceUnreachable:
        away = ServiceUnreachable(f"the service at {self.url} does not answer: {error or type(error).__name__}")
        away.was_connected = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
        return away

    def _json(self, answer: httpx.Response) -> dict[str, Any]:
        try:
            found = answer.json()
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise ServiceUnreachable(f"{self.url} answered something that is not ksef-dispatch; is KSEFD_URL right?")
        return found


class _Streamed:
    """Context manager of an answer that is read while it arrives; raises its errors on entering."""

    def __init__(
        self,
        http: httpx.Client,
        path: str,
        accept: str,
        refuse: Callable[[httpx.Response], None],
        unreachable: Callable[[httpx.TransportError], ServiceUnreachable],
    ) -> None:
        self._http = http
        self._request = http.build_request("GET", path, headers={"Accept": accept})
        self._refuse = refuse
        self._unreachable = unreachable
        self._answer: httpx.Response | None = None

    def __enter__(self) -> httpx.Response:
        try:
            answer = self._http.send(self._request, stream=True)
            if answer.status_code >= 300:
                answer.read()
        except httpx.TransportError as error:
            raise self._unreachable(error) from error
        self._answer = answer
        try:
            self._refuse(answer)
        except DispatchError:
            answer.close()
            raise
        return answer

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._answer is not None:
            self._answer.close()


def connect(url: str | None, api_key_file: Path | None) -> ServiceClient:
    """Create a client from the command line, else from the settings. Raises ConfigurationError without a key."""
    settings = load_settings(**({"url": url} if url else {}))
    api_key = settings.api_key
    if api_key_file is not None:
        try:
            api_key = api_key_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageProblem(f"cannot read {api_key_file}") from error
    if not api_key:
        raise ConfigurationError("KSEFD_API_KEY: not set; `ksefd key create NIP` makes a key")
    if not api_key.isascii() or not api_key.isprintable() or " " in api_key:
        raise ConfigurationError("KSEFD_API_KEY: this is no API key: it has characters that no key has")
    return ServiceClient(settings.url, api_key)


def _is_this_machine(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _problem(answer: httpx.Response) -> tuple[str, str]:
    """Return the detail and code of an answer's problem details, or substitutes made from its status."""
    fallback = f"HTTP {answer.status_code} {answer.reason_phrase}".strip()
    if len(answer.content) > _MAX_ERROR_BYTES:
        return fallback, ""
    try:
        found = answer.json()
    except ValueError:
        return fallback, ""
    if not isinstance(found, dict):
        return fallback, ""
    return str(found.get("detail") or found.get("title") or fallback), str(found.get("code") or "")


def _seconds(value: str | None) -> float | None:
    return float(value) if value and value.isascii() and value.isdigit() else None
