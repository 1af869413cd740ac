"""Upload bodies from the paths of a command line: each archive as it is, all loose files as one tar made while sending."""

import gzip
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.cli.client.folder_walk import LooseFile, PassedOver, loose_files
from app.cli.exit_codes import UsageProblem
from app.reading.kinds import BodyKind, sniff

BLOCK_BYTES: Final = 1 << 18
_HEAD_BYTES: Final = 512
_KNOWN: Final = "a folder, .xml, .zip, .tar.gz, .tar, .ndjson or .ndjson.gz"


@dataclass(frozen=True, slots=True)
class Body:
    """Body of one upload. `pieces` yields the same bytes on each call, unless the files change."""

    label: str
    content_type: str
    size: int
    """Total size in bytes."""
    pieces: Callable[[], Iterator[bytes]]
    path: Path | None = None
    """The file with the body's bytes; None for a tar made while sending."""

    def pieces_from(self, start: int) -> Iterator[bytes]:
        """Yield the bytes from an offset to the end."""
        if self.path is not None:
            yield from _blocks(self.path, start)
            return
        for piece in self.pieces():
            if start < len(piece):
                yield piece[start:]
            start = max(0, start - len(piece))


@dataclass(frozen=True, slots=True)
class Found:
    """The files that the paths of a command line name."""

    loose: tuple[Path, ...]
    """XML files and folders with XML files, in the given order."""
    archives: tuple[tuple[Path, BodyKind], ...]


def sort_paths(paths: Sequence[Path], shown: Mapping[Path, str] | None = None) -> Found:
    """Sort the paths into loose XML and archives. `shown` has the names for messages.

    Raises UsageProblem for a path that is neither or does not exist.
    """
    loose: list[Path] = []
    archives: list[tuple[Path, BodyKind]] = []
    for path in paths:
        if path.is_dir():
            loose.append(path)
            continue
        try:
            with path.open("rb") as file:
                head = file.read(_HEAD_BYTES)
        except OSError as error:
            raise UsageProblem(f"cannot read {path}: {error.strerror}") from error
        # A file named .xml is an invoice even if its content is damaged: the check gives the verdict on it.
        kind = BodyKind.XML if path.suffix.lower() == ".xml" else sniff(path.name, head)
        if kind is None:
            raise UsageProblem(f"{(shown or {}).get(path, str(path))} has no known format: give {_KNOWN}")
        if kind is BodyKind.XML:
            loose.append(path)
        else:
            archives.append((path, kind))
    return Found(tuple(loose), tuple(archives))


def plan_bodies(found: Found, passed_over: PassedOver | None = None) -> list[Body]:
    """Plan the uploads: one for all loose files, one for each archive; what no upload takes is noted in `passed_over`.

    Raises UsageProblem if there is no file named .xml, not even one that cannot be read.
    """
    noted = PassedOver() if passed_over is None else passed_over
    bodies = [_archive_body(path, kind) for path, kind in found.archives]
    count = size = 0
    for file in loose_files(found.loose, noted):
        length = _size_of(file.path)
        size += len(tar_header(file.name, length)) + length + -length % tarfile.BLOCKSIZE
        count += 1
    if count:
        label = found.loose[0].name or str(found.loose[0]) if len(found.loose) == 1 else f"{count:,} files"
        body = Body(
            label,
            BodyKind.TAR.content_type,
            size + len(TAR_END),
            lambda: tar_pieces(_opened(loose_files(found.loose))),
        )
        bodies.insert(0, body)
    if not bodies and not noted.misses_invoices:
        raise UsageProblem("there is no .xml file in what was given")
    return bodies


TAR_END: Final = bytes(2 * tarfile.BLOCKSIZE)


def tar_header(name: str, size: int) -> bytes:
    """Build the tar header of one regular file. It has no time, so the same name and size give the same bytes."""
    header = tarfile.TarInfo(name)
    header.size = size
    return header.tobuf(tarfile.PAX_FORMAT, "utf-8", "replace")


def tar_pieces(documents: Iterable[tuple[str, int, Iterable[bytes]]]) -> Iterator[bytes]:
    """Yield a tar of invoices (name, size, bytes in pieces) in blocks of about 256 KiB.

    Raises UsageProblem when an invoice has fewer bytes than announced: the body then ends early, and the service rejects
    it as a whole.
    """
    block = bytearray()
    for name, size, pieces in documents:
        block += tar_header(name, size)
        missing = size
        for piece in pieces:
            block += piece[:missing]
            missing -= min(len(piece), missing)
            if len(block) >= BLOCK_BYTES:
                yield bytes(block)
                block.clear()
        if missing:
            raise UsageProblem(f"{name} became shorter while it was being sent; nothing of this upload was taken")
        block += bytes(-size % tarfile.BLOCKSIZE)
    yield bytes(block) + TAR_END


def inside_gzip(path: Path) -> BodyKind | None:
    """Return the format inside a gzip file that is not a tar: NDJSON or XML, by its first bytes; else None."""
    try:
        with gzip.open(path) as opened:
            kind = sniff("", opened.read(_HEAD_BYTES))
    except (OSError, EOFError, zlib.error):
        # The gzip data are damaged; the reader of the body reports the error.
        return None
    return kind if kind in {BodyKind.NDJSON, BodyKind.XML} else None


def _archive_body(path: Path, kind: BodyKind) -> Body:
    inside = inside_gzip(path) if kind is BodyKind.TARGZ else None
    if inside is not None:
        # The service reads application/gzip as tar.gz, so this content is sent uncompressed.
        return Body(path.name, inside.content_type, sum(map(len, _inflated(path))), lambda: _inflated(path))
    return Body(path.name, kind.content_type, _size_of(path), lambda: _blocks(path), path)


def _inflated(path: Path) -> Iterator[bytes]:
    try:
        with gzip.open(path) as opened:
            while block := opened.read(BLOCK_BYTES):
                yield block
    except (OSError, EOFError, zlib.error) as error:
        raise UsageProblem(f"cannot inflate {path}: {error}") from error


def _opened(files: Iterable[LooseFile]) -> Iterator[tuple[str, int, Iterable[bytes]]]:
    for file in files:
        yield file.name, _size_of(file.path), _blocks(file.path)


def _blocks(path: Path, start: int = 0) -> Iterator[bytes]:
    try:
        with path.open("rb", buffering=0) as file:
            file.seek(start)
            while block := file.read(BLOCK_BYTES):
                yield block
    except OSError as error:
        raise UsageProblem(f"cannot read {path}: {error.strerror}") from error


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise UsageProblem(f"cannot read {path}: {error.strerror}") from error
