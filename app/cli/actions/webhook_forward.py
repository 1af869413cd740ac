"""`ksefd webhook listen` without a port: pulls events, prints them and, if wanted, posts them to a local address.

It serves the development of a receiver that the service cannot reach: the receiver gets the same requests, signed with a
secret made here.
"""

import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
from rich.text import Text

from app.cli.actions.event_pull import event_line, pull, start_of
from app.cli.actions.webhook_verify import Verifier
from app.cli.client.service_client import connect
from app.cli.exit_codes import UsageProblem
from app.cli.formats import milliseconds
from app.cli.output import print_json, stderr_console, stdout_console
from app.clock import Clock, utc_now
from app.webhooks.signing import SECRET_BYTES, SigningSecret, signed_headers

_CONNECT_SECONDS: Final = 5.0
_ANSWER_SECONDS: Final = 20.0
"""The same time that the service waits for an answer."""


@dataclass(frozen=True, slots=True)
class Forwarded:
    """Result of posting one event to the local receiver: a status, or the reason why there is none."""

    status: int | None
    milliseconds: int
    reason: str | None = None

    @property
    def taken(self) -> bool:
        """Whether the receiver accepted the event (status 2xx)."""
        return self.status is not None and 200 <= self.status <= 299


class Forwarder:
    """Posts each event once to one address, in the form of a delivery. A context manager."""

    def __init__(self, url: str, secret: str | None, *, clock: Clock = utc_now) -> None:
        """Sign with `secret`, or with a new one. Raises UsageProblem for an unusable address or secret."""
        address = urlsplit(url)
        if address.scheme not in {"http", "https"} or not address.hostname:
            raise UsageProblem(f"--forward {url[:80]}: give an address such as http://127.0.0.1:9000/hook")
        self.url = url
        self.secret = secret or SigningSecret(secrets.token_bytes(SECRET_BYTES)).text
        self._key = SigningSecret(Verifier(self.secret).secret)
        self._clock = clock
        self._http = httpx.Client(
            timeout=httpx.Timeout(_ANSWER_SECONDS, connect=_CONNECT_SECONDS), trust_env=False, follow_redirects=False
        )

    def __enter__(self) -> "Forwarder":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def forward(self, event: dict[str, Any]) -> Forwarded:
        """Post one event and return the result; a failure of the receiver is a result too."""
        body = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
        headers = signed_headers([self._key], message_id=event["id"], body=body, now=self._clock())
        start = perf_counter()
        try:
            answer = self._http.post(
                self.url, content=body, headers=headers | {"Content-Type": "application/json", "User-Agent": "ksefd"}
            )
        except httpx.HTTPError as error:
            return Forwarded(None, _since(start), str(error) or type(error).__name__)
        return Forwarded(answer.status_code, _since(start))


def listen(
    *,
    forward: str | None,
    secret: str | None,
    since: str | None,
    types: list[str] | None,
    as_json: bool,
    url: str | None,
    api_key_file: Path | None,
) -> None:
    """Print events as they happen, and forward them if wanted, until Ctrl-C. Each event is sent once."""
    parameters = start_of(since, None, types, now=utc_now())
    forwarder = Forwarder(forward, secret) if forward is not None else None
    with connect(url, api_key_file) as service:
        if forwarder is None:
            stderr_console().print("waiting for events; Ctrl-C ends it", soft_wrap=True)
            for event in pull(service, parameters, follow=True):
                _show(event, None, as_json=as_json)
            return
        with forwarder:
            stderr_console().print(f"forwarding to {forwarder.url}; Ctrl-C ends it", markup=False, soft_wrap=True)
            stderr_console().print(f"signed with {forwarder.secret}", markup=False, soft_wrap=True)
            for event in pull(service, parameters, follow=True):
                _show(event, forwarder.forward(event), as_json=as_json)


def _show(event: dict[str, Any], forwarded: Forwarded | None, *, as_json: bool) -> None:
    if as_json:
        shape = None
        if forwarded is not None:
            shape = {"status": forwarded.status, "milliseconds": forwarded.milliseconds, "reason": forwarded.reason}
        print_json({"event": event, "forwarded": shape})
        return
    words = []
    if forwarded is not None:
        said = f"{forwarded.status}" if forwarded.status is not None else forwarded.reason or "no answer"
        style = "green" if forwarded.taken else "red"
        words.append(Text(f"{said} in {milliseconds(forwarded.milliseconds)}", style=style))
    stdout_console().print(event_line(event, *words), soft_wrap=True)


def _since(start: float) -> int:
    return round((perf_counter() - start) * 1_000)
