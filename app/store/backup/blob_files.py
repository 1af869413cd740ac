"""Blobs of a local folder for a backup, among them those that are removed while it runs.

A backup first takes the snapshot of the database, then copies blobs. A blob that a row of the snapshot names may be removed meanwhile. So
the removal of blobs holds a shared lock; while a backup has the lock, the blob is moved aside and kept until the backup ends.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from app.store.file_locks import LockHeld, lock_file

_WAIT_SECONDS: Final = 15.0
"""For blobs that are being removed."""
_UNFINISHED: Final = "#"
"""In the name of a file that obstore has not finished."""
_PROBES: Final = "health/"


class BlobFiles:
    """The folder of blobs, and beside it the folder of those that were removed during a backup."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept = folder.with_name(f"{folder.name}.kept")
        self._lock = folder.with_name(f"{folder.name}.lock")

    @contextmanager
    def removing(self) -> Iterator[bool]:
        """Hold the shared lock inside the block and yield True; yield False while a backup runs, when blobs are to be moved aside."""
        try:
            fd = lock_file(self._lock, exclusive=False)
        except LockHeld:
            yield False
            return
        try:
            yield True
        finally:
            os.close(fd)

    def move_aside(self, keys: Sequence[str]) -> None:
        """Keep removed blobs for the backup that runs."""
        for key in keys:
            target = self._kept / key
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                (self._folder / key).replace(target)
            except FileNotFoundError:
                # It was removed before, which is no error.
                continue

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Keep every blob that is removed inside the block. Raises LockHeld when another backup runs."""
        try:
            fd = lock_file(self._lock, exclusive=True, seconds=_WAIT_SECONDS)
        except LockHeld as error:
            raise LockHeld(f"another `ksefd backup` of {self._folder.parent} runs; wait for its end") from error
        try:
            shutil.rmtree(self._kept, ignore_errors=True)
            yield
            shutil.rmtree(self._kept, ignore_errors=True)
        finally:
            os.close(fd)

    def each_key(self) -> Iterator[str]:
        """Yield the key of each blob; one that is moved aside meanwhile may come twice."""
        for folder in (self._folder, self._kept):
            yield from (key for key in _files(folder, "") if _UNFINISHED not in key and not key.startswith(_PROBES))

    def open(self, key: str) -> IO[bytes] | None:
        """Open a blob, also one that was moved aside; None when it is gone."""
        for folder in (self._folder, self._kept, self._folder):
            try:
                return (folder / key).open("rb")
            except FileNotFoundError:
                continue
        return None

    def has(self, key: str) -> bool:
        """Return whether a blob is there, or was moved aside."""
        return (self._folder / key).is_file() or (self._kept / key).is_file()


def _files(folder: Path, prefix: str) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            found = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
    except FileNotFoundError:
        return
    for name, is_folder in found:
        if is_folder:
            yield from _files(folder / name, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}"
