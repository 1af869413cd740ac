"""Results are compressed as the client accepts it, as a stream."""

import gzip
import io
import random
from collections.abc import AsyncIterator

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from app.api.http.answer_coding import choose_coding, compressed
from app.store.store import Store
from tests.app.api.conftest import Caller, MovableClock
from tests.app.api.filled_store import fill


def unpack(coding: str, data: bytes) -> bytes:
    if coding == "gzip":
        return gzip.decompress(data)
    return zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)).read() if coding == "zstd" else data


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        (None, None),
        ("", None),
        ("gzip", "gzip"),
        ("X-GZIP", "gzip"),
        ("deflate, br", None),
        ("gzip, zstd", "zstd"),
        ("gzip;q=1.0, zstd;q=0.9", "gzip"),
        ("gzip ; Q=0", None),
        ("gzip;q=0, *", "zstd"),
        ("*;q=0", None),
        ("identity, gzip;q=0.5", None),
        ("identity;q=0.5, gzip;q=0.8", "gzip"),
        ("gzip;q=nan", None),
        ("gzip;q=2", None),
        ("gzip;q=x, zstd;q=0.001", "zstd"),
        (",;,gzip", "gzip"),
    ],
)
def test_the_coding_is_the_one_that_the_client_prefers(header: str | None, coding: str | None) -> None:
    assert choose_coding(header) == coding


@given(st.text(alphabet="gzipstd*;q=01.9, -\tx", max_size=80))
def test_any_header_chooses_a_coding_or_none(header: str) -> None:
    assert choose_coding(header) in {None, "gzip", "zstd"}


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
async def test_a_piece_is_asked_for_when_the_one_before_was_taken(coding: str) -> None:
    asked = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal asked
        for number in range(400):
            asked += 1
            # Not compressible, so that the compressor gives something soon.
            yield random.Random(number).randbytes(5_000)

    out = compressed(pieces(), coding)
    first = await anext(out)
    assert asked < 100
    rest = [piece async for piece in out]
    assert max(map(len, rest)) < 600_000
    assert len(unpack(coding, first + b"".join(rest))) == 400 * 5_000


@pytest.mark.parametrize("accept", ["application/x-ndjson", "text/csv"])
async def test_ten_thousand_results_are_the_same_with_and_without_a_coding(
    alpha: Caller, store: Store, clock: MovableClock, accept: str
) -> None:
    filled = await fill(store, alpha.tenant, clock(), count=10_000, finish=False)
    sizes = {}
    bodies = {}
    for coding in ("identity", "gzip", "zstd"):
        headers = {"Accept": accept, "Accept-Encoding": coding}
        async with alpha.http.stream("GET", f"/v1/uploads/{filled.upload}/results", headers=headers) as answer:
            raw = b"".join([piece async for piece in answer.aiter_raw()])
        assert answer.headers["vary"] == "Accept, Accept-Encoding"
        assert answer.headers.get("content-encoding", "identity") == coding
        sizes[coding] = len(raw)
        bodies[coding] = unpack(coding, raw)
    assert bodies["gzip"] == bodies["zstd"] == bodies["identity"]
    assert sizes["gzip"] < sizes["identity"] / 4
    assert sizes["zstd"] < sizes["identity"] / 4
