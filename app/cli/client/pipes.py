"""Copies of pipes: a file has a size and is read twice, what comes through a pipe has none and is read once."""

import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from app.cli.exit_codes import UsageProblem


@contextmanager
def pipes_copied(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Yield the paths, each pipe (`<(command)`, `/dev/stdin`, a FIFO) replaced by a temporary copy of the same name.

    Raises UsageProblem for a device, a socket and a path that cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="ksefd-") as folder:
        yield [_regular(path, Path(folder) / str(number)) for number, path in enumerate(paths)]


def _regular(path: Path, folder: Path) -> Path:
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
            return path
        if not stat.S_ISFIFO(mode):
            raise UsageProblem(f"{path} is neither a file, a folder nor a pipe")
        folder.mkdir()
        copy = folder / path.name
        with path.open("rb") as pipe, copy.open("wb") as file:
            shutil.copyfileobj(pipe, file)
    except OSError as error:
        raise UsageProblem(f"cannot read {path}: {error.strerror}") from error
    return copy
