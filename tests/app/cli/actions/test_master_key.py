"""`ksefd master-key rotate` on a real database: key files, repetitions, and what is refused with one line."""

import os
import secrets
from pathlib import Path

import pytest

from app.cli.exit_codes import DENIED, OK, USAGE
from app.settings import Settings
from app.store.installation import key_check_of, key_id, prepare_installation
from app.store.keys import key_file
from app.store.secrets import SecretBox, read_master_key
from tests.app.cli.actions.test_audit import acts
from tests.app.cli.conftest import Ksefd

NIP = "5265877635"


def _key_id(key: bytes) -> str:
    return key_id(key_check_of(SecretBox(key)))


@pytest.fixture
def in_use(settings: Settings, on_database: Ksefd) -> Path:
    """The key file of an installation with a tenant."""
    prepare_installation(settings)
    assert on_database("tenant", "add", NIP, "--name", "Firma", "--self-signed").code == OK
    return settings.data_dir / "master.key"


@pytest.fixture
def new_key(tmp_path: Path) -> Path:
    """A file with a new key."""
    path = tmp_path / "new.key"
    path.write_text(secrets.token_hex(32) + "\n")
    path.chmod(0o600)
    return path


def _rotate(on_database: Ksefd, new_key: Path, *options: str) -> tuple[int, str, str]:
    ran = on_database("master-key", "rotate", "--new-key-file", str(new_key), *options)
    return ran.code, ran.out, ran.err


def test_the_new_key_is_in_force_and_the_old_file_is_kept(on_database: Ksefd, in_use: Path, new_key: Path) -> None:
    before = in_use.read_bytes()
    assert _rotate(on_database, new_key)[0] == OK
    assert read_master_key(in_use).hex() == new_key.read_text().strip()
    assert (in_use.parent / "master.key.old").read_bytes() == before
    assert sorted(path.name for path in in_use.parent.glob("master.key*")) == ["master.key", "master.key.old"]
    assert in_use.stat().st_mode & 0o777 == 0o600
    assert on_database("tenant", "show", NIP, "--json").json["certificate_valid_until"]
    assert on_database("audit", "--verify").code == OK
    [rotated] = [act for act in acts(on_database) if act["act"] == "master-key.rotated"]
    assert rotated["details"]["new"] == _key_id(bytes.fromhex(new_key.read_text().strip()))


def test_a_repetition_changes_nothing(on_database: Ksefd, in_use: Path, new_key: Path) -> None:
    _rotate(on_database, new_key)
    old = (in_use.parent / "master.key.old").read_bytes()
    code, out, _ = _rotate(on_database, new_key)
    assert (code, len(out.splitlines())) == (OK, 1)
    assert "already" in out
    assert (in_use.parent / "master.key.old").read_bytes() == old
    assert on_database("master-key", "rotate", "--new-key-file", str(new_key), "--json").json["changed"] is False


def test_the_old_file_is_refused_with_both_ids(on_database: Ksefd, in_use: Path, new_key: Path) -> None:
    old = read_master_key(in_use)
    _rotate(on_database, new_key)
    (in_use.parent / "master.key.old").replace(in_use)
    ran = on_database("tenant", "list")
    assert ran.code == USAGE
    assert len(ran.err.splitlines()) == 1
    assert _key_id(old) in ran.err
    assert _key_id(read_master_key(new_key)) in ran.err


@pytest.mark.parametrize("content", [b"", b"x", b"00" * 31, b"00" * 33, b"not a key at all, just some words of text"])
def test_a_wrong_key_file_is_refused_with_one_line(
    on_database: Ksefd, in_use: Path, new_key: Path, content: bytes
) -> None:
    before = in_use.read_bytes()
    new_key.write_bytes(content)
    code, _, err = _rotate(on_database, new_key)
    assert (code, len(err.splitlines())) == (USAGE, 1)
    assert in_use.read_bytes() == before
    assert on_database("tenant", "list").code == OK


def test_a_missing_key_file_is_refused(on_database: Ksefd, in_use: Path, new_key: Path) -> None:
    new_key.unlink()
    assert _rotate(on_database, new_key)[0] == USAGE


def test_a_key_file_that_cannot_be_replaced_is_told_in_one_line(
    on_database: Ksefd, in_use: Path, new_key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = in_use.read_bytes()

    def refuse(self: Path, target: Path) -> None:
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", refuse)
        code, out, err = _rotate(on_database, new_key)
    assert (code, err, len(out.splitlines())) == (OK, "", 1)
    assert "put the new file there before the next start" in out
    assert in_use.read_bytes() == before
    assert [path.name for path in in_use.parent.glob("master.key*")] == ["master.key"]
    assert on_database("tenant", "list").code == USAGE
    in_use.write_bytes(new_key.read_bytes())
    assert on_database("tenant", "show", NIP).code == OK


@pytest.mark.parametrize("killed_at", ["replace_key_file", "end_hand_over"])
def test_a_change_that_was_killed_is_finished_by_the_same_command(
    on_database: Ksefd, in_use: Path, new_key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: str
) -> None:
    class Killed(BaseException):
        pass

    def kill(*_: object) -> None:
        raise Killed

    places = {"replace_key_file": "app.cli.actions.master_key.replace_key_file"}
    with monkeypatch.context() as patched:
        patched.setattr(places.get(killed_at, f"app.store.keys.store.KeyStore.{killed_at}"), kill)
        with pytest.raises(BaseException):  # noqa: B017, PT011 - the group in which the kill arrives
            _rotate(on_database, new_key)
    assert on_database("tenant", "show", NIP).code == OK
    other = tmp_path / "other.key"
    other.write_text(secrets.token_hex(32))
    other.chmod(0o600)
    refused = _rotate(on_database, other)
    if killed_at == "replace_key_file":
        assert refused[0] == DENIED
        assert _key_id(read_master_key(new_key)) in refused[2]
        assert _rotate(on_database, new_key)[0] == OK
        assert read_master_key(in_use) == read_master_key(new_key)
        assert (in_use.parent / "master.key.old").exists()
    else:
        # The file was in place: the first change is ended, and the next one made.
        assert refused[0] == OK
        assert read_master_key(in_use) == read_master_key(other)
    assert on_database("audit", "--verify").code == OK


def test_the_new_file_belongs_to_the_user_of_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "master.key"
    path.write_text("0" * 64)
    given: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    monkeypatch.setattr(os, "fchown", lambda _, uid, gid: given.append((uid, gid)))
    key_file.replace_key_file(path, b"k" * 32)
    owner = path.stat()
    assert given == [(owner.st_uid, owner.st_gid)] * 2
    assert read_master_key(path) == b"k" * 32
