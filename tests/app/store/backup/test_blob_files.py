"""Blobs that are removed while a backup runs are kept until it ends."""

from pathlib import Path

import pytest

from app.store.backup.blob_files import BlobFiles
from app.store.blobs import BlobStore
from app.store.file_locks import LockHeld


async def test_a_blob_that_is_removed_during_a_backup_is_still_in_it(tmp_path: Path) -> None:
    blobs = BlobStore(None, tmp_path)
    files = BlobFiles(tmp_path / "blobs")
    for key in ("uploads/a", "chunks/b", "chunks/c"):
        await blobs.put(key, key.encode())
    with files.keeping():
        await blobs.delete(["uploads/a", "chunks/b", "chunks/none"])
        assert not (tmp_path / "blobs/uploads/a").exists()
        assert sorted(files.each_key()) == ["chunks/b", "chunks/c", "uploads/a"]
        assert files.has("chunks/b")
        kept = files.open("uploads/a")
        assert kept is not None
        with kept:
            assert kept.read() == b"uploads/a"
    assert list(files.each_key()) == ["chunks/c"]
    assert files.open("uploads/a") is None
    await blobs.delete(["chunks/c"])
    assert list(files.each_key()) == []


async def test_unfinished_files_and_probes_are_no_part_of_a_backup(tmp_path: Path) -> None:
    blobs = BlobStore(None, tmp_path)
    await blobs.put("health/probe-1", b"ready")
    await blobs.put("upo/1", b"<UPO/>")
    (tmp_path / "blobs/upo/2#1").write_bytes(b"half")
    assert list(BlobFiles(tmp_path / "blobs").each_key()) == ["upo/1"]


def test_two_backups_at_a_time_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.store.backup.blob_files._WAIT_SECONDS", 0.05)
    files = BlobFiles(tmp_path / "blobs")
    with files.keeping(), pytest.raises(LockHeld), BlobFiles(tmp_path / "blobs").keeping():
        pass


def test_a_backup_waits_for_blobs_that_are_being_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.store.backup.blob_files._WAIT_SECONDS", 0.05)
    files = BlobFiles(tmp_path / "blobs")
    with files.removing() as may_remove:
        assert may_remove
        with pytest.raises(LockHeld), BlobFiles(tmp_path / "blobs").keeping():
            pass


def test_what_a_killed_backup_kept_is_removed_by_the_next_one(tmp_path: Path) -> None:
    (tmp_path / "blobs.kept/chunks").mkdir(parents=True)
    (tmp_path / "blobs.kept/chunks/old").write_bytes(b"x")
    files = BlobFiles(tmp_path / "blobs")
    with files.keeping():
        assert list(files.each_key()) == []
