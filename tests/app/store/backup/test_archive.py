"""The file of a backup: read strictly, member by member, and used only when every hash and the seal fit."""

import io
import random
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from app.errors import ConfigurationError
from app.store.backup.archive import (
    DUMP,
    FACTS,
    README,
    ArchiveWriter,
    BackupDamaged,
    Facts,
    facts_content,
    new_file,
    verify,
)

KEY = b"k" * 32
MADE = Facts(
    format=1, version="0.1.0", made_at="2026-11-29T12:00:00+00:00", installation="0" * 32, key_check="ab" * 32, revision="0012"
)  # fmt: skip
BLOBS = {"blobs/chunks/1": b"", "blobs/schemas/schemat_FA(3)_v1-0E.xsd": b"x" * 512, "blobs/upo/a/1": b"y" * 2_000_000}


def backup(*, key: bytes = KEY, facts: bytes | None = None, blobs: dict[str, bytes] | None = None) -> bytes:
    file, sums = io.BytesIO(), io.BytesIO()
    archive = ArchiveWriter(file, sums)
    archive.add_small(README, b"read me")
    archive.add_small(FACTS, facts_content(MADE) if facts is None else facts)
    with archive.member(DUMP) as write:
        for _ in range(3):
            write(b"dump" * 1000)
    for name, content in (BLOBS if blobs is None else blobs).items():
        archive.add_small(name, content)
    archive.close(key)
    return file.getvalue()


def checked(content: bytes, *, key: bytes = KEY) -> Facts:
    return verify(io.BytesIO(content), io.BytesIO(), seal_key_of=lambda _: key)


def test_a_whole_backup_gives_its_facts_and_is_a_tar_that_others_read() -> None:
    assert checked(backup()) == MADE
    assert checked(backup(blobs={})) == MADE
    with tarfile.open(fileobj=io.BytesIO(backup())) as tar:
        names = tar.getnames()
        assert names == [README, FACTS, DUMP, *BLOBS, "SHA256SUMS", "SEAL"]
        sums = tar.extractfile("SHA256SUMS")
        assert sums is not None
        assert [line.split("  ")[1] for line in sums.read().decode().splitlines()] == names[:-2]


def test_a_backup_cut_off_anywhere_is_refused() -> None:
    whole = backup(blobs={"blobs/chunks/1": b"x" * 700})
    for length in [0, 1, 511, 512, 513, *range(600, len(whole), 500), len(whole) - 1025]:
        with pytest.raises(BackupDamaged):
            checked(whole[:length])


def test_a_changed_byte_anywhere_is_refused() -> None:
    whole = backup(blobs={"blobs/chunks/1": b"x" * 700})
    chance = random.Random(1)
    for place in chance.sample(range(len(whole)), 300):
        changed = bytearray(whole)
        changed[place] ^= 1 << chance.randrange(8)
        with pytest.raises((BackupDamaged, ConfigurationError)):
            checked(bytes(changed))


def test_the_damaged_member_is_named() -> None:
    whole = backup()
    place = whole.index(b"y" * 1000) + 500
    with pytest.raises(BackupDamaged, match="blobs/upo/a/1 of the backup is damaged"):
        checked(whole[:place] + b"z" + whole[place + 1 :])


def test_a_file_that_was_made_anew_without_the_master_key_is_refused() -> None:
    with pytest.raises(BackupDamaged, match="the seal of the backup does not fit"):
        checked(backup(key=b"another" * 5))


def test_something_behind_the_end_is_refused() -> None:
    with pytest.raises(BackupDamaged, match="something follows the end"):
        checked(backup() + b"\0" * 512)


def hostile(name: str, *, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> Callable[[], bytes]:
    def make() -> bytes:
        file = io.BytesIO()
        archive = ArchiveWriter(file, io.BytesIO())
        archive.add_small(README, b"")
        archive.add_small(FACTS, facts_content(MADE))
        archive.add_small(DUMP, b"")
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.size = kind, link, size
        return file.getvalue() + info.tobuf(tarfile.GNU_FORMAT)

    return make


@pytest.mark.parametrize(
    "make",
    [
        hostile("blobs/../../etc/passwd"),
        hostile("blobs/./x"),
        hostile("/etc/passwd"),
        hostile("blobs"),
        hostile("blobs/"),
        hostile("blobs//x"),
        hostile("blobs/a\nb"),
        hostile("postgres/postgresql.auto.conf"),
        hostile("master.key"),
        hostile(DUMP),
        hostile("blobs/link", kind=tarfile.SYMTYPE, link="/etc"),
        hostile("blobs/link", kind=tarfile.LNKTYPE, link="../master.key"),
        hostile("blobs/device", kind=tarfile.CHRTYPE),
        hostile("blobs/sparse", kind=tarfile.GNUTYPE_SPARSE),
        hostile("x" * 90, kind=tarfile.GNUTYPE_LONGNAME, size=1 << 40),
        hostile("pax", kind=tarfile.XHDTYPE, size=1 << 40),
        hostile("SEAL"),
    ],
)
def test_a_member_that_has_no_place_is_refused_before_it_is_read(make: Callable[[], bytes]) -> None:
    with pytest.raises(BackupDamaged, match="has no place in a backup"):
        checked(make())


@pytest.mark.parametrize(
    "facts",
    [b"", b"[]", b"{}", b'{"format": 2}', b'{"format": 1}', b"\xff", b" " * 70_000, b'{"format": 1, "made_at": 7}'],
)
def test_facts_that_are_none_are_refused(facts: bytes) -> None:
    with pytest.raises(BackupDamaged):
        checked(backup(facts=facts))


def test_another_format_says_which_one_is_read() -> None:
    with pytest.raises(BackupDamaged, match="has format 2, this version reads 1"):
        checked(backup(facts=b'{"format": 2}'))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04" + bytes(3000), bytes(20_000), b"text\n" * 300])
def test_a_file_that_is_no_backup_is_refused(content: bytes) -> None:
    with pytest.raises(BackupDamaged, match="no whole backup"):
        checked(content)


def test_a_file_appears_whole_with_mode_0600_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "backup.tar"
    path.write_bytes(b"the one before")

    def write_half() -> None:
        with new_file(path) as file:
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert path.read_bytes() == b"the one before"
    with new_file(path) as file:
        file.write(b"whole")
        assert path.read_bytes() == b"the one before"
    assert path.read_bytes() == b"whole"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(ConfigurationError, match="cannot write"), new_file(tmp_path / "missing" / "x"):
        pass
