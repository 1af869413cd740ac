"""`ksefd webhook listen --port`: a local receiver that verifies each delivery and prints the result."""

import json
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from rich.text import Text

from app.cli.actions.event_pull import event_line
from app.cli.actions.webhook_verify import Verdict, Verifier
from app.cli.exit_codes import UsageProblem
from app.cli.formats import printable, size
from app.cli.output import print_json, stderr_console, stdout_console
from app.clock import Clock, utc_now

MAX_BODY_BYTES: Final = 20_000_000
"""The largest body read; 500 invoices with findings are a few megabytes at most."""

_IDLE_SECONDS: Final = 30
_REMEMBERED: Final = 10_000

_NOT_VERIFIED: Final = Verdict(True, "not verified")


@dataclass(frozen=True, slots=True)
class ReceivedDelivery:
    """One delivery with the result of its verification."""

    message_id: str
    verdict: Verdict
    repeated: bool
    body: bytes
    status: int

    @property
    def event(self) -> dict[str, Any] | None:
        """The event in the body; None when the body is not an event."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return None
        shaped = isinstance(found, dict) and all(
            isinstance(found.get(name), str) for name in ("id", "type", "timestamp")
        )
        return found if shaped else None


class Receiver(ThreadingHTTPServer):
    """Verifies and answers the POST requests of all paths, and passes them to `report` one after the other."""

    daemon_threads = True

    def __init__(
        self,
        address: tuple[str, int],
        verifier: Verifier | None,
        report: Callable[[ReceivedDelivery], None],
        *,
        status: int = 204,
        clock: Clock = utc_now,
    ) -> None:
        """Listen at once; `serve_forever` answers: genuine deliveries with `status`, others with 401."""
        self._verifier = verifier
        self._report = report
        self._status = status
        self._clock = clock
        self._known: OrderedDict[str, None] = OrderedDict()
        self._one_at_a_time = threading.Lock()
        super().__init__(address, _Handler)

    def verify(self, headers: dict[str, str], body: bytes) -> int:
        """Verify and report one delivery and return the status to answer with."""
        message_id = headers.get("webhook-id", "")
        verdict = _NOT_VERIFIED
        if self._verifier is not None:
            verdict = self._verifier.verify(headers, body, now=self._clock())
        status = self._status if verdict.genuine else 401
        with self._one_at_a_time:
            repeated = verdict.genuine and message_id in self._known
            # An answer other than 2xx asks for the same delivery again, so its next attempt is no repetition.
            if verdict.genuine and 200 <= status <= 299:
                self._known[message_id] = None
                while len(self._known) > _REMEMBERED:
                    self._known.popitem(last=False)
            self._report(ReceivedDelivery(message_id, verdict, repeated, body, status))
        return status


class _Handler(BaseHTTPRequestHandler):
    server: Receiver
    timeout = _IDLE_SECONDS
    server_version = "ksefd-listen"
    sys_version = ""

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            self._answer(411)
        elif int(length) > MAX_BODY_BYTES:
            self._answer(413)
        else:
            body = self.rfile.read(int(length))
            if len(body) == int(length):
                headers = {name.lower(): value for name, value in self.headers.items()}
                self._answer(self.server.verify(headers, body))

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Print nothing: `report` prints each delivery."""


def listen(host: str, port: int, key: str | None, *, status: int, as_json: bool) -> None:
    """Receive until Ctrl-C and print a line for each delivery. Raises UsageProblem for a bad key or a used address."""
    verifier = Verifier(key) if key is not None else None
    try:
        receiver = Receiver((host, port), verifier, _print_json if as_json else _print_line, status=status)
    except OSError as error:
        raise UsageProblem(f"cannot listen on {host}:{port}: {error.strerror}") from error
    with receiver:
        shown = f"[{host}]" if ":" in host else host
        how = "verifying" if verifier else "without a secret, so nothing is verified"
        stderr_console().print(
            f"listening on http://{shown}:{receiver.server_port}, {how}; Ctrl-C ends it", soft_wrap=True
        )
        receiver.serve_forever()


def _print_json(delivery: ReceivedDelivery) -> None:
    print_json(
        {
            "id": delivery.message_id or None,
            "genuine": delivery.verdict.genuine if delivery.verdict is not _NOT_VERIFIED else None,
            "reason": delivery.verdict.reason,
            "repeated": delivery.repeated,
            "answered": delivery.status,
            "event": delivery.event,
        }
    )


def _print_line(delivery: ReceivedDelivery) -> None:
    style = "red" if not delivery.verdict.genuine else "yellow" if delivery.verdict is _NOT_VERIFIED else "green"
    words = Text(delivery.verdict.reason, style=style)
    if delivery.repeated:
        words.append(", again", style="yellow")
    event = delivery.event
    # Do not print a forged body as an event.
    if event is None or not delivery.verdict.genuine:
        words = Text(f"answered {delivery.status}: ").append_text(words)
        stdout_console().print(
            words.append(f"  {printable(delivery.message_id[:80])}  {size(len(delivery.body))}", style="dim"),
            soft_wrap=True,
        )
    else:
        stdout_console().print(event_line(event, words), soft_wrap=True)
