"""`ksefd backup` and `ksefd restore`: an installation on one machine, into one file and back."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from app.cli.exit_codes import REFUSED, UsageProblem
from app.cli.formats import count, size
from app.cli.local_store import existing_database_of
from app.cli.operator import operator
from app.cli.output import print_json, print_warning, stderr_console, stdout_console
from app.cli.tables import print_fields
from app.errors import ConfigurationError
from app.observability.logs import configure_logging
from app.process.serve_lock import ServeLock
from app.settings import Settings, load_settings
from app.store.audit.actor import acting_as
from app.store.backup.make import make_backup
from app.store.backup.restore import Restore
from app.store.blobs import is_local, local_folder
from app.store.data_folder import prepare_data_folder
from app.store.installation import key_id, master_key_path

_FOR_SERVERS: Final = (
    "this installation uses a database server (KSEFD_DATABASE_URL) or an object store (KSEFD_BLOB_URL), and `ksefd {command}` works on one "
    "machine's folder only: use pg_dump and pg_restore for the database, a copy of the bucket for the object store, taken after the "
    "database's, and run `ksefd reconcile` before the first worker starts"
)
_STAGES: Final = {
    "database": "Database",
    "blobs": "Invoices and receipts",
    "check": "Checking the backup",
    "write": "Writing invoices and receipts",
}


def back_up(path: Path, *, as_json: bool) -> None:
    """Write a backup, and exit with REFUSED when documents that the database names are not there."""
    settings = _settings_of_one_machine("backup")
    target = path.expanduser().resolve()
    if target.is_dir():
        raise UsageProblem(f"{target} is a folder; name a file")
    with existing_database_of(settings) as ready, _shown_progress() as show:
        made = make_backup(ready, local_folder(settings.blob_url, settings.data_dir), target, progress=show)
    key = master_key_path(settings)
    if as_json:
        print_json(
            {
                "file": str(target), "bytes": made.bytes, "blobs": made.blobs, "missing": made.missing,
                "made_at": made.facts.moment, "installation": made.facts.installation, "master_key": made.key_id,
            }
        )  # fmt: skip
    else:
        rows = {"File": target, "Size": size(made.bytes), "Blobs": count(made.blobs), "Made at": made.facts.moment}
        print_fields(stdout_console(), rows)
        stdout_console().print(
            f"The master key is not in it (id {made.key_id}): keep {key} in another safe place.", soft_wrap=True
        )
    if target.is_relative_to(settings.data_dir.expanduser().resolve()):
        print_warning(f"{target} is in the data folder, and would be lost with it: keep it on another machine")
    if made.missing:
        print_warning(
            f"{made.missing} documents that the database names were not in the folder before the backup began, "
            f"the first one {made.first_missing}"
        )
        raise typer.Exit(REFUSED)


def restore(path: Path, *, send_at_once: bool, as_json: bool) -> None:
    """Restore a backup into an empty installation."""
    settings = _settings_of_one_machine("restore")
    try:
        file = path.expanduser().open("rb")
    except OSError as error:
        raise UsageProblem(f"cannot read {path}: {error.strerror}") from error
    with file:
        data_dir = prepare_data_folder(settings.data_dir)
        configure_logging(settings)
        with acting_as(operator()), closing(ServeLock(data_dir)), _shown_progress() as show:
            try:
                restored = Restore(settings, send_at_once=send_at_once, progress=show).run(file)
            except OSError as error:
                raise ConfigurationError(
                    f"the backup could not be restored into {data_dir}: {error.strerror or error}; run it again when that is mended"
                ) from error
    facts = restored.facts
    if as_json:
        print_json(
            {
                "data_dir": str(data_dir), "made_at": facts.moment, "installation": facts.installation,
                "master_key": key_id(bytes.fromhex(facts.key_check)), "send_at_once": send_at_once,
            }
        )  # fmt: skip
        return
    console = stdout_console()
    print_fields(console, {"Restored into": data_dir, "Backup of": facts.moment, "Installation": facts.installation})
    if send_at_once:
        console.print("Sessions are opened at once: what was sent after the backup may be sent again.", soft_wrap=True)
    else:
        console.print(
            "Next: ksefd serve. No session is opened for a tenant before its records are reconciled with KSeF, which the service does "
            "by itself; `ksefd reconcile` does it by hand.",
            soft_wrap=True,
        )


def _settings_of_one_machine(command: str) -> Settings:
    settings = load_settings()
    if settings.database_url is not None or not is_local(settings.blob_url):
        raise UsageProblem(_FOR_SERVERS.format(command=command))
    return settings


class _Shown:
    """Shows the progress of each stage on the error stream."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._stages: dict[str, TaskID] = {}

    def __call__(self, stage: str, more: int) -> None:
        """Count bytes of a stage."""
        if stage not in self._stages:
            self._stages[stage] = self._progress.add_task(_STAGES[stage], total=None)
        self._progress.advance(self._stages[stage], more)


@contextmanager
def _shown_progress() -> Iterator[_Shown]:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    console = stderr_console()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield _Shown(progress)
