"""`ksefd webhook test, deliveries, delivery, retry, replay`: deliveries of webhooks, through the API."""

import time
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, Final

import typer

from app.cli.actions.webhooks import Access, resource_path
from app.cli.client.service_client import ServiceClient
from app.cli.exit_codes import REFUSED
from app.cli.formats import count, milliseconds, moment
from app.cli.output import print_json, print_note, stdout_console
from app.cli.tables import print_fields, print_table
from app.cli.timestamps import parse_time
from app.clock import utc_now

_TEST_SECONDS: Final = 30.0
"""How long `test` waits: an attempt may take 20 seconds, and a worker must start it first."""

_ANSWER_CHARACTERS: Final = 60
_FIRST_PAUSE_SECONDS: Final = 0.25
_LONGEST_PAUSE_SECONDS: Final = 2.0
_REPLAY_TIMES: Final = ("since", "until", "created_at", "finished_at")


def send_test(webhook: str, access: Access) -> None:
    """Request a test event and print the receiver's answer. Exits 1 when the receiver did not accept it."""
    with access.open() as service:
        delivery = service.post(resource_path(webhook, "test"))
        waited, pause = 0.0, _FIRST_PAUSE_SECONDS
        while not _is_tried(delivery) and waited < _TEST_SECONDS:
            time.sleep(pause)
            waited, pause = waited + pause, min(2 * pause, _LONGEST_PAUSE_SECONDS)
            delivery = service.get(resource_path(delivery["id"], kind="deliveries"))
    _show(delivery, access)
    if delivery["state"] != "succeeded":
        raise typer.Exit(REFUSED)


def list_(webhook: str, *, state: str | None, limit: int, access: Access) -> None:
    """Print a webhook's newest deliveries."""
    parameters: dict[str, str | int] = {"limit": min(limit, 500)} | ({"state": state} if state else {})
    with access.open() as service:
        items = list(islice(service.items(resource_path(webhook, "deliveries"), parameters), limit))
    if access.as_json:
        print_json({"deliveries": items})
        return
    rows: list[tuple[object, ...]] = []
    for one in items:
        last = one["attempts"][-1] if one["attempts"] else {}
        rows.append(
            (one["id"], one["type"], moment(one["created_at"]), one["state"], len(one["attempts"]), _last_answer(last),
             milliseconds(last.get("milliseconds")), _next_or_reason(one))
        )  # fmt: skip
    columns = ("Delivery", "Event", "Created", "State", "Attempts", "Last answer", "Took", "Next attempt, or reason")
    print_table(stdout_console(), columns, rows)


def show(delivery_id: str, access: Access) -> None:
    """Print one delivery with its attempts."""
    with access.open() as service:
        found = service.get(resource_path(delivery_id, kind="deliveries"))
    _show(found, access)


def retry(delivery_id: str, access: Access) -> None:
    """Make a delivery due now and print it."""
    with access.open() as service:
        found = service.post(resource_path(delivery_id, "retry", kind="deliveries"))
    _show(found, access)


def replay(
    webhook: str,
    *,
    since: str,
    until: str | None,
    types: Sequence[str] | None,
    everything: bool,
    wait: bool,
    access: Access,
) -> None:
    """Start a replay of the events that a webhook missed since a time or after an event, and print it.

    With `wait`, follow it until its events are scheduled; exit with REFUSED when it was stopped before.
    """
    now = utc_now()
    body: dict[str, Any] = {
        "since": since if since.startswith("evt_") else parse_time(since, option="--since", now=now).isoformat()
    }
    if until is not None:
        body["until"] = parse_time(until, option="--until", now=now).isoformat()
    if types:
        body["types"] = list(types)
    if everything:
        body["all"] = True
    with access.open() as service:
        replay_state = service.post(resource_path(webhook, "replay"), body)
        if wait:
            replay_state = _follow_replay(service, replay_state)
    if access.as_json:
        print_json(replay_state)
    else:
        print_fields(stdout_console(), {_title(name): _replay_value(name, one) for name, one in replay_state.items()})
    if wait and replay_state["state"] != "completed":
        raise typer.Exit(REFUSED)


def _follow_replay(service: ServiceClient, replay_state: dict[str, Any]) -> dict[str, Any]:
    """Ask for a replay until it has ended, and print how many of its events are scheduled whenever that changes."""
    pause, printed = _FIRST_PAUSE_SECONDS, -1
    try:
        while replay_state["state"] == "running":
            if replay_state["made"] != printed:
                printed = replay_state["made"]
                print_note(f"{count(printed)} of {count(replay_state['events'])} events scheduled")
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            replay_state = service.get(resource_path(replay_state["id"], kind="replays"))
    except KeyboardInterrupt:
        print_note(f"the replay {replay_state['id']} goes on; GET /v1/replays/{replay_state['id']} shows it")
        raise
    return replay_state


def _replay_value(name: str, value: object) -> object:
    if isinstance(value, list):
        return ", ".join(str(one) for one in value)
    return moment(value) if isinstance(value, str) and name in _REPLAY_TIMES else value


def _show(delivery: dict[str, Any], access: Access) -> None:
    if access.as_json:
        print_json(delivery)
        return
    console = stdout_console()
    known: dict[str, object] = {
        "Delivery": delivery["id"],
        "Webhook": delivery["webhook"],
        "Event": f"{delivery['event']} ({delivery['type']})",
        "State": delivery["state"],
        "Reason": delivery.get("reason"),
        "Next attempt": moment(delivery.get("next_attempt_at")),
    }
    print_fields(console, known)
    rows: list[tuple[object, ...]] = [
        (one["number"], moment(one["at"]), one["outcome"], _name(one["status"]), milliseconds(one["milliseconds"]),
         (one["answer"] or "")[:_ANSWER_CHARACTERS])
        for one in delivery["attempts"]
    ]  # fmt: skip
    if rows:
        print_table(console, ("Attempt", "At", "Outcome", "Status", "Took", "Answer"), rows)
    else:
        console.print("no attempt yet")


def _is_tried(delivery: Mapping[str, Any]) -> bool:
    return delivery["state"] != "pending" or any(one["outcome"] != "started" for one in delivery["attempts"])


def _last_answer(attempt: Mapping[str, Any]) -> str | None:
    if not attempt:
        return None
    return f"{attempt['status']} {attempt['outcome']}" if attempt.get("status") else str(attempt["outcome"])


def _next_or_reason(delivery: Mapping[str, Any]) -> str | None:
    following = delivery.get("next_attempt_at")
    return moment(following) if following else delivery.get("reason")


def _name(number: int | None) -> str | None:
    return None if number is None else str(number)


def _title(name: str) -> str:
    return name.replace("_", " ").capitalize()
