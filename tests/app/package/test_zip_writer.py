"""The ZIP is one that others read, is always the same, and stays inside its limits."""

import io
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.package.entries import PackageEntry, compress_entry
from app.package.errors import MalformedEntry, PackageLimitExceeded
from app.package.limits import ZIP_MAX_BYTES, ZIP_MAX_ENTRIES
from app.package.zip_writer import zip_package, zip_size

NAMES = st.from_regex(r"\A[A-Za-z0-9._-]{1,60}\.xml\Z")
DOCUMENTS = st.dictionaries(NAMES, st.binary(max_size=400), min_size=1, max_size=12)


def entries_of(documents: dict[str, bytes]) -> list[PackageEntry]:
    return [compress_entry(name, document) for name, document in documents.items()]


@given(DOCUMENTS)
def test_the_standard_library_reads_the_same_documents_in_the_same_order(documents: dict[str, bytes]) -> None:
    packed = b"".join(zip_package(entries_of(documents)))
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert archive.testzip() is None
        assert [(name, archive.read(name)) for name in archive.namelist()] == list(documents.items())


@given(DOCUMENTS)
def test_the_size_is_known_beforehand(documents: dict[str, bytes]) -> None:
    entries = entries_of(documents)
    expected = zip_size((len(entry.name), len(entry.compressed)) for entry in entries)
    assert len(b"".join(zip_package(entries))) == expected


@given(DOCUMENTS)
def test_the_same_entries_give_the_same_bytes(documents: dict[str, bytes]) -> None:
    entries = entries_of(documents)
    views = [PackageEntry(e.name, e.crc32, e.size, memoryview(e.compressed)) for e in entries]
    assert b"".join(zip_package(entries)) == b"".join(zip_package(iter(views)))


def test_an_entry_has_nothing_that_only_some_readers_know() -> None:
    packed = b"".join(zip_package([compress_entry("a.xml", b"<a/>")]))
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        info = archive.getinfo("a.xml")
    assert (info.flag_bits, info.extra, info.comment, info.create_system) == (0, b"", b"", 0)
    assert (info.extract_version, info.compress_type, info.external_attr) == (20, zipfile.ZIP_DEFLATED, 0)
    assert info.date_time == (1980, 1, 1, 0, 0, 0)


def test_large_packages_come_in_blocks() -> None:
    entry = compress_entry("a.xml", bytes(range(256)) * 20)
    entries = (PackageEntry(f"{i}.xml", entry.crc32, entry.size, entry.compressed) for i in range(10_000))
    blocks = list(zip_package(entries))
    assert len(blocks) < 10
    assert all(len(block) >= 1 << 20 for block in blocks[:-1])
    with zipfile.ZipFile(io.BytesIO(b"".join(blocks))) as archive:
        assert len(archive.namelist()) == 10_000


def test_an_empty_package_is_refused() -> None:
    with pytest.raises(PackageLimitExceeded, match="at least one"):
        list(zip_package([]))


def test_a_repeated_name_is_refused() -> None:
    with pytest.raises(MalformedEntry, match="Two entries"):
        list(zip_package([compress_entry("a.xml", b"1"), compress_entry("a.xml", b"2")]))


@pytest.mark.parametrize(("crc", "size"), [(-1, 4), (1 << 32, 4), (0, -1), (0, 1 << 32)])
def test_a_number_out_of_range_is_refused(crc: int, size: int) -> None:
    with pytest.raises(MalformedEntry, match="out of range"):
        list(zip_package([PackageEntry("a.xml", crc, size, b"\3\0")]))


def test_one_entry_too_many_is_refused() -> None:
    def entries(count: int) -> Iterator[PackageEntry]:
        return (PackageEntry(f"{i}.xml", 0, 0, b"\3\0") for i in range(count))

    assert sum(map(len, zip_package(entries(ZIP_MAX_ENTRIES)))) > 0
    with pytest.raises(PackageLimitExceeded, match="65535"):
        for _ in zip_package(entries(ZIP_MAX_ENTRIES + 1)):
            pass


def test_four_gibibytes_are_never_reached() -> None:
    shared = memoryview(bytes(1 << 24))
    written = 0
    with pytest.raises(PackageLimitExceeded, match="4 GiB"):  # noqa: PT012 - how far it got matters
        for block in zip_package(PackageEntry(f"{i}.xml", 0, 0, shared) for i in range(1_000)):
            written += len(block)
    assert ZIP_MAX_BYTES - (1 << 25) < written <= ZIP_MAX_BYTES


@pytest.mark.skipif(shutil.which("unzip") is None, reason="needs the unzip program")
def test_unzip_finds_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "package.zip"
    path.write_bytes(b"".join(zip_package(entries_of({f"{i}.xml": b"<a>%d</a>" % i for i in range(50)}))))
    done = subprocess.run(["unzip", "-tq", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
