"""Checking documents in several processes: the same readers and the same checker as the service has.

The functions that run in a pool process are at the end; each process compiles the schema once.
"""

import multiprocessing
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from datetime import date
from itertools import chain
from pathlib import Path
from typing import Final

from app.cli.client.upload_sources import Found, LooseFile, inside_gzip, loose_files
from app.cli.exit_codes import UsageProblem
from app.domain.findings import Finding, has_errors
from app.errors import DispatchError
from app.forms.checker import CheckContext, DocumentChecker, make_checker
from app.reading.entry import Encoding, RawEntry, decode_entry
from app.reading.faults import EntryUnreadable, too_large
from app.reading.kinds import BodyKind
from app.reading.limits import ReadingLimits
from app.reading.reader import read_entries
from app.schema_files import load_schema_files

_CHUNK_INVOICES: Final = 64
_CHUNK_BYTES: Final = 2_000_000
_LIMITS: Final = ReadingLimits()
_ANY_SELLER: Final = "seller-not-tenant"
"""The rule that only makes sense for a known tenant."""


@dataclass(frozen=True, slots=True)
class CheckPlan:
    """How to check. `nip` of None: whoever sells is fine."""

    nip: str | None
    today: date
    check_nip_checksums: bool
    schema_dir: Path | None
    processes: int


@dataclass(frozen=True, slots=True)
class Checked:
    """One document: where it came from, its number when it could be read, and what is to be said."""

    name: str
    number: str | None
    findings: tuple[Finding, ...]

    @property
    def valid(self) -> bool:
        """No finding is an error."""
        return not has_errors(self.findings)


Named = tuple[str, RawEntry]
"""The archive that an entry comes from (empty for a loose file), and the entry."""


def check_all(found: Found, plan: CheckPlan) -> Iterator[Checked]:
    """Check everything, in order; a few chunks are held at a time.

    Raises UnreadableUpload when an archive breaks off, after the verdicts on what was read before, and
    DispatchError when a document kills the process that checks it.
    """
    chunks = _chunks(_entries(found))
    first = list(next(chunks, ()))
    second = next(chunks, None)
    if second is None:
        # Too few to be worth starting processes for.
        _prepare(plan)
        yield from _check_chunk(first)
        return
    with ProcessPoolExecutor(
        plan.processes,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_prepare,
        initargs=(plan,),
    ) as pool:
        waiting: deque[Future[list[Checked]]] = deque()
        try:
            for chunk in chain((first, second), chunks):
                waiting.append(pool.submit(_check_chunk, chunk))
                if len(waiting) > 2 * plan.processes:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        except BrokenProcessPool as error:
            raise DispatchError("a checking process died; is there enough memory?") from error
        except DispatchError:
            # An archive broke off: what was read before still gets its verdict.
            while waiting:
                yield from waiting.popleft().result()
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _chunks(entries: Iterator[Named]) -> Iterator[list[Named]]:
    chunk: list[Named] = []
    size = 0
    for named in entries:
        chunk.append(named)
        size += len(named[1].payload)
        if len(chunk) >= _CHUNK_INVOICES or size >= _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _entries(found: Found) -> Iterator[Named]:
    for index, file in enumerate(loose_files(found.loose)):
        yield "", _loose_entry(index, file)
    for path, kind in found.archives:
        with path.open("rb") as source:
            size = os.fstat(source.fileno()).st_size
            inside = inside_gzip(path) if kind is BodyKind.TARGZ else None
            entries = read_entries(inside or kind, source, size=size, limits=_LIMITS, gzip_coded=inside is not None)
            for entry in entries:
                yield path.name, entry


def _loose_entry(index: int, file: LooseFile) -> RawEntry:
    limit = _LIMITS.max_document_bytes
    try:
        with file.path.open("rb") as opened:
            content = opened.read(limit + 1)
    except OSError as error:
        raise UsageProblem(f"cannot read {file.path}: {error.strerror}") from error
    if len(content) > limit:
        return RawEntry(index, file.name, Encoding.PLAIN, b"", fault=too_large(limit))
    return RawEntry(index, file.name, Encoding.PLAIN, content)


class _Ready:
    """What this process keeps between chunks."""

    checker: DocumentChecker
    context: CheckContext
    any_seller: bool


def _prepare(plan: CheckPlan) -> None:
    _Ready.checker = make_checker(load_schema_files(plan.schema_dir))
    _Ready.any_seller = plan.nip is None
    _Ready.context = CheckContext(
        tenant_nip=plan.nip or "",
        today=plan.today,
        check_nip_checksums=plan.check_nip_checksums,
        attachments_allowed=None,
    )


def _check_chunk(chunk: Sequence[Named]) -> list[Checked]:
    return [_check_one(archive, entry) for archive, entry in chunk]


def _check_one(archive: str, entry: RawEntry) -> Checked:
    shown = f"{archive}/{entry.name}" if archive else entry.name
    try:
        document = decode_entry(entry, _LIMITS.max_document_bytes)
    except EntryUnreadable as unreadable:
        return Checked(shown, None, (unreadable.finding(),))
    shown = f"{archive}/{document.name}" if archive else document.name
    checked = _Ready.checker.check(document.content, _Ready.context)
    findings = tuple(one for one in checked.findings if not (_Ready.any_seller and one.rule == _ANY_SELLER))
    return Checked(shown, checked.facts.number if checked.facts else None, findings)
