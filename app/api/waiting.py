"""Application that answers while the API waits for its installation: alive, not ready, and 503 to everything else."""

import json
from collections.abc import Callable
from typing import Any, Final

from starlette.types import ASGIApp, Receive, Scope, Send

from app import __version__
from app.api.http.errors import NotReady
from app.api.http.problems import MEDIA_TYPE

_RETRY_AFTER_SECONDS: Final = 5


def waiting_app(reason: Callable[[], str]) -> ASGIApp:
    """Return an application without a store; `reason` returns why there is none yet."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if scope["path"] == "/livez":
            await _send(send, 200, {"status": "alive", "version": __version__}, "application/json")
            return
        problem = {
            "type": f"/docs/problems#{NotReady.code}",
            "title": NotReady.title,
            "status": NotReady.status,
            "detail": "the service waits for its database; nothing was taken",
            "code": NotReady.code,
            "instance": scope["path"],
            "errors": [{"part": "database", "message": reason()}],
        }
        await _send(send, NotReady.status, problem, MEDIA_TYPE)

    return answer


async def _send(send: Send, status: int, body: dict[str, Any], media_type: str) -> None:
    content = json.dumps(body, ensure_ascii=False).encode()
    headers = [(b"content-type", media_type.encode()), (b"content-length", str(len(content)).encode())]
    if status == NotReady.status:
        headers.append((b"retry-after", str(_RETRY_AFTER_SECONDS).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
