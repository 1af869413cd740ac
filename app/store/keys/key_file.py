"""Replacing the file of the master key: the new one takes its place at once, and the old one stays beside it."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

_MODE: Final = 0o600


def replace_key_file(path: Path, key: bytes) -> Path:
    """Put a key in the place of a file, durably; return the path of the old one, which has `.old` added to its name.

    At each moment `path` is one of the two files whole. Both have the owner of the old one and mode 0600. Raises OSError when the folder
    cannot be written; then nothing was replaced. One process at a time may do it; what a killed one left is used up by the next.
    """
    owner = path.stat()
    old, new, kept = (path.with_name(path.name + suffix) for suffix in (".old", ".new", ".old.new"))
    try:
        _write(new, key.hex().encode() + b"\n", owner)
        _write(kept, path.read_bytes(), owner)
        kept.replace(old)
        new.replace(path)
    except OSError:
        for made in (new, kept):
            with suppress(OSError):
                made.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return old


def _write(path: Path, content: bytes, owner: os.stat_result) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _MODE), "wb") as file:
        file.write(content)
        file.flush()
        if (os.geteuid(), os.getegid()) != (owner.st_uid, owner.st_gid):
            os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
        os.fsync(file.fileno())
