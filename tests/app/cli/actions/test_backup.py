"""`ksefd backup` and `ksefd restore` as an operator runs them."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from app.cli.exit_codes import DENIED, OK, UNREACHABLE, USAGE
from app.cli.operator import operator
from app.process.serve_lock import ServeLock
from app.store.audit.actor import WORKER, Actor, current_actor
from app.store.backup.restore import Restore
from tests.app.cli.conftest import Ksefd

NIP = "5265877635"


@pytest.mark.slow
def test_a_lost_installation_comes_back_from_its_backup_and_its_key(ksefd: Ksefd, tmp_path: Path) -> None:
    lost, new, file = tmp_path / "lost", tmp_path / "new", tmp_path / "backup.tar"
    assert ksefd("migrate", data_dir=str(lost)).code == OK
    assert ksefd("tenant", "add", NIP, "--name", "Firma", "--self-signed", data_dir=str(lost)).code == OK
    made = ksefd("backup", str(file), "--json", data_dir=str(lost))
    assert made.code == OK, made.err
    assert made.json["missing"] == 0
    assert made.json["bytes"] == file.stat().st_size
    again = ksefd("backup", str(file), data_dir=str(lost))
    assert again.code == OK
    assert f"The master key is not in it (id {made.json['master_key']})" in again.out

    without_key = ksefd("restore", str(file), data_dir=str(new))
    assert without_key.code == USAGE
    assert made.json["master_key"] in without_key.err
    shutil.copy2(lost / "master.key", new / "master.key")
    shutil.rmtree(lost)
    restored = ksefd("restore", str(file), "--json", data_dir=str(new))
    assert restored.code == OK, restored.err
    assert restored.json["installation"] == made.json["installation"]
    assert [one["nip"] for one in ksefd("tenant", "list", "--json", data_dir=str(new)).json] == [NIP]
    acts = ksefd("audit", "--json", data_dir=str(new)).out
    assert '"installation.restored"' in acts
    assert '"tenant.reconciliation-required"' in acts
    assert ksefd("restore", str(file), data_dir=str(new)).code == DENIED


@pytest.mark.parametrize("command", ["backup", "restore"])
@pytest.mark.parametrize("setting", ["database_url", "blob_url"])
def test_servers_are_refused_with_what_to_do_instead(ksefd: Ksefd, tmp_path: Path, command: str, setting: str) -> None:
    value = {"database_url": "postgresql://db/ksefd", "blob_url": "s3://bucket/ksefd"}[setting]
    ran = ksefd(command, str(tmp_path / "b.tar"), data_dir=str(tmp_path / "var"), **{setting: value})
    assert ran.code == USAGE
    for words in ("pg_dump", "bucket", "ksefd reconcile"):
        assert words in ran.err
    assert list(tmp_path.iterdir()) == []


def test_a_backup_of_no_installation_names_the_folder(ksefd: Ksefd, tmp_path: Path) -> None:
    ran = ksefd("backup", str(tmp_path / "b.tar"), data_dir=str(tmp_path / "var"))
    assert ran.code == USAGE
    assert str(tmp_path / "var") in ran.err
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_none_are_refused(ksefd: Ksefd, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no backup\n" * 100)
    folder = str(tmp_path / "var")
    assert ksefd("restore", str(tmp_path / "missing"), data_dir=folder).code == USAGE
    assert ksefd("restore", str(tmp_path), data_dir=folder).code == USAGE
    ran = ksefd("restore", str(tmp_path / "text"), data_dir=folder)
    assert ran.code == USAGE
    assert "no whole backup" in ran.err


def test_nothing_is_restored_under_a_running_service(ksefd: Ksefd, tmp_path: Path) -> None:
    (tmp_path / "b.tar").write_bytes(b"")
    lock = ServeLock(tmp_path)
    try:
        assert ksefd("restore", str(tmp_path / "b.tar"), data_dir=str(tmp_path)).code == UNREACHABLE
    finally:
        lock.close()


def test_a_service_is_not_started_on_half_a_restore(ksefd: Ksefd, tmp_path: Path) -> None:
    (tmp_path / "var" / "restoring").mkdir(parents=True)
    for command in ("migrate", "serve"):
        ran = ksefd(command, data_dir=str(tmp_path / "var"))
        assert ran.code == USAGE
        assert "was not finished" in ran.err


def test_a_full_disk_ends_a_restore_with_one_line(
    ksefd: Ksefd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "b.tar").write_bytes(b"")

    def full(restore: Restore, file: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Restore, "run", full)
    ran = ksefd("restore", str(tmp_path / "b.tar"), data_dir=str(tmp_path / "var"))
    assert ran.code == USAGE
    assert "No space left on device; run it again" in ran.err


def test_a_restore_acts_as_the_operator_until_it_ends(
    ksefd: Ksefd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "b.tar").write_bytes(b"")
    actors: list[Actor] = []

    def failing(restore: Restore, file: object) -> None:
        actors.append(current_actor())
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Restore, "run", failing)
    ksefd("restore", str(tmp_path / "b.tar"), data_dir=str(tmp_path / "var"))
    assert actors == [operator()]
    assert current_actor() == WORKER
