"""Blobs in a local folder, read as a stream."""

from pathlib import Path

import pytest

from app.store.blob_errors import BlobMissing
from app.store.blobs import BlobStore


async def test_a_stream_gives_every_byte_in_pieces_of_the_asked_size(tmp_path: Path) -> None:
    blobs, data = BlobStore(None, tmp_path), bytes(range(256)) * 10
    await blobs.put("parts/one", data)
    pieces = [piece async for piece in blobs.stream("parts/one", chunk_bytes=1_000)]
    assert [len(piece) for piece in pieces] == [1_000, 1_000, 560]
    assert b"".join(pieces) == data
    await blobs.put("parts/none", b"")
    assert [piece async for piece in blobs.stream("parts/none")] == []


async def test_a_stream_of_what_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(BlobMissing):
        await anext(BlobStore(None, tmp_path).stream("parts/none"))


async def test_a_stream_that_nobody_reads_to_its_end_lets_go_of_its_file(tmp_path: Path) -> None:
    """An open file that is collected is a warning, and a warning fails a test."""
    blobs = BlobStore(None, tmp_path)
    await blobs.put("parts/one", bytes(10))
    stream = blobs.stream("parts/one", chunk_bytes=4)
    assert await anext(stream) == bytes(4)
    await stream.aclose()  # type: ignore[attr-defined]  # a generator, as every asynchronous function with a yield
