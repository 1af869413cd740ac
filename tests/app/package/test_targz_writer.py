"""The tar.gz is one that others read, in the plain ustar form that KSeF is known to take."""

import gzip
import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.package.entries import PackageEntry, compress_entry
from app.package.errors import MalformedEntry, PackageLimitExceeded
from app.package.targz_writer import targz_package
from app.package.zip_writer import zip_package

NAMES = st.from_regex(r"\A[A-Za-z0-9._-]{1,96}\.xml\Z")
DOCUMENTS = st.dictionaries(NAMES, st.binary(max_size=1_200), min_size=1, max_size=12)


def entries_of(documents: dict[str, bytes]) -> list[PackageEntry]:
    return [compress_entry(name, document) for name, document in documents.items()]


@given(DOCUMENTS)
def test_the_standard_library_reads_the_same_documents_in_the_same_order(documents: dict[str, bytes]) -> None:
    packed = b"".join(targz_package(entries_of(documents)))
    read = []
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as archive:
        for member in archive:
            file = archive.extractfile(member)
            assert file is not None
            read.append((member.name, file.read()))
            assert (member.type, member.mode, member.uid, member.gid) == (tarfile.REGTYPE, 0o644, 0, 0)
            assert not member.pax_headers
    assert read == list(documents.items())


@given(DOCUMENTS)
def test_the_same_entries_give_the_same_bytes(documents: dict[str, bytes]) -> None:
    entries = entries_of(documents)
    assert b"".join(targz_package(entries)) == b"".join(targz_package(iter(entries)))


def test_the_tar_ends_in_two_zero_blocks_and_the_gzip_has_no_name_and_no_time() -> None:
    packed = b"".join(targz_package([compress_entry("a.xml", b"<a/>")]))
    assert packed[:8] == b"\x1f\x8b\x08\0\0\0\0\0"
    tar = gzip.decompress(packed)
    assert len(tar) == 512 + 512 + 1024
    assert tar[-1024:] == bytes(1024)
    assert tar[257:265] == b"ustar\x0000"


def test_similar_invoices_become_much_smaller_than_in_a_zip() -> None:
    shared = "".join(f"<Pole{i}>{i * 7919}</Pole{i}>" for i in range(150))
    documents = {f"{i}.xml": f"<Faktura><P_2>{i}</P_2>{shared}</Faktura>".encode() for i in range(300)}
    targz = sum(map(len, targz_package(entries_of(documents))))
    assert targz * 5 < sum(map(len, zip_package(entries_of(documents))))


def test_an_empty_package_is_refused() -> None:
    with pytest.raises(PackageLimitExceeded, match="at least one"):
        list(targz_package([]))


def test_a_repeated_name_is_refused() -> None:
    with pytest.raises(MalformedEntry, match="Two entries"):
        list(targz_package([compress_entry("a.xml", b"1"), compress_entry("a.xml", b"2")]))


def test_an_entry_that_is_not_what_its_record_says_is_refused() -> None:
    good = compress_entry("a.xml", b"<a/>")
    with pytest.raises(MalformedEntry):
        list(targz_package([PackageEntry("a.xml", good.crc32 ^ 1, good.size, good.compressed)]))
    with pytest.raises(MalformedEntry):
        list(targz_package([PackageEntry("a.xml", good.crc32, good.size + 1, good.compressed)]))


@pytest.mark.skipif(shutil.which("tar") is None, reason="needs the tar program")
def test_tar_lists_the_names_without_a_word_of_complaint(tmp_path: Path) -> None:
    path = tmp_path / "package.tar.gz"
    names = [f"{i}.xml" for i in range(50)] + ["x" * 96 + ".xml"]
    path.write_bytes(b"".join(targz_package(entries_of(dict.fromkeys(names, b"<a/>" * 300)))))
    done = subprocess.run(["tar", "-tzf", str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, names, "")
