"""A webhook receiver as a customer would write it: it verifies each delivery before it uses the body."""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from standardwebhooks import Webhook, WebhookVerificationError

_MAX_BODY_BYTES: Final = 10_000_000
_READ_SECONDS: Final = 10


class Receiver:
    """The deliveries received so far. The server's threads add to it, the demo's thread reads it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._webhook: Webhook | None = None
        self._events: set[str] = set()
        self.verified = 0
        self.repeated = 0
        self.refused: list[str] = []
        self.types: Counter[str] = Counter()
        self.invoices: dict[str, str] = {}
        """KSeF numbers by invoice id, from `invoices.accepted`."""
        self.sample: tuple[dict[str, str], bytes] | None = None
        """One delivery unchanged, to make a forged one of."""
        self.last_at: float | None = None

    def expect(self, secret: str) -> None:
        """Set the sender's secret. Before this call each delivery gets an answer that asks for a retry."""
        self._webhook = Webhook(secret)

    def take(self, headers: Mapping[str, str], body: bytes) -> int:
        """Verify and record one delivery and return the HTTP status to answer with."""
        if self._webhook is None:
            return 503
        lowered = {name.lower(): value for name, value in headers.items()}
        try:
            event: Any = self._webhook.verify(body, lowered)
        except (WebhookVerificationError, ValueError) as error:
            with self._lock:
                self.refused.append(str(error) or type(error).__name__)
            return 401
        with self._lock:
            self._note(event, lowered, body)
        return 204

    def refuses_forgery(self) -> bool:
        """Return whether a received delivery is refused after one byte of it is changed."""
        if self.sample is None or self._webhook is None:
            return False
        headers, body = self.sample
        forged = body.replace(b'"type"', b'"tYpe"', 1)
        try:
            self._webhook.verify(forged, headers)
        except WebhookVerificationError:
            return forged != body
        return False

    def _note(self, event: dict[str, Any], headers: dict[str, str], body: bytes) -> None:
        self.verified += 1
        self.last_at = time.monotonic()
        if event["id"] in self._events:
            # A delivery may be repeated, with the same event id.
            self.repeated += 1
            return
        self._events.add(event["id"])
        self.types[event["type"]] += 1
        if event["type"] == "invoices.accepted":
            self.invoices.update({one["id"]: one["ksef_number"] for one in event["data"]["invoices"]})
        if self.sample is None:
            self.sample = ({name: headers[name] for name in headers if name.startswith("webhook-")}, body)


@contextmanager
def listening(receiver: Receiver) -> Iterator[str]:
    """Serve the receiver on this machine inside the context; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        timeout = _READ_SECONDS

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            if not length.isdigit() or int(length) > _MAX_BODY_BYTES:
                self._answer(413)
                return
            self._answer(receiver.take(dict(self.headers.items()), self.rfile.read(int(length))))

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Log nothing, because the demo prints its own progress."""

        def _answer(self, status: int) -> None:
            body = b"" if status == 204 else json.dumps({"status": status}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, name="webhook-receiver", daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/hook"
        finally:
            server.shutdown()
            thread.join()
