"""Writes many bodies to an object store at the same time and prints by how many bytes the memory of the process grew at most."""

import asyncio
import sys
from pathlib import Path

import anyio
import anyio.lowlevel

from app.store.blobs import BlobStore

_PIECE = bytes(65_536)


async def _write(blobs: BlobStore, number: int, size: int) -> None:
    writer = blobs.writer(f"uploads/{number}")
    for done in range(0, size, len(_PIECE)):
        await writer.write(_PIECE[: size - done])
        # As a socket would: the other bodies go on between two pieces.
        await anyio.lowlevel.checkpoint()
    await writer.close()


async def _write_all(url: str, folder: Path, bodies: int, size: int) -> None:
    blobs = BlobStore(url, folder)
    await blobs.put("health/probe", b"ready")
    before = _peak_bytes()
    async with anyio.create_task_group() as tasks:
        for number in range(bodies):
            tasks.start_soon(_write, blobs, number, size)
    print(_peak_bytes() - before)


def _peak_bytes() -> int:
    """The peak of this program; what `getrusage` says is also that of the process that started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


if __name__ == "__main__":
    asyncio.run(_write_all(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
