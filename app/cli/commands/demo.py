"""`ksefd demo`: the whole service at work, in a minute."""

# Imports stand inside the command: `ksefd --help` must not load the demo.
# ruff: noqa: PLC0415

from pathlib import Path
from typing import Annotated

import typer


def demo(
    count: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many valid invoices to send.")] = 10_000,
    bad: Annotated[int, typer.Option(min=0, max=20, help="How many bad ones to mix in.")] = 20,
    keep: Annotated[
        Path | None,
        typer.Option(help="Keep everything in this folder: UPOs, logs and the service's data. Otherwise ./demo-out "
                     "gets UPOs and logs, and the data go.", file_okay=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="End with one line of JSON instead of tables.")] = False,
) -> None:  # fmt: skip
    """Run the service against the KSeF stand-in, stream invoices in, and check every promise that can be checked.

    Starts the stand-in, the service with its embedded PostgreSQL, and a webhook receiver; adds a tenant; sends
    valid invoices with some bad ones among them; and compares what was sent with what every side says about it.
    Exits 1 if any check fails.
    """
    from app.cli.demo.run import run_demo

    run_demo(count=count, bad=bad, keep=keep, as_json=as_json)
