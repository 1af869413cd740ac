"""`ksefd backup`, `ksefd restore` and `ksefd reconcile`."""

# Imports are inside the commands, so that `ksefd --help` does not load the database.
# ruff: noqa: PLC0415

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.commands.tenants import AsJson

_File = Annotated[Path, typer.Argument(metavar="FILE", help="The file of the backup.")]


def backup(file: _File, as_json: AsJson = False) -> None:
    """Write a backup of the embedded database and the local folder to one file, while the service runs.

    The master key is not in it: keep its file in another safe place. An older backup of the same name is replaced when the new one is
    whole. Exits 1 if documents that the database names are missing.
    """
    from app.cli.actions.backup import back_up

    back_up(file, as_json=as_json)


def restore(
    file: _File,
    send_at_once: Annotated[
        bool,
        typer.Option(
            "--send-at-once",
            help="Open sessions without a reconciliation with KSeF: what was sent after the backup is sent again.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Restore a backup into an empty installation, whose master key is the one of the backup.

    A restore that was interrupted can be run again. Then start the service: it opens no session for a tenant before its records are
    reconciled with KSeF.
    """
    from app.cli.actions.backup import restore as run

    run(file, send_at_once=send_at_once, as_json=as_json)


def reconcile(
    nip: Annotated[str | None, typer.Argument(metavar="[NIP]", help="One tenant; all without it.")] = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Compare sessions created since then, such as 2026-02-01T06:00 or 7d; without it since the restore, or seven days.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would change, and change nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Accept the invoices that KSeF has accepted and this installation does not know of, by sessions and receipts.

    Needed after a restore, before anything is sent; the service does it by itself then. Safe to repeat. It waits for KSeF's limits.
    """
    from app.cli.actions.reconcile import reconcile_tenants

    reconcile_tenants(nip, since=since, dry_run=dry_run, as_json=as_json)


COMMANDS: dict[str, Callable[..., Any]] = {"backup": backup, "restore": restore, "reconcile": reconcile}
