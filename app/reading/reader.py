"""The entry point: the entries of a stored body of any kind."""

from collections.abc import Iterator
from functools import partial

from app.reading import faults
from app.reading.entry import Encoding, RawEntry
from app.reading.inflated import InflatedFile, InflatedSource
from app.reading.kinds import BodyKind, takes_gzip
from app.reading.limits import ReadingLimits
from app.reading.multipart_reader import read_multipart
from app.reading.ndjson_reader import read_ndjson
from app.reading.read_budget import ReadBudget
from app.reading.source import SeekableFile, Source
from app.reading.streams import GzipStream, PlainStream
from app.reading.tar_reader import read_tar
from app.reading.zip_reader import read_zip


def read_entries(
    kind: BodyKind,
    source: SeekableFile,
    *,
    size: int,
    limits: ReadingLimits,
    boundary: str | None = None,
    start_index: int = 0,
    gzip_coded: bool = False,
) -> Iterator[RawEntry]:
    """Yield the entries of a body of `size` bytes, one by one, in its order, undecoded.

    An entry that cannot be used has a `fault` and counts like any other; folders and system files
    are skipped. With `start_index` reading resumes: the same entries as the first time,
    from that index on (the first `start_index` are still walked past, but in a ZIP or plain tar not read).
    `boundary` belongs to MULTIPART. With `gzip_coded` the body was sent with `Content-Encoding: gzip` and is inflated
    while it is read, within the bounds that a tar.gz has; offsets in errors then count inflated bytes. Memory holds some MiB, independent of the size of the body and the number of its
    entries. The iterator seeks in the file as it advances, so no other code may move its position meanwhile.

    Raises, possibly after some entries, UnreadableUpload when the body is cut, damaged, or beyond the limits;
    entries yielded before stay valid. A body without any entry is such an error, too. Raises ValueError for MULTIPART without a boundary, and for a kind that cannot be
    gzip-coded (`kinds.takes_gzip`). Errors of `source` itself pass through unchanged.
    """
    if kind is BodyKind.MULTIPART and boundary is None:
        raise ValueError("a multipart body cannot be read without its boundary")
    if gzip_coded and not takes_gzip(kind):
        raise ValueError(f"a body of kind {kind} cannot be gzip-coded")
    budget = ReadBudget(limits, start_index)
    body = Source(source, 0, size)
    read = _read_coded if gzip_coded else _read
    return _read_some(budget, read(budget, boundary, kind, body))


def _read_some(budget: ReadBudget, entries: Iterator[RawEntry]) -> Iterator[RawEntry]:
    """Yield the entries, and raise UnreadableUpload if there is none."""
    yield from entries
    budget.expect_invoices()


def _read_coded(budget: ReadBudget, boundary: str | None, kind: BodyKind, body: Source) -> Iterator[RawEntry]:
    """Yield the entries of a gzip-coded body and verify it to its end."""
    if kind is BodyKind.TAR:
        yield from _read_targz(body, budget)
        return
    inflated = InflatedFile(body, budget)
    yield from _read(budget, boundary, kind, InflatedSource(inflated))
    inflated.drain()


def _read(budget: ReadBudget, boundary: str | None, kind: BodyKind, source: Source) -> Iterator[RawEntry]:
    match kind:
        case BodyKind.ZIP:
            return read_zip(source, budget)
        case BodyKind.TARGZ:
            return _read_targz(source, budget)
        case BodyKind.TAR:
            return read_tar(PlainStream(source), budget)
        case BodyKind.NDJSON:
            return read_ndjson(source, budget)
        case BodyKind.MULTIPART:
            # A multipart body inside another one is not read, so one boundary is enough.
            return read_multipart(source, budget, boundary or "", partial(_read, budget, None))
        case BodyKind.XML:
            return _read_document(source, budget)


def _read_targz(source: Source, budget: ReadBudget) -> Iterator[RawEntry]:
    """Yield the entries of a tar.gz. It is a generator, so that faults appear when it is read, as in the other readers."""
    yield from read_tar(GzipStream(source, budget), budget)


def _read_document(source: Source, budget: ReadBudget) -> Iterator[RawEntry]:
    """Yield the whole body as one document."""
    limit = budget.limits.max_document_bytes
    # The size of an inflated body is known only once its end was read.
    payload = source.read_at(0, limit + 1)
    fault = faults.too_large(limit) if len(payload) > limit else None
    index = budget.admit(0 if fault else len(payload), source.start)
    if budget.wanted(index):
        yield RawEntry(index, "document.xml", Encoding.PLAIN, b"" if fault else payload, fault=fault)
