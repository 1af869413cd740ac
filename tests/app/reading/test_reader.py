"""What holds for every kind of body: the same documents, exact resuming, cuts that are noticed, flat memory."""

import base64
import gzip
import io
import json
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import obstore
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from obstore.store import MemoryStore

from app.errors import UnreadableUpload
from app.reading.entry import RawEntry, decode_entry
from app.reading.faults import EntryUnreadable
from app.reading.kinds import BodyKind
from app.reading.limits import ReadingLimits
from app.reading.reader import read_entries

Documents = list[tuple[str, bytes]]
BOUNDARY = "----boundary"
LIMITS = ReadingLimits(max_document_bytes=100_000)

NAMES = st.from_regex(r"\A[A-Za-z0-9_-]{1,30}( [a-z]{1,9})?\.xml\Z")
CONTENTS = st.one_of(st.binary(max_size=1_500), st.binary(max_size=30).map(lambda b: b * 900)).map(lambda b: b"<" + b)
DOCUMENTS = st.lists(st.tuples(NAMES, CONTENTS), min_size=1, max_size=8)


def make_zip(documents: Documents, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w", method) as archive:
        for name, content in documents:
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return body.getvalue()


def make_stored_zip(documents: Documents) -> bytes:
    return make_zip(documents, zipfile.ZIP_STORED)


def make_tar(documents: Documents) -> bytes:
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w") as archive:
        for name, content in documents:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return body.getvalue()


def make_targz(documents: Documents) -> bytes:
    return gzip.compress(make_tar(documents), 1)


def make_ndjson(documents: Documents) -> bytes:
    lines = [{"name": name, "xml_base64": base64.b64encode(content).decode()} for name, content in documents]
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def make_multipart(documents: Documents) -> bytes:
    body = b""
    for name, content in documents:
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        body += head.encode() + b"Content-Type: application/xml\r\n\r\n" + content + b"\r\n"
    return body + f"--{BOUNDARY}--\r\n".encode()


MAKERS: list[tuple[BodyKind, Callable[[Documents], bytes]]] = [
    (BodyKind.ZIP, make_zip),
    (BodyKind.ZIP, make_stored_zip),
    (BodyKind.TAR, make_tar),
    (BodyKind.TARGZ, make_targz),
    (BodyKind.NDJSON, make_ndjson),
    (BodyKind.MULTIPART, make_multipart),
]
every_kind = pytest.mark.parametrize(("kind", "make"), MAKERS, ids=lambda value: getattr(value, "__name__", ""))
ARCHIVES = [pair for pair in MAKERS if pair[0] is not BodyKind.NDJSON]


def read(kind: BodyKind, body: bytes, start_index: int = 0, limits: ReadingLimits = LIMITS) -> Iterator[RawEntry]:
    return read_entries(
        kind, io.BytesIO(body), size=len(body), limits=limits, boundary=BOUNDARY, start_index=start_index
    )


def read_until_broken(
    kind: BodyKind, body: bytes, limits: ReadingLimits = LIMITS
) -> tuple[list[RawEntry], UnreadableUpload | None]:
    """Return what can be read, and what stopped the reading."""
    seen: list[RawEntry] = []
    try:
        for entry in read(kind, body, limits=limits):
            seen.append(entry)  # noqa: PERF402 - what came before the error is wanted
    except UnreadableUpload as error:
        return seen, error
    return seen, None


@every_kind
@given(documents=DOCUMENTS)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_the_same_documents_come_out_that_went_in(
    kind: BodyKind, make: Callable[[Documents], bytes], documents: Documents
) -> None:
    entries = list(read(kind, make(documents)))
    assert [entry.index for entry in entries] == list(range(len(documents)))
    decoded = [decode_entry(entry, LIMITS.max_document_bytes) for entry in entries]
    assert [(document.name, document.content) for document in decoded] == documents


@every_kind
@given(documents=DOCUMENTS, start=st.integers(0, 9))
@settings(max_examples=25)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_resumed_reading_yields_the_tail(
    kind: BodyKind, make: Callable[[Documents], bytes], documents: Documents, start: int
) -> None:
    body = make(documents)
    assert list(read(kind, body, start)) == list(read(kind, body))[start:]


@every_kind
@given(
    documents=st.lists(st.tuples(NAMES, CONTENTS), min_size=1, max_size=3),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=6),
)
@settings(max_examples=60)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_damage_ends_in_a_reason_and_never_in_another_error(
    kind: BodyKind,
    make: Callable[[Documents], bytes],
    documents: Documents,
    flips: list[tuple[float, int]],
) -> None:
    body = bytearray(make(documents))
    for place, value in flips:
        body[int(place * len(body))] = value
    entries, _ = read_until_broken(kind, bytes(body))
    for entry in entries:
        with suppress(EntryUnreadable):
            assert len(decode_entry(entry, LIMITS.max_document_bytes).content) <= LIMITS.max_document_bytes


@pytest.mark.parametrize("kind", list(BodyKind))
@given(body=st.binary(max_size=3_000))
@settings(max_examples=40)
def test_noise_ends_in_a_reason_and_never_in_another_error(kind: BodyKind, body: bytes) -> None:
    read_until_broken(kind, body)


def test_a_blob_is_read_as_the_store_gives_it() -> None:
    documents = [(f"{i}.xml", b"<a>%d</a>" % i * 50) for i in range(100)]
    store = MemoryStore()
    for kind, make in MAKERS:
        body = make(documents)
        store.put("body", body)
        entries = read_entries(
            kind, obstore.open_reader(store, "body"), size=len(body), limits=LIMITS, boundary=BOUNDARY
        )
        assert [decode_entry(entry, 10_000).content for entry in entries] == [content for _, content in documents]


@pytest.mark.parametrize(("kind", "make"), ARCHIVES, ids=lambda value: getattr(value, "__name__", ""))
def test_a_cut_is_noticed_wherever_it_falls(kind: BodyKind, make: Callable[[Documents], bytes]) -> None:
    documents = [(f"{i}.xml", b"<a>%d</a>" % i * 30) for i in range(6)]
    body = make(documents)
    # A tar may lose all but the first of its zero blocks, a multipart body the line end after its last dashes.
    needless = {BodyKind.TAR: len(body) - 6 * 1024 - 512, BodyKind.MULTIPART: 2}.get(kind, 0)
    for length in range(0, len(body) - needless, 7 if len(body) > 3_000 else 1):
        entries, error = read_until_broken(kind, body[:length])
        assert error is not None
        seen = [decode_entry(entry, LIMITS.max_document_bytes) for entry in entries]
        assert [(document.name, document.content) for document in seen] == documents[: len(seen)]


@every_kind
def test_an_upload_of_too_many_entries_ends_there(kind: BodyKind, make: Callable[[Documents], bytes]) -> None:
    body = make([(f"{i}.xml", b"<a/>") for i in range(6)])
    limits = ReadingLimits(max_entries=5)
    entries, error = read_until_broken(kind, body, limits)
    assert [entry.index for entry in entries] == [0, 1, 2, 3, 4]
    assert error is not None
    with pytest.raises(UnreadableUpload, match="more than"):
        list(read(kind, body, start_index=5, limits=limits))
    assert len(list(read(kind, body, limits=ReadingLimits(max_entries=6)))) == 6


@every_kind
def test_an_upload_of_too_many_bytes_ends_there(kind: BodyKind, make: Callable[[Documents], bytes]) -> None:
    body = make([(f"{i}.xml", b"<" * 1_000) for i in range(6)])
    with pytest.raises(UnreadableUpload, match="more than"):
        list(read(kind, body, limits=ReadingLimits(max_total_bytes=5_999)))


@every_kind
def test_a_document_too_large_is_refused_alone(kind: BodyKind, make: Callable[[Documents], bytes]) -> None:
    documents = [("a.xml", b"<a/>"), ("b.xml", b"<" + bytes(range(256)) * 1_200), ("c.xml", b"<c/>")]
    entries = list(read(kind, make(documents)))
    assert [entry.fault.rule if entry.fault else None for entry in entries] == [
        None,
        "line-too-long" if kind is BodyKind.NDJSON else "entry-too-large",
        None,
    ]
    assert entries[1].payload == b""


def test_the_one_document_is_the_body() -> None:
    (entry,) = read(BodyKind.XML, b"<a/>")
    assert decode_entry(entry, 10).content == b"<a/>"
    assert list(read(BodyKind.XML, b"<a/>", 1)) == []
    (large,) = read(BodyKind.XML, bytes(100_001))
    assert large.fault is not None


def test_a_multipart_body_needs_its_boundary() -> None:
    with pytest.raises(ValueError, match="boundary"):
        read_entries(BodyKind.MULTIPART, io.BytesIO(), size=0, limits=LIMITS)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [BodyKind.ZIP, BodyKind.TAR, BodyKind.TARGZ, BodyKind.NDJSON, BodyKind.MULTIPART])
def test_memory_does_not_grow_with_the_number_of_entries(kind: BodyKind, tmp_path: Path) -> None:
    count = 3_000
    make = dict(reversed(MAKERS))[kind]
    documents = [(f"{i}.xml", b"<a>%d</a>" % i + bytes(range(256)) * 12) for i in range(count)]
    peaks = []
    for size in (count // 10, count):
        path = tmp_path / f"{size}"
        path.write_bytes(make(documents[:size]))
        with path.open("rb", buffering=0) as file:
            entries = read_entries(kind, file, size=path.stat().st_size, limits=LIMITS, boundary=BOUNDARY)
            tracemalloc.start()
            try:
                assert sum(1 for _ in entries) == size
                peaks.append(tracemalloc.get_traced_memory()[1])
            finally:
                tracemalloc.stop()
    assert peaks[1] < 5_000_000
