"""An installation goes into one file while it works, and comes back whole, with its key and nothing else."""

import errno
import hashlib
import os
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio.to_thread
import psycopg
import pytest

from app.domain.ids import time_ordered_id
from app.errors import ConfigurationError, Conflict
from app.settings import Settings
from app.store.audit.acts import Act
from app.store.backup.archive import BackupDamaged
from app.store.backup.blob_files import BlobFiles
from app.store.backup.make import BackupFailed, MadeBackup, make_backup
from app.store.backup.restore import MARGIN, Restore, refuse_unfinished_restore
from app.store.embedded import EmbeddedPostgres
from app.store.installation import WrongMasterKey, find_installation, prepare_installation
from app.store.secrets import make_master_key
from app.store.store import Store, open_store
from tests.support.database import fresh_settings
from tests.support.road import add_tenant, add_upload, invoices, zip_of

pytestmark = pytest.mark.slow


def quiet(stage: str, size: int) -> None:
    """Show no progress."""


@dataclass(frozen=True)
class Source:
    """An installation, its backup, and what must be in it."""

    settings: Settings
    file: Path
    made: MadeBackup
    blobs: dict[str, str]
    rows: list[tuple[Any, ...]]


def blobs_of(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_relative_to(folder / "health")
    }


def rows_of(url: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT id, state, sha256, blob_key FROM uploads ORDER BY id").fetchall()


@pytest.fixture
async def source(database: str, tmp_path: Path) -> Source:
    (tmp_path / "source").mkdir()
    settings = fresh_settings(tmp_path / "source", database)
    prepare_installation(settings)
    async with open_store(settings) as store:
        tenant = await add_tenant(store)
        for seed in range(3):
            await add_upload(store, tenant, zip_of(invoices(5, seed=seed)))
        folder = store.blobs.folder
    assert folder is not None
    file = tmp_path / "backup.tar"
    blobs = blobs_of(folder)
    made = make_backup(settings, folder, file, progress=quiet)
    return Source(settings, file, made, blobs, rows_of(database))


@pytest.fixture
def target(source: Source, tmp_path: Path) -> Settings:
    """Settings of an empty installation with the master key of the source."""
    (tmp_path / "target").mkdir(mode=0o700)
    shutil.copy2(source.settings.data_dir / "master.key", tmp_path / "target" / "master.key")
    return Settings(data_dir=tmp_path / "target")


def restore(
    settings: Settings, file: Path, *, send_at_once: bool = False, progress: Callable[..., None] = quiet
) -> bool:
    with file.open("rb") as opened:
        return Restore(settings, send_at_once=send_at_once, progress=progress).run(opened).already


async def test_a_restored_installation_has_every_row_and_blob_and_waits_for_its_reconciliation(
    source: Source, target: Settings
) -> None:
    assert await anyio.to_thread.run_sync(restore, target, source.file) is False
    assert blobs_of(target.data_dir / "blobs") == source.blobs
    assert not (target.data_dir / "restoring").exists()
    with EmbeddedPostgres(target.data_dir) as server:
        assert rows_of(server.url) == source.rows
        assert find_installation(server.url) == find_installation(source.settings.database_url or "")
        prepare_installation(target.model_copy(update={"database_url": server.url}))
        async with open_store(target.model_copy(update={"database_url": server.url})) as store:
            (tenant,) = await store.tenants.all()
            assert tenant.reconcile_since == source.made.facts.moment - MARGIN
            assert (await store.tenants.credential(tenant.id))[0] == "self_signed"
            check = await store.audit.check()
            assert check.fault is None
            with psycopg.connect(server.url) as connection:
                acts = connection.execute("SELECT act FROM audit_rows ORDER BY number DESC LIMIT 2").fetchall()
    assert acts == [(Act.RECONCILIATION_REQUIRED,), (Act.INSTALLATION_RESTORED,)]


def test_the_backup_is_private_names_the_key_that_it_needs_and_has_no_master_key(source: Source) -> None:
    key = (source.settings.data_dir / "master.key").read_text().strip()
    assert source.file.stat().st_mode & 0o777 == 0o600
    content = source.file.read_bytes()
    assert key.encode() not in content
    assert bytes.fromhex(key) not in content
    with tarfile.open(source.file) as tar:
        readme = tar.extractfile("README.txt")
        assert readme is not None
        text = readme.read().decode()
    assert "The master key is NOT in this file" in text
    assert source.made.key_id in text
    assert (source.made.missing, source.made.first_missing) == (0, None)


async def test_what_is_removed_and_added_during_a_backup_leaves_it_consistent(store: Store, settings: Settings) -> None:
    prepare_installation(settings)
    tenant = await add_tenant(store)
    uploads = [await add_upload(store, tenant, zip_of(invoices(2, seed=seed))) for seed in range(2)]
    folder = store.blobs.folder
    assert folder is not None
    url = settings.database_url or ""
    done: list[str] = []

    def while_it_runs(stage: str, size: int) -> None:
        if stage != "database" or done:
            return
        done.append(stage)
        # As the worker does when it has read a body: the row goes, then the blob.
        with psycopg.connect(url) as connection:
            (key,) = connection.execute("SELECT blob_key FROM uploads WHERE id = %s", (uploads[0].id,)).fetchone() or (
                "",
            )
            connection.execute("UPDATE uploads SET blob_key = NULL WHERE id = %s", (uploads[0].id,))
        files = store.blobs._files
        assert files is not None
        with files.removing() as may_remove:
            assert not may_remove
            files.move_aside([key])
        (folder / "uploads" / time_ordered_id(1, b"0" * 10).hex).write_bytes(b"later")

    made = make_backup(settings, folder, settings.data_dir / "b.tar", progress=while_it_runs)
    assert done
    assert made.missing == 0
    with tarfile.open(settings.data_dir / "b.tar") as tar:
        assert len([name for name in tar.getnames() if name.startswith("blobs/uploads/")]) == 3
    assert not (folder.parent / "blobs.kept").exists()


async def test_a_document_that_was_gone_before_is_counted_and_named(store: Store, settings: Settings) -> None:
    prepare_installation(settings)
    tenant = await add_tenant(store)
    upload = await add_upload(store, tenant, zip_of(invoices(1)))
    folder = store.blobs.folder
    assert folder is not None
    (folder / "uploads" / upload.id.hex).unlink()
    made = make_backup(settings, folder, settings.data_dir / "b.tar", progress=quiet)
    assert (made.missing, made.first_missing) == (1, f"uploads/{upload.id.hex}")


@pytest.mark.parametrize("key", ["missing", "another"])
def test_without_the_key_of_the_backup_nothing_is_restored(source: Source, target: Settings, key: str) -> None:
    path = target.data_dir / "master.key"
    path.unlink()
    if key == "another":
        make_master_key(path)
    with pytest.raises(WrongMasterKey, match=source.made.key_id):
        restore(target, source.file)
    assert sorted(one.name for one in target.data_dir.iterdir()) == (["master.key"] if key == "another" else [])


def test_a_damaged_backup_leaves_nothing_behind(source: Source, target: Settings) -> None:
    content = bytearray(source.file.read_bytes())
    content[len(content) // 2] ^= 1
    source.file.write_bytes(content)
    with pytest.raises(BackupDamaged):
        restore(target, source.file)
    assert [one.name for one in target.data_dir.iterdir()] == ["master.key"]


def test_a_backup_of_a_newer_version_is_refused(
    source: Source, target: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.store.backup.restore.known_revisions", lambda: {"0001"})
    with pytest.raises(BackupDamaged, match="does not know: install that version or a newer one"):
        restore(target, source.file)


class Killed(BaseException):
    """The process ends here."""


def test_a_restore_that_is_killed_anywhere_can_be_run_again(
    source: Source, target: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def run_until(moment: str) -> None:
        def killed(stage: str, size: int) -> None:
            if stage == moment:
                raise Killed

        def rename_killed(self: Path, goal: Path) -> Path:
            if self.name == moment and "restoring" in str(self):
                raise Killed
            return rename(self, goal)

        with monkeypatch.context() as patched:
            patched.setattr(Path, "rename", rename_killed)
            with pytest.raises(Killed):
                restore(target, source.file, progress=killed)

    # While blobs are written, before the database is loaded, before the first move and before the second one.
    for moment in ("write", "database", "blobs.restoring", "postgres"):
        run_until(moment)
        with pytest.raises(ConfigurationError, match="was not finished"):
            refuse_unfinished_restore(target.data_dir)
    assert (target.data_dir / "blobs").exists()
    assert not (target.data_dir / "postgres").exists()
    assert restore(target, source.file) is True
    refuse_unfinished_restore(target.data_dir)
    assert blobs_of(target.data_dir / "blobs") == source.blobs
    with EmbeddedPostgres(target.data_dir) as server:
        assert rows_of(server.url) == source.rows


def test_an_installation_without_tenants_is_replaced_and_one_with_tenants_is_not(
    source: Source, target: Settings
) -> None:
    with EmbeddedPostgres(target.data_dir) as server:
        prepare_installation(target.model_copy(update={"database_url": server.url}))
    restore(target, source.file, send_at_once=True)
    assert blobs_of(target.data_dir / "blobs") == source.blobs
    with EmbeddedPostgres(target.data_dir) as server, psycopg.connect(server.url) as connection:
        # Nothing is to be reconciled, and the audit says why.
        assert connection.execute("SELECT reconcile_since FROM tenants").fetchall() == [(None,)]
        acts = connection.execute("SELECT act FROM audit_rows ORDER BY number DESC LIMIT 2").fetchall()
    assert acts == [(Act.SENT_AT_ONCE,), (Act.INSTALLATION_RESTORED,)]
    with pytest.raises(Conflict, match="an installation with 1 tenants"):
        restore(target, source.file)
    assert not [path for path in target.data_dir.iterdir() if "restor" in path.name]


def test_the_margin_covers_clocks_that_differ() -> None:
    assert timedelta(minutes=10) < MARGIN < timedelta(days=1)


async def test_a_blob_that_cannot_be_read_is_named_and_no_half_backup_is_left(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_installation(settings)
    await store.blobs.put("upo/1", b"<UPO/>")
    folder = store.blobs.folder
    assert folder is not None

    def broken(files: BlobFiles, key: str) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(BlobFiles, "open", broken)
    with pytest.raises(BackupFailed, match="the blob upo/1 cannot be read: Input/output error"):
        make_backup(settings, folder, settings.data_dir / "b.tar", progress=quiet)
    assert not [path for path in settings.data_dir.iterdir() if "b.tar" in path.name]
