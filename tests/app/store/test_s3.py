"""Blobs in a real S3 server."""

import hashlib
import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import anyio.to_thread
import pytest

from app.package.parts import verify_part
from app.reading.kinds import BodyKind
from app.reading.limits import ReadingLimits
from app.reading.reader import read_entries
from app.store.blob_errors import BlobMissing, BlobStoreUnavailable
from app.store.blob_files import Segment
from app.store.blobs import BlobStore
from tests.support.s3_server import BUCKET, S3Server, running_s3

MB = 1_000_000
PIECE = 65_536
BODIES = [(1, 1_000 * MB), (32, 100 * MB)] if os.environ.get("KSEFD_TORTURE") else [(32, 12 * MB)]
MOST_MEMORY = 200 * MB


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running_s3(tmp_path_factory.mktemp("s3")) as s3:
        yield s3


@pytest.fixture
def prefix() -> str:
    return uuid4().hex


@pytest.fixture
def blobs(server: S3Server, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BlobStore:
    for name, value in server.variables.items():
        monkeypatch.setenv(name, value)
    return BlobStore(f"s3://{BUCKET}/{prefix}", tmp_path)


def body(size: int) -> Iterator[bytes]:
    """Bytes that differ at every place, in the pieces in which a socket gives them."""
    block = hashlib.shake_256(b"body").digest(PIECE)
    for number in range(0, size, PIECE):
        yield (number.to_bytes(8, "big") + block[8:])[: size - number]


@pytest.mark.parametrize("size", [1, 900_000, 7 * MB, 8 << 20, (8 << 20) + 1, (16 << 20) + 1, 80 * MB])
async def test_a_body_of_any_size_is_stored_and_read_as_it_came(blobs: BlobStore, size: int) -> None:
    writer, sent = blobs.writer("uploads/one"), hashlib.sha256()
    for piece in body(size):
        sent.update(piece)
        await writer.write(piece)
    await writer.close()
    found, length = hashlib.sha256(), 0
    async for piece in blobs.stream("uploads/one"):
        found.update(piece)
        length += len(piece)
    assert (length, found.digest()) == (size, sent.digest())


async def test_a_body_is_not_there_before_it_is_whole(blobs: BlobStore, server: S3Server, prefix: str) -> None:
    writer = blobs.writer("uploads/one")
    for piece in body(20 * MB):
        await writer.write(piece)
    with pytest.raises(BlobMissing):
        await blobs.read("uploads/one")
    assert [key async for key in blobs.list_keys("uploads")] == []
    await writer.close()
    assert [key async for key in blobs.list_keys("uploads")] == ["uploads/one"]
    assert unfinished(server, prefix) == []


@pytest.mark.parametrize("size", [0, 900_000, 20 * MB])
async def test_a_body_that_breaks_off_leaves_nothing(
    blobs: BlobStore, server: S3Server, prefix: str, size: int
) -> None:
    writer = blobs.writer("uploads/one")
    for piece in body(size):
        await writer.write(piece)
    await writer.abort()
    assert [key async for key in blobs.list_keys("uploads")] == []
    assert unfinished(server, prefix) == []
    assert list(blobs.spool.iterdir()) == []


async def test_a_part_of_a_package_is_stored_from_a_thread_and_verified(blobs: BlobStore) -> None:
    size, digest = 30 * MB, hashlib.sha256()

    def write() -> None:
        writer = blobs.blocking_writer("sessions/part-01")
        for piece in body(size):
            digest.update(piece)
            writer.write(piece)
        writer.close()

    def verify() -> None:
        with blobs.open_blocking("sessions/part-01") as file:
            verify_part(iter(lambda: file.read(1 << 20), b""), size, digest.digest())

    await anyio.to_thread.run_sync(write)
    await anyio.to_thread.run_sync(verify)


async def test_an_archive_is_read_from_s3_out_of_order(blobs: BlobStore) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for number in range(50):
            archive.writestr(f"{number}.xml", hashlib.shake_256(bytes([number])).digest(200_000))
    await blobs.put("uploads/one", packed.getvalue()[: 3 * MB])
    await blobs.put("uploads/two", packed.getvalue()[3 * MB :])
    size = len(packed.getvalue())
    segments = [Segment(0, 3 * MB, "uploads/one"), Segment(3 * MB, size - 3 * MB, "uploads/two")]

    def read() -> list[Any]:
        file = blobs.open_joined_blocking(segments)
        limits = ReadingLimits(max_document_bytes=1 * MB)
        return [bytes(entry.payload) for entry in read_entries(BodyKind.ZIP, file, size=size, limits=limits)]

    assert await anyio.to_thread.run_sync(read) == [
        hashlib.shake_256(bytes([number])).digest(200_000) for number in range(50)
    ]


async def test_ranges_are_read_and_blobs_removed(blobs: BlobStore) -> None:
    await blobs.put("chunks/one", b"0123456789")
    assert await blobs.read("chunks/one", start=2, length=3) == b"234"
    assert blobs.read_blocking("chunks/one", start=8, length=2) == b"89"
    before = datetime.now(UTC) - timedelta(hours=1)
    assert [key async for key in blobs.list_keys("chunks", older_than=before)] == []
    await blobs.delete(["chunks/one", "chunks/none"])
    assert [key async for key in blobs.list_keys("chunks")] == []
    with pytest.raises(BlobMissing):
        await blobs.read("chunks/one")


async def test_maintenance_ends_an_upload_that_a_killed_process_left(
    blobs: BlobStore, server: S3Server, prefix: str
) -> None:
    left = server.client().create_multipart_upload(Bucket=BUCKET, Key=f"{prefix}/uploads/left")["UploadId"]
    server.client().upload_part(
        Bucket=BUCKET, Key=f"{prefix}/uploads/left", UploadId=left, PartNumber=1, Body=bytes(5 << 20)
    )
    other = server.client().create_multipart_upload(Bucket=BUCKET, Key=f"other-{prefix}/left")["UploadId"]
    assert await blobs.end_unfinished(older_than=datetime.now(UTC) - timedelta(days=1)) == 0
    assert await blobs.end_unfinished(older_than=datetime.now(UTC) + timedelta(minutes=1)) == 1
    assert unfinished(server, prefix) == []
    assert unfinished(server, f"other-{prefix}") == [other]


async def test_a_server_that_is_away_is_an_error_that_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.store.blobs._RETRIES", {"max_retries": 0})
    for name, value in S3Server("http://127.0.0.1:1", 0).variables.items():
        monkeypatch.setenv(name, value)
    away = BlobStore(f"s3://{BUCKET}", tmp_path)
    with pytest.raises(BlobStoreUnavailable):
        await away.put("uploads/one", b"1")
    writer = away.writer("uploads/one")
    await writer.write(bytes(8 << 20))
    with pytest.raises(BlobStoreUnavailable):
        await writer.write(bytes(8 << 20))
    await writer.abort()
    assert list(away.spool.iterdir()) == []


@pytest.mark.parametrize(("bodies", "size"), BODIES)
def test_the_memory_of_all_bodies_together_has_one_limit(
    blobs: BlobStore, prefix: str, tmp_path: Path, bodies: int, size: int
) -> None:
    found = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.support.many_bodies",
            f"s3://{BUCKET}/{prefix}",
            tmp_path,
            str(bodies),
            str(size),
        ],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    print(f"{bodies} bodies of {size} bytes: {int(found.stdout) / MB:.0f} MB of memory")
    assert int(found.stdout) < MOST_MEMORY


def unfinished(server: S3Server, prefix: str) -> list[str]:
    found = server.client().list_multipart_uploads(Bucket=BUCKET, Prefix=f"{prefix}/")
    return [upload["UploadId"] for upload in found.get("Uploads", [])]
