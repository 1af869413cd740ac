"""`ksefd webhook listen --port`: a receiver on this machine that verifies what is delivered to it and says so."""

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
from app.cli.output import print_json, stderr_console, stdout_console
from app.clock import Clock, utc_now

MAX_BODY_BYTES: Final = 20_000_000
"""500 invoices with findings are a few megabytes at most."""

_IDLE_SECONDS: Final = 30
_REMEMBERED: Final = 10_000

_NOT_VERIFIED: Final = Verdict(True, "not verified")


@dataclass(frozen=True, slots=True)
class Heard:
    """One delivery as it was judged."""

    message_id: str
    verdict: Verdict
    repeated: bool
    body: bytes
    status: int

    @property
    def event(self) -> dict[str, Any] | None:
        """The event, None when the body is not one."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return None
        shaped = isinstance(found, dict) and all(
            isinstance(found.get(name), str) for name in ("id", "type", "timestamp")
        )
        return found if shaped else None


class Receiver(ThreadingHTTPServer):
    """Judges every POST, whatever its path, answers it, and hands what it heard to `tell`, one after the other."""

    daemon_threads = True

    def __init__(
        self,
        address: tuple[str, int],
        verifier: Verifier | None,
        tell: Callable[[Heard], None],
        *,
        status: int = 204,
        clock: Clock = utc_now,
    ) -> None:
        """Listen at once; `serve_forever` answers. `status` answers what is genuine; what is not gets 401."""
        self._verifier = verifier
        self._tell = tell
        self._status = status
        self._clock = clock
        self._known: OrderedDict[str, None] = OrderedDict()
        self._one_at_a_time = threading.Lock()
        super().__init__(address, _Handler)

    def judge(self, headers: dict[str, str], body: bytes) -> int:
        """Judge and tell one delivery and give the status to answer with."""
        message_id = headers.get("webhook-id", "")
        verdict = _NOT_VERIFIED
        if self._verifier is not None:
            verdict = self._verifier.verify(headers, body, now=self._clock())
        status = self._status if verdict.genuine else 401
        with self._one_at_a_time:
            repeated = verdict.genuine and message_id in self._known
            # An answer other than 2xx asks for the same delivery again: that is no repetition.
            if verdict.genuine and 200 <= status <= 299:
                self._known[message_id] = None
                while len(self._known) > _REMEMBERED:
                    self._known.popitem(last=False)
            self._tell(Heard(message_id, verdict, repeated, body, status))
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
                self._answer(self.server.judge(headers, body))

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing: what is worth a line is told."""


def listen(host: str, port: int, key: str | None, *, status: int, as_json: bool) -> None:
    """Receive until Ctrl-C, a line each. Raises UsageProblem for a bad key or an address that is taken."""
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


def _print_json(heard: Heard) -> None:
    print_json(
        {
            "id": heard.message_id or None,
            "genuine": heard.verdict.genuine if heard.verdict is not _NOT_VERIFIED else None,
            "reason": heard.verdict.reason,
            "repeated": heard.repeated,
            "answered": heard.status,
            "event": heard.event,
        }
    )


def _print_line(heard: Heard) -> None:
    style = "red" if not heard.verdict.genuine else "yellow" if heard.verdict is _NOT_VERIFIED else "green"
    words = Text(heard.verdict.reason, style=style)
    if heard.repeated:
        words.append(", again", style="yellow")
    event = heard.event
    # Of what is forged nothing is shown as if it were an event.
    if event is None or not heard.verdict.genuine:
        words = Text(f"answered {heard.status}: ").append_text(words)
        stdout_console().print(
            words.append(f"  {heard.message_id[:80]}  {len(heard.body)} bytes", style="dim"), soft_wrap=True
        )
    else:
        stdout_console().print(event_line(event, words), soft_wrap=True)
