"""`ksefd webhook test, deliveries, delivery, retry, replay`: deliveries of webhooks, through the API."""

import time
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, Final

import typer

from app.cli.actions.webhooks import Access, resource_path
from app.cli.exit_codes import REFUSED
from app.cli.output import fields, print_json, stdout_console, table
from app.cli.timestamps import parse_time
from app.clock import utc_now

_TEST_SECONDS: Final = 30.0
"""How long `test` waits: an attempt may take 20 seconds, and a worker must start it first."""

_ANSWER_CHARACTERS: Final = 60


def send_test(webhook: str, access: Access) -> None:
    """Request a test event and print the receiver's answer. Exits 1 when the receiver did not accept it."""
    with access.open() as service:
        delivery = service.post(resource_path(webhook, "test"))
        waited, pause = 0.0, 0.25
        while not _is_tried(delivery) and waited < _TEST_SECONDS:
            time.sleep(pause)
            waited, pause = waited + pause, min(2 * pause, 2.0)
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
            (one["id"], one["type"], one["created_at"], one["state"], len(one["attempts"]), _last_answer(last),
             last.get("milliseconds"), one.get("next_attempt_at") or one.get("reason"))
        )  # fmt: skip
    columns = ("Delivery", "Event", "Created", "State", "Attempts", "Last answer", "ms", "Next attempt, or reason")
    stdout_console().print(table(columns, rows))


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
    access: Access,
) -> None:
    """Start a replay of the events that a webhook missed since a time or after an event, and print its id."""
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
    if access.as_json:
        print_json(replay_state)
        return
    stdout_console().print(fields({_title(name): value for name, value in replay_state.items()}))


def _show(delivery: dict[str, Any], access: Access) -> None:
    if access.as_json:
        print_json(delivery)
        return
    console = stdout_console()
    console.print(
        fields(
            {
                "Delivery": delivery["id"],
                "Webhook": delivery["webhook"],
                "Event": f"{delivery['event']} ({delivery['type']})",
                "State": delivery["state"],
                "Reason": delivery.get("reason"),
                "Next attempt": delivery.get("next_attempt_at"),
            }
        )
    )
    rows: list[tuple[object, ...]] = [
        (one["number"], one["at"], one["outcome"], one["status"], one["milliseconds"],
         (one["answer"] or "")[:_ANSWER_CHARACTERS])
        for one in delivery["attempts"]
    ]  # fmt: skip
    if rows:
        console.print(table(("Attempt", "At", "Outcome", "Status", "ms", "Answer"), rows))
    else:
        console.print("no attempt yet")


def _is_tried(delivery: Mapping[str, Any]) -> bool:
    return delivery["state"] != "pending" or any(one["outcome"] != "started" for one in delivery["attempts"])


def _last_answer(attempt: Mapping[str, Any]) -> str | None:
    if not attempt:
        return None
    return f"{attempt['status']} {attempt['outcome']}" if attempt.get("status") else str(attempt["outcome"])


def _title(name: str) -> str:
    return name.replace("_", " ").capitalize()
