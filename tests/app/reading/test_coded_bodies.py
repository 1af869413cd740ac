"""A gzip-coded body gives what the body itself would give, in flat memory, within the bounds of a tar.gz."""

import gzip
import io
import itertools
import json
import os
import random
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import UnreadableUpload
from app.reading.entry import RawEntry, decode_entry
from app.reading.kinds import BodyKind
from app.reading.limits import ReadingLimits
from app.reading.reader import read_entries

LIMITS = ReadingLimits(max_document_bytes=100_000)
Documents = list[tuple[str, bytes]]


def make_ndjson(documents: Documents) -> bytes:
    return b"".join(json.dumps({"name": n, "xml": c.decode()}).encode() + b"\n" for n, c in documents)


def make_tar(documents: Documents) -> bytes:
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w") as archive:
        for name, content in documents:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return body.getvalue()


def part(name: str, content: bytes) -> bytes:
    head = f'--B\r\nContent-Disposition: form-data; name="f"; filename="{name}"\r\n\r\n'
    return head.encode() + content + b"\r\n"


def make_multipart(documents: Documents) -> bytes:
    return b"".join(part(name, content) for name, content in documents) + b"--B--\r\n"


MAKERS = [
    (BodyKind.NDJSON, make_ndjson),
    (BodyKind.TAR, make_tar),
    (BodyKind.MULTIPART, make_multipart),
    (BodyKind.XML, lambda documents: documents[0][1]),
]
every_kind = pytest.mark.parametrize(("kind", "make"), MAKERS, ids=[kind.value for kind, _ in MAKERS])


def read(kind: BodyKind, coded: bytes, start_index: int = 0, limits: ReadingLimits = LIMITS) -> list[RawEntry]:
    source = io.BytesIO(coded)
    return list(
        read_entries(
            kind, source, size=len(coded), limits=limits, boundary="B", start_index=start_index, gzip_coded=True
        )
    )


def reason(kind: BodyKind, coded: bytes, limits: ReadingLimits = LIMITS) -> str:
    with pytest.raises(UnreadableUpload) as caught:
        read(kind, coded, limits=limits)
    return str((caught.value.errors or [{}])[0]["reason"])


DOCUMENTS = st.lists(
    st.text("<a/>ż ", min_size=1, max_size=2_000).map(lambda t: ("a.xml", ("<" + t).encode())), max_size=9
)


@every_kind
@given(documents=DOCUMENTS, start=st.integers(0, 10), cuts=st.lists(st.integers(0, 5_000), max_size=5))
@settings(max_examples=25)
def test_what_comes_out_is_what_the_body_itself_gives(
    kind: BodyKind, make: Callable[[Documents], bytes], documents: Documents, start: int, cuts: list[int]
) -> None:
    documents = documents or [("a.xml", b"<a/>")]
    body = make(documents)
    places = sorted({0, len(body), *(cut % len(body) for cut in cuts)})
    coded = b"".join(gzip.compress(body[a:b], 1) for a, b in itertools.pairwise(places))
    plain = list(read_entries(kind, io.BytesIO(body), size=len(body), limits=LIMITS, boundary="B", start_index=start))
    assert read(kind, coded, start) == plain


@every_kind
def test_a_coded_body_of_any_size_is_read_in_flat_memory(
    kind: BodyKind, make: Callable[[Documents], bytes], tmp_path: Path
) -> None:
    content = os.urandom(15_000).hex().encode()
    documents = [(f"{i}.xml", b"<%d>" % i + content) for i in range(1_500)]
    path = tmp_path / "coded"
    path.write_bytes(gzip.compress(make(documents), 1))
    with path.open("rb", buffering=0) as file:
        entries = read_entries(kind, file, size=path.stat().st_size, limits=LIMITS, boundary="B", gzip_coded=True)
        tracemalloc.start()
        try:
            count = sum(1 for _ in entries)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert count == (1 if kind is BodyKind.XML else 1_500)
    assert peak < 12_000_000


@pytest.mark.slow
def test_a_line_that_begins_far_before_its_end_is_read_whole() -> None:
    lines = [{"name": f"{i}.xml", "xml": "<" + "".join(random.Random(i).choices("ąęłż", k=49_000))} for i in range(40)]
    body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    read_back = [decode_entry(entry, 100_000).content for entry in read(BodyKind.NDJSON, gzip.compress(body))]
    assert read_back == [line["xml"].encode() for line in lines]


def test_a_line_too_long_to_hold_is_refused_alone() -> None:
    noise = os.urandom(4_000_000).hex().encode()
    body = b'{"xml": "<a/>"}\n' + noise + b'\n{"xml": "<c/>"}\n'
    first, long, last = read(BodyKind.NDJSON, gzip.compress(body, 1))
    assert (first.fault, last.payload) == (None, b'{"xml": "<c/>"}')
    assert long.fault is not None
    assert long.fault.rule == "line-too-long"


def test_an_archive_in_a_part_is_read_if_it_is_still_at_hand_and_refused_alone_if_not() -> None:
    def packed(size: int) -> bytes:
        body = io.BytesIO()
        with zipfile.ZipFile(body, "w") as archive:
            for i in range(size // 50_000 + 1):
                archive.writestr(f"{i}.xml", os.urandom(50_000))
        return body.getvalue()

    body = part("s.zip", packed(50_000)) + part("l.zip", packed(8_000_000)) + part("b.xml", b"<b/>") + b"--B--"
    *small, large, last = read(BodyKind.MULTIPART, gzip.compress(body, 1))
    assert [entry.name for entry in small] == ["0.xml", "1.xml"]
    assert large.fault is not None
    assert (large.fault.rule, large.name) == ("part-too-large-coded", "l.zip")
    assert last.payload == b"<b/>"


@every_kind
def test_a_cut_or_damage_is_noticed_and_what_came_before_stays(
    kind: BodyKind, make: Callable[[Documents], bytes]
) -> None:
    documents = [(f"{i}.xml", b"<" + os.urandom(40).hex().encode()) for i in range(4)]
    coded = gzip.compress(make(documents))
    for length in range(2, len(coded), 3):
        assert reason(kind, coded[:length]) == "gzip-truncated"
    assert reason(kind, coded[:-5] + bytes([coded[-5] ^ 1]) + coded[-4:]) == "gzip-damaged"
    assert reason(kind, coded + b"more" * 10) == "gzip-data-after-end"
    assert reason(kind, b"<a/>") == "not-a-gzip"


def test_lines_before_a_cut_are_given_out() -> None:
    body = make_ndjson([(f"{i}.xml", b"<" + os.urandom(500).hex().encode()) for i in range(300)])
    coded = gzip.compress(body)
    seen = []
    with pytest.raises(UnreadableUpload):  # noqa: PT012 - it is an iterator that raises
        for entry in read_entries(
            BodyKind.NDJSON, io.BytesIO(coded), size=len(coded) - 2_000, limits=LIMITS, gzip_coded=True
        ):
            seen.append(entry)  # noqa: PERF402 - what came before the error is wanted
    assert len(seen) > 250
    assert decode_entry(seen[-1], 100_000).content


@every_kind
def test_a_bomb_is_left_early(kind: BodyKind, make: Callable[[Documents], bytes]) -> None:
    coded = gzip.compress(make([("a.xml", b"<" + b"\n" * 90_000)] * 400))
    if kind is BodyKind.XML:
        coded = gzip.compress(b"<" + b" " * 30_000_000)
    assert reason(kind, coded, ReadingLimits(max_ratio=20)) == "gzip-ratio"


@pytest.mark.parametrize("kind", [BodyKind.ZIP, BodyKind.TARGZ])
def test_a_body_that_is_compressed_already_is_never_coded(kind: BodyKind) -> None:
    with pytest.raises(ValueError, match="cannot be gzip-coded"):
        read(kind, gzip.compress(b""))
