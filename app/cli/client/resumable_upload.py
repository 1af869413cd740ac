"""Sending of a large body in pieces, resumed where it broke off, in this run of the command or in the next one.

This machine stores no state. The service lists the tenant's unfinished uploads, and the one with the same hash, size and
parameters is resumed.
"""

import base64
import hashlib
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from app.cli.client.service_client import RESUMABLE, Parameters, ServiceClient, ServiceRefused, ServiceUnreachable
from app.cli.client.upload_sources import Body
from app.cli.exit_codes import UsageProblem
from app.errors import DispatchError

PIECES_FROM_BYTES: Final = 64_000_000
"""The size from which a body is sent in pieces. Smaller bodies are sent again from their start, which costs less."""

# Their sum is longer than a restart of the service.
PAUSES_SECONDS: Final = (1.0, 2.0, 4.0, 8.0, 15.0)
_LONGEST_PAUSE_SECONDS: Final = 60.0

_GONE: Final = 404
_CONFLICT: Final = 409


def pause_after(error: ServiceUnreachable, usual: float) -> float:
    """Return the pause before the next try, in seconds: the service's Retry-After within bounds, or the usual pause."""
    return min(error.retry_after_seconds or usual, _LONGEST_PAUSE_SECONDS)


def send_in_pieces(
    service: ServiceClient,
    body: Body,
    parameters: Parameters,
    *,
    on_read: Callable[[int], None] = lambda _: None,
    on_sent: Callable[[int], None] = lambda _: None,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Any]:
    """Upload a body, or the rest of it, and return the upload as the service shows it when all bytes are durable.

    The service reads no invoice of a body whose hash differs from the announced one. Raises ServiceUnreachable when
    several tries in a row sent no byte, and UsageProblem when the files changed meanwhile; the upload is then ended.
    """
    wanted = _hash(body, on_read)
    key = secrets.token_hex(16)
    location = ""
    tries, best = 0, -1
    while True:
        try:
            if not location:
                location = _find(service, body, parameters, wanted) or _announce(service, body, parameters, wanted, key)
            offset = service.offset(location)
            on_sent(offset)
            if offset >= body.size:
                return service.get(f"/v1/uploads/{location.rstrip('/').rpartition('/')[2]}")
            tries, best = (0, offset) if offset > best else (tries, best)
            service.add_bytes(location, offset, _counted(body, offset, on_sent), body.size - offset)
        except ServiceUnreachable as error:
            nobody_there = not location and not tries and not error.was_connected
            if tries >= len(PAUSES_SECONDS) or nobody_there:
                raise
            sleep(pause_after(error, PAUSES_SECONDS[tries]))
            tries += 1
        except ServiceRefused as refused:
            # The upload expired or was ended (404), or another request has added bytes (409).
            if refused.http_status not in {_GONE, _CONFLICT} or not location or tries >= len(PAUSES_SECONDS):
                raise
            if refused.http_status == _GONE:
                location, key, best = "", secrets.token_hex(16), -1
            tries += 1
        except UsageProblem:
            # The bytes at the service belong to an older content of the files.
            _end(service, location)
            raise


def _hash(body: Body, on_read: Callable[[int], None]) -> str:
    digest = hashlib.sha256()
    read = 0
    for piece in body.pieces():
        digest.update(piece)
        read += len(piece)
        on_read(read)
    if read != body.size:
        raise UsageProblem(f"{body.label} changed while it was being read")
    return digest.hexdigest()


def _find(service: ServiceClient, body: Body, parameters: Parameters, sha256: str) -> str | None:
    """Return the address of an unfinished upload of the same body with the same parameters, or None."""
    asked = {name: str(parameters.get(name, "false")).lower() == "true" for name in ("offline", "flush", "atomic")}
    same = asked | {
        "sha256": sha256,
        "bytes": body.size,
        "content_type": body.content_type,
        "reference": parameters.get("reference"),
    }
    for upload in service.items(RESUMABLE):
        if all(upload.get(name) == value for name, value in same.items()):
            return str(upload["links"]["self"])
    return None


def _announce(service: ServiceClient, body: Body, parameters: Parameters, sha256: str, key: str) -> str:
    name = "".join(letter if letter.isprintable() else "_" for letter in body.label[:200])
    fields = {"filetype": body.content_type, "filename": name, "sha256": sha256}
    metadata = ",".join(f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in fields.items())
    headers = {"Upload-Length": str(body.size), "Upload-Metadata": metadata, "Idempotency-Key": key}
    return service.announce(headers=headers, parameters=parameters)


def _counted(body: Body, offset: int, on_sent: Callable[[int], None]) -> Iterator[bytes]:
    sent = offset
    for piece in body.pieces_from(offset):
        fitting = piece[: body.size - sent]
        if not fitting:
            return
        yield fitting
        sent += len(fitting)
        on_sent(sent)
    if sent < body.size:
        raise UsageProblem(f"{body.label} became shorter while it was being sent; nothing of this upload was taken")


def _end(service: ServiceClient, location: str) -> None:
    if not location:
        return
    try:
        service.end_upload(location)
    except DispatchError:
        # An upload that is not ended expires; the error that the caller raises next matters more.
        return
