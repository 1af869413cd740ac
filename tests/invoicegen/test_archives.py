import base64
import io
import json
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable, Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from invoicegen.invoices import (
    GeneratedInvoice,
    generate_invoices,
    write_folder,
    write_ndjson,
    write_targz,
    write_zip,
)

Writer = Callable[[Any, Iterable[GeneratedInvoice]], int]
WRITERS: list[Writer] = [write_zip, write_targz, write_ndjson]


def invoices(count: int = 40) -> Iterator[GeneratedInvoice]:
    return generate_invoices(count, seller_nip="5265877635", issue_date=date(2026, 11, 22))


def read_back(writer: Writer, data: bytes) -> dict[str, bytes]:
    if writer is write_zip:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            assert archive.testzip() is None
            return {name: archive.read(name) for name in archive.namelist()}
    if writer is write_targz:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive_file:
            found = {}
            for member in archive_file:
                content = archive_file.extractfile(member)
                assert content is not None
                found[member.name] = content.read()
            return found
    rows = [json.loads(line) for line in data.splitlines()]
    return {row["name"]: base64.b64decode(row["xml_base64"]) for row in rows}


class Pipe(io.RawIOBase):
    """A place to write to that can neither seek nor tell, as a request body."""

    def __init__(self) -> None:
        self.received = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.received += data
        return len(data)


@pytest.mark.parametrize("writer", WRITERS)
def test_what_is_written_can_be_read_back(writer: Writer, tmp_path: Path) -> None:
    path = tmp_path / "out"
    assert writer(path, invoices()) == 40
    assert read_back(writer, path.read_bytes()) == {invoice.name: invoice.xml for invoice in invoices()}


@pytest.mark.parametrize("writer", WRITERS)
def test_an_unseekable_target_gets_the_same_bytes_and_stays_open(writer: Writer, tmp_path: Path) -> None:
    pipe = Pipe()
    writer(pipe, invoices())
    writer(tmp_path / "out", invoices())
    assert not pipe.closed
    assert bytes(pipe.received) == (tmp_path / "out").read_bytes()


@pytest.mark.parametrize("writer", WRITERS)
def test_nothing_to_write_still_gives_a_readable_archive(writer: Writer) -> None:
    buffer = io.BytesIO()
    assert writer(buffer, []) == 0
    assert read_back(writer, buffer.getvalue()) == {}


def test_a_zip_of_more_than_65535_entries_is_zip64() -> None:
    tiny = (GeneratedInvoice(str(number), f"{number}.xml", b"<a/>", "VAT") for number in range(66_000))
    buffer = io.BytesIO()
    assert write_zip(buffer, tiny) == 66_000
    with zipfile.ZipFile(buffer) as archive:
        names = archive.namelist()
        assert len(names) == 66_000
        assert archive.read(names[-1]) == b"<a/>"


def test_names_outside_ascii_and_over_a_hundred_characters_survive() -> None:
    document = GeneratedInvoice("1", f"{'ż' * 120}.xml", b"<a/>", "VAT")
    for writer in WRITERS:
        buffer = io.BytesIO()
        writer(buffer, [document])
        assert read_back(writer, buffer.getvalue()) == {document.name: document.xml}


@pytest.mark.slow
@pytest.mark.parametrize("writer", WRITERS)
def test_memory_does_not_grow_with_the_number_of_documents(writer: Writer, tmp_path: Path) -> None:
    def documents(count: int) -> Iterator[GeneratedInvoice]:
        content = b"<a>" + b"x" * 2000 + b"</a>"
        return (GeneratedInvoice("", f"{number:08d}.xml", content, "VAT") for number in range(count))

    def peak(count: int) -> int:
        tracemalloc.start()
        writer(tmp_path / "out", documents(count))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    # A ZIP's directory waits in a temporary file from 4 MB (some 70,000 entries) on.
    assert peak(8000) < peak(500) + 1_200_000


def test_a_folder_holds_one_file_for_each_document(tmp_path: Path) -> None:
    assert write_folder(tmp_path / "deep" / "er", invoices(5)) == 5
    found = {path.name: path.read_bytes() for path in (tmp_path / "deep" / "er").iterdir()}
    assert found == {invoice.name: invoice.xml for invoice in invoices(5)}
