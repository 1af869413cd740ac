"""`ksefd events`, and the pull loop below it: reads events page by page and, if wanted, waits for new ones."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from rich.text import Text

from app.cli.client.service_client import Parameters, ServiceClient, ServiceUnreachable, connect
from app.cli.formats import count, moment, printable
from app.cli.output import print_json, print_warning, stdout_console
from app.cli.timestamps import parse_time
from app.clock import utc_now

WAIT_SECONDS: Final = 50
"""How long the service may hold a request open: below the minute after which many proxies cut a connection."""

_PAGE: Final = 100
_FIRST_PAUSE_SECONDS: Final = 1.0
_LONGEST_PAUSE_SECONDS: Final = 30.0


def pull(
    service: ServiceClient,
    parameters: Parameters,
    *,
    follow: bool,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[dict[str, Any]]:
    """Yield events from the place that `parameters` give (`cursor`, `since`, `types`), oldest first, each once.

    With `follow` it never ends: after its first answer a service that does not answer is asked again with growing pauses.
    Raises ServiceRefused and, before the first answer or without `follow`, ServiceUnreachable.
    """
    wanted: dict[str, str | int] = {"limit": _PAGE, **parameters}
    answered, pause = False, _FIRST_PAUSE_SECONDS
    while True:
        try:
            page = service.get("/v1/events", wanted)
        except ServiceUnreachable as error:
            if not (follow and answered):
                raise
            print_warning(f"{error.detail}; asking again in {pause:.0f} seconds")
            sleep(max(pause, error.retry_after_seconds or 0))
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            continue
        answered, pause = True, _FIRST_PAUSE_SECONDS
        yield from page["items"]
        wanted["cursor"] = page["cursor"]
        if page["next"] is None:
            if not follow:
                return
            wanted["wait"] = WAIT_SECONDS


def start_of(since: str | None, cursor: str | None, types: list[str] | None, *, now: datetime) -> dict[str, str | int]:
    """Build the API's query parameters for the place to begin; without `since` and `cursor` that is now."""
    parameters: dict[str, str | int] = {}
    if cursor is not None:
        parameters["cursor"] = cursor
    if since is not None:
        parameters["since"] = parse_time(since, option="--since", now=now).isoformat()
    elif cursor is None:
        parameters["cursor"] = "now"
    if types:
        parameters["types"] = ",".join(types)
    return parameters


def show_events(
    *,
    follow: bool,
    since: str | None,
    cursor: str | None,
    types: list[str] | None,
    as_json: bool,
    url: str | None,
    api_key_file: Path | None,
) -> None:
    """Print events, one line each, up to the newest one or, with `follow`, until Ctrl-C."""
    if since is None and cursor is None and not follow:
        since = "1d"
    parameters = start_of(since, cursor, types, now=utc_now())
    console = stdout_console()
    with connect(url, api_key_file) as service:
        for event in pull(service, parameters, follow=follow):
            if as_json:
                print_json(event)
            else:
                console.print(event_line(event), soft_wrap=True)


def event_line(event: dict[str, Any], *more: Text) -> Text:
    """Format one event as a line: Polish time, type, id and subject."""
    line = Text()
    line.append(f"{moment(event['timestamp'])}  ", style="dim")
    line.append(f"{event['type']:<18}  ", style=_STYLES.get(str(event["type"]).rpartition(".")[2], ""))
    for piece in more:
        line.append_text(piece).append("  ")
    line.append(printable(about(event))).append(f"  {event['id']}", style="dim")
    return line


_STYLES: Final = {
    "accepted": "green",
    "completed": "green",
    "available": "green",
    "rejected": "red",
    "failed": "red",
    "unavailable": "red",
    "disabled": "red",
}


def about(event: dict[str, Any]) -> str:
    """Describe an event's subject in a few words; for unknown types, return the beginning of the data."""
    data = event.get("data")
    if not isinstance(data, dict):
        return ""
    invoices = data.get("invoices")
    if isinstance(invoices, list):
        first = invoices[0] if invoices else {}
        named = first.get("ksef_number") or first.get("number") or first.get("id") or ""
        rest = f" and {count(len(invoices) - 1)} more" if len(invoices) > 1 else ""
        return f"{named}{rest}, session {data.get('session')}"
    for name in ("id", "session", "webhook", "state"):
        if isinstance(data.get(name), str):
            words = [
                data[name],
                *(str(data[key]) for key in ("state", "reason", "message") if data.get(key) and key != name),
            ]
            return ", ".join(words)
    return json.dumps(data, ensure_ascii=False)[:80]
