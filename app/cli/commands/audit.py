"""`ksefd audit`: the recorded acts of operators, keys and workers."""

# Imports are inside the command, so that `ksefd --help` does not load the database.
# ruff: noqa: PLC0415

from typing import Annotated

import typer

from app.cli.commands.events import TIME


def audit(
    tenant: Annotated[str | None, typer.Option(metavar="NIP", help="Only the acts on this tenant.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help=f"Start: {TIME}. Without it, the first act; with --follow, now.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for more, until Ctrl-C.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check the whole chain; exit code 1 and the first row that does not fit.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON for each act.")] = False,
) -> None:
    """Print who did what, oldest first, or check that no row was changed, removed, inserted or moved."""
    from app.cli.actions.audit import show_audit, verify_audit

    if verify:
        verify_audit(tenant=tenant, since=since, follow=follow, as_json=as_json)
    else:
        show_audit(tenant=tenant, since=since, follow=follow, as_json=as_json)
