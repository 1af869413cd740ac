"""`ksefd outage`: whether KSeF counts as available, and an operator's order about it."""

# Imports stand inside the commands: `ksefd --help` must not load the database.
# ruff: noqa: PLC0415

from enum import StrEnum
from typing import Annotated

import typer

from app.cli.commands.tenants import AsJson

app = typer.Typer(
    no_args_is_help=True, help="Whether KSeF counts as available; KSeF's own answers decide, or an order."
)


class State(StrEnum):
    """What can be ordered."""

    AVAILABLE = "available"
    AWAY = "away"


@app.command("show")
def show(as_json: AsJson = False) -> None:
    """Show what counts now, since when and why, and what the ministry's status service says."""
    from app.cli.actions.outage import show_state

    show_state(as_json=as_json)


@app.command("set")
def set_(
    state: Annotated[
        State, typer.Argument(help="'away' pauses sending; 'available' sends whatever seems to be wrong.")
    ],
    until: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="When the order ends by itself, such as 2026-02-01T06:00; Polish time unless it has an offset.",
        ),
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Shown to tenants beside the state.")] = None,
    as_json: AsJson = False,
) -> None:
    """Order a state, whatever KSeF's answers say, until a time or until `ksefd outage clear`.

    While it is 'away' no session is opened, filled or closed; results are fetched and invoices taken as ever.
    """
    from app.cli.actions.outage import order_state

    order_state(state.value, until=until, reason=reason, as_json=as_json)


@app.command("clear")
def clear(as_json: AsJson = False) -> None:
    """Take the order back: KSeF's own answers decide again."""
    from app.cli.actions.outage import clear_order

    clear_order(as_json=as_json)
