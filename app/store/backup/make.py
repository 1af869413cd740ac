"""Online backup: a snapshot of the database first, then every blob that it names.

The service goes on meanwhile. A blob is written before the row that names it is committed, and kept when it is removed later
(`blob_files`), so all that the snapshot names is in the backup.
"""

import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import IO, Any, Final

import psycopg
from psycopg.rows import dict_row

from app import __version__
from app.errors import DispatchError
from app.settings import Settings
from app.store.backup.archive import (
    BLOBS,
    DUMP,
    FACTS,
    FORMAT,
    README,
    SEAL_PURPOSE,
    ArchiveWriter,
    Facts,
    facts_content,
    new_file,
)
from app.store.backup.blob_files import BlobFiles
from app.store.database import queries
from app.store.embedded_account import programs
from app.store.installation import find_installation, key_check_of, key_id, read_box
from app.store.secrets import SecretBox

_SQL: Final = queries("installation")
_PIECE: Final = 1 << 20
_COMPRESSION: Final = "gzip:1"
_ROWS_AT_ONCE: Final = 10_000
_README: Final = """\
Backup of a ksef-dispatch installation, made at {made_at} by version {version}.

The master key is NOT in this file. Its id is {key}. Without that key the secrets in here (certificates, tokens, keys of
webhooks) cannot be read, and the backup cannot be restored: keep the key's file in another safe place.

To restore: put the master key's file into an empty data folder as master.key, then
    KSEFD_DATA_DIR=FOLDER ksefd restore THIS-FILE

The invoices and receipts are in here as they are. Keep this file as safe as the invoices themselves.
To check its hashes by hand, unpack it and run: sha256sum --check SHA256SUMS
"""


class BackupFailed(DispatchError):
    """The backup could not be made; there is no file."""

    status = 503
    code = "backup-failed"
    title = "Backup failed"


@dataclass(frozen=True, slots=True)
class MadeBackup:
    """A finished backup."""

    facts: Facts
    bytes: int
    blobs: int
    missing: int
    """Documents that the database names and that were not in the folder before the backup began."""
    first_missing: str | None

    @property
    def key_id(self) -> str:
        """The id of the master key that the backup needs."""
        return key_id(bytes.fromhex(self.facts.key_check))


Progress = Callable[[str, int], None]
"""Is called with a stage, `database` or `blobs`, and the number of bytes that were added to it."""


def make_backup(settings: Settings, blobs: Path, path: Path, *, progress: Progress) -> MadeBackup:
    """Write a backup of the database at `settings.database_url` and of the folder `blobs` to a new file.

    Raises BackupFailed, LockHeld when another backup runs, WrongMasterKey, DatabaseError; ConfigurationError when the file cannot be written.
    """
    url = settings.database_url or ""
    box = read_box(settings, find_installation(url))
    files = BlobFiles(blobs)
    with (
        new_file(path) as file,
        tempfile.TemporaryFile(dir=settings.data_dir) as sums,
        files.keeping(),
        psycopg.connect(url, autocommit=True, row_factory=dict_row) as snapshot,
    ):
        archive = ArchiveWriter(file, sums)
        snapshot.execute(_SQL["begin_snapshot"])
        row = snapshot.execute(_SQL["export_snapshot"]).fetchone() or {}
        facts = _facts(row, snapshot, box)
        readme = _README.format(made_at=facts.made_at, version=facts.version, key=key_id(key_check_of(box)))
        archive.add_small(README, readme.encode())
        archive.add_small(FACTS, facts_content(facts))
        with archive.member(DUMP) as write:
            _dump(url, row["snapshot"], write, progress)
        count = _add_blobs(archive, files, progress)
        missing, first = _missing_documents(snapshot, files)
        archive.close(box.derived_key(SEAL_PURPOSE))
        size = file.tell()
    return MadeBackup(facts, size, count, missing, first)


def _facts(row: dict[str, Any], connection: psycopg.Connection[dict[str, Any]], box: SecretBox) -> Facts:
    installation = connection.execute(_SQL["installation"]).fetchone() or {}
    return Facts(
        format=FORMAT,
        version=__version__,
        made_at=row["moment"].astimezone(UTC).isoformat(),
        installation=str(installation["id"]),
        key_check=key_check_of(box).hex(),
        revision=row["revision"],
    )


def _dump(url: str, snapshot: str, write: Callable[[bytes], None], progress: Progress) -> None:
    options = ("--format=custom", f"--compress={_COMPRESSION}", "--no-owner", f"--snapshot={snapshot}")
    with (
        tempfile.TemporaryFile() as words,
        subprocess.Popen(  # noqa: S603 - a program of the wheel
            [str(programs() / "pg_dump"), *options, f"--dbname={url}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=words,
        ) as process,
    ):
        assert process.stdout is not None  # noqa: S101 - it was asked for
        while piece := process.stdout.read(_PIECE):
            write(piece)
            progress("database", len(piece))
        if process.wait() != 0:
            words.seek(0)
            said = " ".join(words.read(2_000).decode("utf-8", "replace").split())
            raise BackupFailed(f"the database could not be dumped: {said}")


def _add_blobs(archive: ArchiveWriter, files: BlobFiles, progress: Progress) -> int:
    count = 0
    for key in files.each_key():
        with _reading(key):
            blob = files.open(key)
        if blob is None:
            # A file that no row names, such as a body that was broken off.
            continue
        with blob, archive.member(f"{BLOBS}{key}") as write:
            while piece := _read(blob, key):
                write(piece)
                progress("blobs", len(piece))
        count += 1
    return count


def _read(blob: IO[bytes], key: str) -> bytes:
    with _reading(key):
        return blob.read(_PIECE)


@contextmanager
def _reading(key: str) -> Iterator[None]:
    """Name the blob that cannot be read, apart from the errors of the file that is written."""
    try:
        yield
    except OSError as error:
        raise BackupFailed(f"the blob {key} cannot be read: {error.strerror or error}") from error


def _missing_documents(snapshot: psycopg.Connection[dict[str, Any]], files: BlobFiles) -> tuple[int, str | None]:
    missing, first = 0, None
    with snapshot.cursor(name="documents") as cursor:
        cursor.itersize = _ROWS_AT_ONCE
        for row in cursor.execute(_SQL["documents"]):
            if not files.has(row["blob_key"]):
                missing += 1
                first = first or row["blob_key"]
    return missing, first
