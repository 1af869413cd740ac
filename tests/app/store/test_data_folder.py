"""The data folder: its user's alone, in every corner, from the first start on."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from app.errors import ConfigurationError
from app.store.data_folder import prepare_data_folder
from tests.support.second_user import attempt_as_nobody

_LOOK = """
import os, sys
for path in sys.argv[1:]:
    try:
        print(os.listdir(path) if os.path.isdir(path) else open(path, "rb").read(1))
    except OSError as error:
        print(type(error).__name__)
"""


def modes(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): stat.S_IMODE(path.lstat().st_mode)
        for path in [folder, *folder.rglob("*")]
        if not path.is_symlink()
    }


def test_a_new_folder_is_its_users_alone(tmp_path: Path) -> None:
    made = prepare_data_folder(tmp_path / "above" / "var")
    assert all(mode & 0o077 == 0 for mode in modes(made).values())


def test_an_older_folder_that_all_could_read_is_corrected_to_its_last_file(tmp_path: Path) -> None:
    folder = tmp_path / "var"
    (folder / "blobs" / "upo").mkdir(parents=True)
    for name in ("blobs/upo/1", "postgres.users", "program"):
        (folder / name).write_text("x")
    (folder / "program").chmod(0o755)
    outside = tmp_path / "outside"
    outside.write_text("x")
    outside.chmod(0o644)
    (folder / "blobs" / "link").symlink_to(outside)
    prepare_data_folder(folder)
    assert modes(folder) == {
        ".": 0o700, "blobs": 0o700, "blobs/upo": 0o700, "blobs/upo/1": 0o600, "postgres.users": 0o600, "program": 0o600,
        ".modes-corrected": 0o600,
    }  # fmt: skip
    assert stat.S_IMODE(outside.stat().st_mode) == 0o644


def test_another_user_can_neither_list_nor_read(tmp_path: Path) -> None:
    folder = prepare_data_folder(tmp_path / "var")
    (folder / "blobs").mkdir()
    (folder / "blobs" / "invoice").write_text("x")
    tmp_path.chmod(0o755)
    looked = attempt_as_nobody("reading the data folder", _LOOK, folder, folder / "blobs", folder / "blobs" / "invoice")
    assert looked is None or set(looked.split()) <= {"PermissionError"}


def test_a_folder_opened_again_is_corrected_again(tmp_path: Path) -> None:
    folder = prepare_data_folder(tmp_path / "var")
    folder.chmod(0o755)
    (folder / "copied").write_text("x")
    (folder / "copied").chmod(0o644)
    prepare_data_folder(folder)
    assert all(mode & 0o077 == 0 for mode in modes(folder).values())


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigurationError, match=r"KSEFD_DATA_DIR: cannot use .*file/var"):
        prepare_data_folder(tmp_path / "file" / "var")


def test_root_leaves_the_folder_of_another_user_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "var"
    folder.mkdir(mode=0o755)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(Path, "stat", lambda path, **_: os.stat_result((0o40755, 0, 0, 1, 1, 1, 0, 0, 0, 0)))
    with pytest.raises(
        ConfigurationError, match=r"belongs to daemon|belongs to user 1|belongs to \w+: run the command"
    ):
        prepare_data_folder(folder)


@pytest.mark.slow
def test_what_a_process_of_ours_makes_is_its_users_alone_whatever_the_shell_said(tmp_path: Path) -> None:
    folder = tmp_path / "var"
    command = [sys.executable, "-m", "app.cli.main", "migrate"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KSEFD_")}
    subprocess.run(command, env=environment | {"KSEFD_DATA_DIR": str(folder)}, check=True, umask=0, timeout=120)
    found = modes(folder)
    assert {"master.key", "postgres/PG_VERSION", "postgres/log", "postgres/pg_hba.conf"} <= set(found)
    assert {path: oct(mode) for path, mode in found.items() if mode & 0o077} == {}
