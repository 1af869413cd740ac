"""Free space on the disks of the blobs and the embedded database, and the reserves that each kind of work leaves free.

A database that cannot write stops the whole service, and packing needs space before a package can be sent. So intake stops first,
packing next, and the database never. With an object store by URL no disk is checked.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

import anyio.to_thread

from app.errors import TryLater

_MOST_RESERVED_BYTES: Final = 1_000_000_000
_MOST_RESERVED_SHARE: Final = 0.05
_GOOD_FOR_SECONDS: Final = 1.0


class DiskLow(TryLater):
    """The disk is nearly full; nothing new is taken until there is room, and nothing is lost."""

    code = "disk-low"
    title = "Disk low"
    retry_after_seconds = 60


class Reserve(Enum):
    """The share of the reserve that a kind of work leaves free."""

    UPLOADS = 1.0
    READING = 0.5
    PACKING = 0.25


@dataclass(frozen=True, slots=True)
class Space:
    """Bytes of the file system that is nearest to its reserve."""

    free: int
    reserved: int
    """A twentieth of it, a gigabyte at most."""

    def lacks(self, reserve: Reserve, more: int = 0) -> bool:
        """Return whether `more` bytes would use a part of this reserve."""
        return self.free - more < self.reserved * reserve.value


def space_of(folders: Sequence[Path]) -> Space | None:
    """Read the free space of the file systems of some folders; None when none of them can be read."""
    spaces: list[Space] = []
    for folder in folders:
        try:
            status = os.statvfs(folder)
        except OSError:
            # A missing folder is not full; the next write there raises the right error.
            continue
        size = status.f_blocks * status.f_frsize
        spaces.append(
            Space(status.f_bavail * status.f_frsize, min(_MOST_RESERVED_BYTES, int(size * _MOST_RESERVED_SHARE)))
        )
    return min(spaces, key=lambda space: space.free - space.reserved, default=None)


class Disk:
    """The disk under the blobs and the embedded database, read at most once a second."""

    def __init__(self, folders: Sequence[Path]) -> None:
        """With no `folders`, `require` never raises."""
        self._folders = tuple(folders)
        self._seen: tuple[float, Space | None] | None = None

    async def space(self) -> Space | None:
        """Return the free space, at most a second old; None without folders."""
        if not self._folders:
            return None
        now = time.monotonic()
        if self._seen is None or now - self._seen[0] >= _GOOD_FOR_SECONDS:
            # A network drive may take its time.
            self._seen = (now, await anyio.to_thread.run_sync(space_of, self._folders))
        return self._seen[1]

    async def require(self, reserve: Reserve) -> None:
        """Raise DiskLow when no space is free beyond the reserve that this kind of work leaves free."""
        space = await self.space()
        if space is not None and space.lacks(reserve):
            raise DiskLow(
                f"the disk has {space.free} bytes left; the last ones are kept for the database and for sending"
            )
