"""Copies of pipes: a file has a size and is read twice, what comes through a pipe has none and is read once."""

import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from app.cli.exit_codes import UsageProblem

STDIN_NAME: Final = "stdin"
_STDIN: Final = Path("-")


class Inputs(NamedTuple):
    """Files and folders to read, and the names to show for them."""

    files: list[Path]
    shown: dict[Path, str]


@contextmanager
def pipes_copied(paths: Sequence[Path]) -> Iterator[Inputs]:
    """Yield the paths, each pipe replaced by a temporary copy of the same name.

    Pipes are `<(command)`, a FIFO, `/dev/stdin`, and `-` for the standard input. Raises UsageProblem for a device, a socket and a path that cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="ksefd-") as folder:
        files = [_regular(path, Path(folder) / str(number)) for number, path in enumerate(paths)]
        names = {file: STDIN_NAME if path == _STDIN else str(path) for file, path in zip(files, paths, strict=True)}
        yield Inputs(files, names)


def _regular(path: Path, folder: Path) -> Path:
    if path == _STDIN:
        folder.mkdir()
        return _copied(sys.stdin.buffer, folder / STDIN_NAME)
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
            return path
        if not stat.S_ISFIFO(mode):
            raise UsageProblem(f"{path} is neither a file, a folder nor a pipe")
        folder.mkdir()
        with path.open("rb") as pipe:
            return _copied(pipe, folder / path.name)
    except OSError as error:
        raise UsageProblem(f"cannot read {path}: {error.strerror}") from error


def _copied(pipe: BinaryIO, copy: Path) -> Path:
    with copy.open("wb") as file:
        shutil.copyfileobj(pipe, file)
    return copy
