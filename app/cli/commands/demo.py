"""`ksefd demo`: a run of the whole service in about a minute."""

# Imports are inside the command, so that `ksefd --help` does not load the demo.
# ruff: noqa: PLC0415

from pathlib import Path
from typing import Annotated

import typer


def demo(
    count: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many valid invoices to send.")] = 10_000,
    bad: Annotated[int, typer.Option(min=0, max=20, help="How many bad invoices to mix in.")] = 20,
    keep: Annotated[
        Path | None,
        typer.Option(help="Keep UPOs, logs and the service's data in this folder. Without it ./demo-out "
                     "gets UPOs and logs, and the data are removed.", file_okay=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="End with one line of JSON instead of tables.")] = False,
) -> None:  # fmt: skip
    """Run the service against the KSeF sandbox, stream invoices in, and check the results.

    Starts the sandbox, the service with its embedded PostgreSQL, and a webhook receiver; adds a tenant; sends valid
    invoices with some bad ones among them; and compares the invoices sent with the results of the API, the UPOs, the
    sandbox and the webhooks. Exits 1 if any check fails.
    """
    from app.cli.demo.run import run_demo

    run_demo(count=count, bad=bad, keep=keep, as_json=as_json)
