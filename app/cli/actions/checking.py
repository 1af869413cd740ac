"""The check of files on this machine for `ksefd validate`: the service's readers and its check service."""

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Final, NamedTuple

import anyio.to_thread

from app.checking.check_documents import CheckedDocument, DocumentsTask
from app.checking.service import CheckService
from app.cli.client.folder_walk import LooseFile, PassedOver, loose_files
from app.cli.client.upload_sources import Found, inside_gzip
from app.cli.exit_codes import UsageProblem
from app.errors import DispatchError, UnreadableUpload
from app.forms.form import CheckContext
from app.forms.registry import SchemaFiles
from app.forms.rules import RULES_OF_THE_TENANT
from app.reading.entry import Encoding, RawEntry
from app.reading.faults import too_large
from app.reading.kinds import BodyKind
from app.reading.limits import ReadingLimits
from app.reading.reader import read_entries

_CHUNK_INVOICES: Final = 64
_CHUNK_BYTES: Final = 2_000_000
_LIMITS: Final = ReadingLimits()


@dataclass(frozen=True, slots=True)
class CheckPlan:
    """Conditions of the check. With a `nip` of None every seller is accepted."""

    nip: str | None
    today: date
    check_nip_checksums: bool
    load_schema: Callable[[], SchemaFiles]
    fast_path: bool
    processes: int
    shown: Mapping[Path, str] = field(default_factory=dict)
    """Names to show for files that are copies of a pipe."""


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """A checked document, and its place among the paths of the command line."""

    place: str
    """The path of a loose file; for an entry of an archive, the archive's path and the entry's name."""
    document: CheckedDocument


class _Named(NamedTuple):
    """An entry with the file that it comes from."""

    file: Path
    is_archive: bool
    entry: RawEntry


OnBroken = Callable[[str, UnreadableUpload], None]
"""Takes the name of an archive that could not be read to its end, and why."""


async def check_all(
    found: Found, plan: CheckPlan, passed_over: PassedOver, on_broken: OnBroken
) -> AsyncIterator[CheckedFile]:
    """Check everything, in order; a few chunks are held in memory at a time.

    What a folder holds beside XML files is noted in `passed_over`. The entries before the fault of an archive, and the
    archives behind it, are checked too. Raises UsageProblem when there is nothing to check.
    """
    chunks = _chunks(_entries(found, passed_over, on_broken))
    faults: list[DispatchError] = []

    def read_chunk() -> list[_Named] | None:
        try:
            return next(chunks, None)
        except DispatchError as error:
            faults.append(error)
            return None

    ahead = deque(chunk for chunk in (read_chunk(), read_chunk()) if chunk is not None)
    # Half a second to start a process is too long for a few documents.
    processes = plan.processes if len(ahead) > 1 else 1
    waiting: deque[asyncio.Task[list[CheckedFile]]] = deque()
    with CheckService(processes, plan.load_schema, fast_path=plan.fast_path, log_deaths=False) as service:
        while (chunk := ahead.popleft() if ahead else await anyio.to_thread.run_sync(read_chunk)) is not None:
            waiting.append(asyncio.create_task(_check_chunk(service, chunk, plan)))
            if len(waiting) > 2 * processes:
                for checked in await waiting.popleft():
                    yield checked
        while waiting:
            for checked in await waiting.popleft():
                yield checked
    if faults:
        raise faults[0]


async def _check_chunk(service: CheckService, chunk: Sequence[_Named], plan: CheckPlan) -> list[CheckedFile]:
    context = CheckContext(
        tenant_nip=plan.nip or "",
        today=plan.today,
        check_nip_checksums=plan.check_nip_checksums,
        attachments_allowed=None,
    )
    task = DocumentsTask(context.tenant_nip, tuple(named.entry for named in chunk), context)
    outcome = await service.check_documents(task)
    return [_placed(named, checked, plan) for named, checked in zip(chunk, outcome.documents, strict=True)]


def _placed(named: _Named, checked: CheckedDocument, plan: CheckPlan) -> CheckedFile:
    findings = tuple(one for one in checked.findings if plan.nip is not None or one.rule not in RULES_OF_THE_TENANT)
    shown = plan.shown.get(named.file, str(named.file))
    if not named.is_archive:
        return CheckedFile(shown, replace(checked, findings=findings))
    name = f"{named.file.name}/{checked.name}"
    return CheckedFile(f"{shown}/{checked.name}", replace(checked, name=name, findings=findings))


def _chunks(entries: Iterator[_Named]) -> Iterator[list[_Named]]:
    chunk: list[_Named] = []
    size = 0
    try:
        for named in entries:
            chunk.append(named)
            size += len(named.entry.payload)
            if len(chunk) >= _CHUNK_INVOICES or size >= _CHUNK_BYTES:
                yield chunk
                chunk, size = [], 0
    except DispatchError:
        # Entries before the fault get their verdicts.
        if chunk:
            yield chunk
        raise
    if chunk:
        yield chunk


def _entries(found: Found, passed_over: PassedOver, on_broken: OnBroken) -> Iterator[_Named]:
    index = -1
    for index, file in enumerate(loose_files(found.loose, passed_over)):
        yield _Named(file.path, False, _loose_entry(index, file))
    if index < 0 and not found.archives and not passed_over.misses_invoices:
        raise UsageProblem("there is no .xml file in what was given")
    for path, kind in found.archives:
        try:
            yield from _archived(path, kind)
        except UnreadableUpload as error:
            on_broken(path.name, error)


def _archived(path: Path, kind: BodyKind) -> Iterator[_Named]:
    with path.open("rb") as source:
        size = os.fstat(source.fileno()).st_size
        inside = inside_gzip(path) if kind is BodyKind.TARGZ else None
        entries = read_entries(inside or kind, source, size=size, limits=_LIMITS, gzip_coded=inside is not None)
        for entry in entries:
            yield _Named(path, True, entry)


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
