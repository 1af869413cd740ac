"""KSeF's availability as all workers share it, and an operator's order about it; both in the database."""

from datetime import datetime
from typing import Any

from app.cli.actions.accounts import in_store
from app.cli.exit_codes import UsageProblem
from app.cli.formats import moment
from app.cli.output import print_json, stdout_console
from app.cli.tables import print_fields
from app.cli.timestamps import parse_moment
from app.clock import utc_now
from app.domain.outage import KsefState, Override
from app.settings import Settings, load_settings
from app.store.ksef.outages import KsefRecord


def show_state(*, as_json: bool) -> None:
    """Print the availability that is in force now."""
    settings = load_settings()
    known = in_store(settings, lambda store: store.outages.read(settings.ksef_base_url))
    _print(settings, known, as_json=as_json)


def order_state(state: str, *, until: str | None, reason: str | None, as_json: bool) -> None:
    """Order a state and print the one in force. Raises UsageProblem for a time that is not readable or has passed."""
    settings, now = load_settings(), utc_now()
    end = _parse_until(until) if until is not None else None
    if end is not None and end <= now:
        raise UsageProblem(f"--until {until}: this time has passed")
    order = Override(KsefState(state), now, end, reason.strip() or None if reason else None)
    known = in_store(settings, lambda store: store.outages.order(settings.ksef_base_url, order, now=now))
    _print(settings, known, as_json=as_json)


def clear_order(*, as_json: bool) -> None:
    """Cancel the order and print the state in force."""
    settings = load_settings()
    known = in_store(settings, lambda store: store.outages.order(settings.ksef_base_url, None, now=utc_now()))
    _print(settings, known, as_json=as_json)


def _parse_until(text: str) -> datetime:
    try:
        return parse_moment(text)
    except ValueError as error:
        raise UsageProblem(
            f"--until {text[:40]}: not a time from 1970 to 2100; write it as 2026-02-01T06:00"
        ) from error


def _print(settings: Settings, known: KsefRecord, *, as_json: bool) -> None:
    now = utc_now()
    order = known.override if known.override is not None and known.override.holds(now) else None
    shape = known.as_json(now) | {"ksef_url": settings.ksef_base_url, "until": order.until if order else None}
    if as_json:
        print_json(shape)
        return
    counts = known.standing(now)
    lines: dict[str, Any] = {
        "KSeF": settings.ksef_base_url,
        "State": counts.state.value,
        "Since": counts.since,
        "Reason": counts.reason,
        "Decided by": "an operator's order" if counts.ordered else "KSeF's own answers",
    }
    if order is not None:
        lines["Order ends"] = order.until
    latarnia = shape["latarnia"]
    if latarnia is not None:
        lines["Latarnia"] = f"{latarnia['status']} at {moment(latarnia['at'])}"
        lines |= {f"Announced {n}": _announced(one) for n, one in enumerate(latarnia["announcements"], start=1)}
    print_fields(stdout_console(), lines)


def _announced(one: dict[str, Any]) -> str:
    return f"{one['title']} ({moment(one['start'])} to {moment(one['end'])})"
