"""Restore of a backup into an empty installation.

Everything is made beside its place. A file that names the backup is written when all is whole; then the folders are moved into place. A
restore that is killed before that file is begun anew by the next one, after it the moves are finished.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import IO, Final
from uuid import UUID

import anyio
import psycopg
from psycopg.rows import dict_row

from app.domain.timestamps import iso_utc
from app.errors import ConfigurationError, Conflict
from app.settings import Settings
from app.store.audit.acts import Act
from app.store.audit.record import Seal, record
from app.store.backup.archive import (
    BLOBS,
    DUMP,
    SEAL,
    SEAL_PURPOSE,
    SUMS,
    BackupDamaged,
    Facts,
    Member,
    next_sum,
    read_members,
    verify,
)
from app.store.blobs import local_folder
from app.store.database import Database, queries
from app.store.embedded import EmbeddedPostgres
from app.store.embedded_account import programs
from app.store.installation import Installation, has_schema, prepare_installation, read_box
from app.store.keys.ring import open_envelope
from app.store.migrate import known_revisions
from app.store.secrets import SecretBox

_SQL: Final = queries("installation")
_JOBS: Final = 2
_FOLDER: Final = "restoring"
MARGIN: Final = timedelta(hours=1)
"""Is taken off the backup's time: KSeF is asked about everything since then, whatever the clocks of both machines say."""

Progress = Callable[[str, int], None]
"""Is called with a stage, `check` or `write`, and the number of bytes that were read for it; and with `database` and 0."""


@dataclass(frozen=True, slots=True)
class Restored:
    """A restored installation."""

    facts: Facts
    already: bool
    """Whether an earlier run, which was killed, had done all but the last moves."""


def refuse_unfinished_restore(data_dir: Path) -> None:
    """Raise ConfigurationError in a folder whose restore was killed: an installation made there now would be in its way."""
    folder = data_dir.expanduser().resolve() / _FOLDER
    if folder.exists():
        raise ConfigurationError(
            f"KSEFD_DATA_DIR: a restore into {folder.parent} was not finished: run the same `ksefd restore FILE` again, "
            f"or remove {folder} to give it up"
        )


class Restore:
    """One restore into the data folder and the folder of blobs of some settings. The caller holds the lock of `serve`."""

    def __init__(self, settings: Settings, *, send_at_once: bool, progress: Progress) -> None:
        """`settings` name no database and no object store. With `send_at_once` nothing is reconciled before sessions are opened."""
        self._settings = settings
        self._data = settings.data_dir.expanduser().resolve()
        self._blobs = local_folder(settings.blob_url, self._data)
        self._making = self._data / _FOLDER
        self._new_blobs = self._blobs.with_name(f"{self._blobs.name}.restoring")
        self._complete = self._making / "complete"
        self._send_at_once = send_at_once
        self._progress = progress

    def run(self, file: IO[bytes]) -> Restored:
        """Restore a backup. Raises BackupDamaged, WrongMasterKey, Conflict and ConfigurationError; nothing is in place then."""
        finished = self._finish_moves()
        with tempfile.TemporaryFile(dir=self._data) as sums:
            facts = verify(_Counted(file, partial(self._progress, "check")), sums, seal_key_of=self._seal_key)
            if finished == _name_of(facts):
                return Restored(facts, already=True)
            _refuse_newer(facts)
            self._refuse_tenants()
            self._begin_anew()
            file.seek(0)
            sums.seek(0)
            self._extract(_Counted(file, partial(self._progress, "write")), sums)
        self._progress("database", 0)
        self._load_database(facts)
        # Everything that was written is on the disk before the file that says so.
        os.sync()
        self._complete.write_text(_name_of(facts), encoding="ascii")
        os.sync()
        self._finish_moves()
        return Restored(facts, already=False)

    def _seal_key(self, facts: Facts) -> bytes:
        return self._box(facts).derived_key(SEAL_PURPOSE)

    def _box(self, facts: Facts) -> SecretBox:
        return read_box(
            self._settings, Installation(UUID(facts.installation), facts.moment, bytes.fromhex(facts.key_check))
        )

    def _refuse_tenants(self) -> None:
        """Raise Conflict when the installation in the data folder, if there is one, has tenants."""
        if not (self._data / "postgres" / "PG_VERSION").is_file():
            if any(self._blobs.glob("*/*")):
                raise Conflict(f"there are invoices in {self._blobs}, without a database: move that folder away first")
            return
        with EmbeddedPostgres(self._data) as server:
            tenants = _count_tenants(server.url) if has_schema(server.url) else 0
        if tenants:
            raise Conflict(
                f"there is an installation with {tenants} tenants in {self._data}: restore into an empty folder "
                "(KSEFD_DATA_DIR), or move that one away first"
            )

    def _begin_anew(self) -> None:
        """Remove what a killed restore left."""
        if self._making.exists():
            EmbeddedPostgres(self._making).stop_leftover()
        for folder in (self._making, self._new_blobs):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True, mode=0o700)

    def _extract(self, file: "_Counted", sums: IO[bytes]) -> None:
        for member in read_members(file):
            if member.name == DUMP:
                _write(member, self._making / DUMP)
            elif member.name.startswith(BLOBS):
                _write(member, self._new_blobs / member.name.removeprefix(BLOBS))
            else:
                for _ in member.pieces():
                    # It was used when the backup was verified.
                    continue
            if member.name not in {SUMS, SEAL} and next_sum(sums) != (member.sha256, member.name):
                raise BackupDamaged(f"{member.name} of the backup changed while it was restored")

    def _load_database(self, facts: Facts) -> None:
        with EmbeddedPostgres(self._making) as server:
            _load(server.url, self._making / DUMP)
            settings = self._settings.model_copy(update={"database_url": server.url})
            prepare_installation(settings)
            anyio.run(self._mark, server.url, facts)
        for path in self._making.iterdir():
            if path.name != "postgres":
                path.unlink()

    async def _mark(self, url: str, facts: Facts) -> None:
        """Require that tenants are reconciled before sessions are opened, unless `send_at_once`, and record the restore."""
        since = facts.moment - MARGIN
        database = Database(url, max_connections=1)
        await database.open()
        try:
            database.write_acts = Seal(await open_envelope(database, self._box(facts)))
            async with database.transaction() as connection:
                details = {"made_at": iso_utc(facts.moment), "version": facts.version}
                record(connection, act=Act.INSTALLATION_RESTORED, object=facts.installation, details=details)
                if self._send_at_once:
                    record(connection, act=Act.SENT_AT_ONCE, object=facts.installation)
                else:
                    cursor = await connection.execute(_SQL["require_reconciliation_of_all"], {"since": since})
                    details = {"since": iso_utc(since)}
                    for row in await cursor.fetchall():
                        record(connection, act=Act.RECONCILIATION_REQUIRED, tenant_id=row["id"], details=details)
            await database.execute(_SQL["analyze"])
        finally:
            await database.close()

    def _finish_moves(self) -> str | None:
        """Move what is complete into its place and return the name of its backup; None when nothing is complete."""
        if not self._complete.exists():
            return None
        name = self._complete.read_text(encoding="ascii")
        for new, place in ((self._new_blobs, self._blobs), (self._making / "postgres", self._data / "postgres")):
            before = place.with_name(f"{place.name}.before-restore")
            if new.exists():
                if place.exists():
                    shutil.rmtree(before, ignore_errors=True)
                    place.rename(before)
                new.rename(place)
            # Of an installation without tenants.
            shutil.rmtree(before, ignore_errors=True)
        shutil.rmtree(self._making)
        return name


class _Counted:
    """A file whose bytes are counted as they are read."""

    def __init__(self, file: IO[bytes], count: Callable[[int], None]) -> None:
        self._file = file
        self._count = count

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, none at the end."""
        piece = self._file.read(size)
        self._count(len(piece))
        return piece


def _name_of(facts: Facts) -> str:
    return f"{facts.installation} {facts.made_at}\n"


def _refuse_newer(facts: Facts) -> None:
    if facts.revision not in known_revisions():
        raise BackupDamaged(
            f"the backup was made by version {facts.version}, whose schema ({facts.revision}) this version does not know: "
            "install that version or a newer one"
        )


def _count_tenants(url: str) -> int:
    with psycopg.connect(url, row_factory=dict_row) as connection:
        row = connection.execute(_SQL["count_tenants"]).fetchone()
    return int(row["tenants"]) if row else 0


def _write(member: Member, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # A blob that was moved aside while the backup ran may come twice.
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as file:
        for piece in member.pieces():
            file.write(piece)


def _load(url: str, dump: Path) -> None:
    """Load a dump into an empty database."""
    options = ("--exit-on-error", "--no-owner", f"--jobs={_JOBS}", f"--dbname={url}")
    done = subprocess.run(  # noqa: S603 - a program of the wheel
        [str(programs() / "pg_restore"), *options, str(dump)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise BackupDamaged(f"the database of the backup could not be loaded: {' '.join(done.stderr.split())[:2_000]}")
