"""`ksefd outage`: KSeF's availability, and an operator's order about it."""

# Imports are inside the commands, so that `ksefd --help` does not load the database.
# ruff: noqa: PLC0415

from enum import StrEnum
from typing import Annotated

import typer

from app.cli.commands.tenants import AsJson

app = typer.Typer(
    no_args_is_help=True, help="KSeF's availability, decided by KSeF's own answers or by an operator's order."
)


class State(StrEnum):
    """The states that can be ordered."""

    AVAILABLE = "available"
    AWAY = "away"


@app.command("show")
def show(as_json: AsJson = False) -> None:
    """Show the state in force, its start and reason, and the ministry's status service."""
    from app.cli.actions.outage import show_state

    show_state(as_json=as_json)


@app.command("set")
def set_(
    state: Annotated[
        State, typer.Argument(help="'away' pauses sending; 'available' sends even if KSeF seems to be down.")
    ],
    until: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="End of the order, such as 2026-02-01T06:00; Polish time unless it has an offset.",
        ),
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Shown to tenants beside the state.")] = None,
    as_json: AsJson = False,
) -> None:
    """Order a state that overrides KSeF's answers, until a time or until `ksefd outage clear`.

    In state 'away' no session is opened, filled or closed; results are still fetched and invoices still accepted.
    """
    from app.cli.actions.outage import order_state

    order_state(state.value, until=until, reason=reason, as_json=as_json)


@app.command("clear")
def clear(as_json: AsJson = False) -> None:
    """Cancel the order: KSeF's own answers decide again."""
    from app.cli.actions.outage import clear_order

    clear_order(as_json=as_json)
