"""The check of files on this machine for `ksefd validate`: the service's readers and its check service."""

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Final

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


Named = tuple[str, RawEntry]
"""The archive that an entry comes from (empty for a loose file), and the entry."""


OnBroken = Callable[[str, UnreadableUpload], None]
"""Takes the name of an archive that could not be read to its end, and why."""


async def check_all(
    found: Found, plan: CheckPlan, passed_over: PassedOver, on_broken: OnBroken
) -> AsyncIterator[CheckedDocument]:
    """Check everything, in order; a few chunks are held in memory at a time.

    What a folder holds beside XML files is noted in `passed_over`. The entries before the fault of an archive, and the
    archives behind it, are checked too. Raises UsageProblem when there is nothing to check.
    """
    chunks = _chunks(_entries(found, passed_over, on_broken))
    faults: list[DispatchError] = []

    def read_chunk() -> list[Named] | None:
        try:
            return next(chunks, None)
        except DispatchError as error:
            faults.append(error)
            return None

    ahead = deque(chunk for chunk in (read_chunk(), read_chunk()) if chunk is not None)
    # Half a second to start a process is too long for a few documents.
    processes = plan.processes if len(ahead) > 1 else 1
    waiting: deque[asyncio.Task[list[CheckedDocument]]] = deque()
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


async def _check_chunk(service: CheckService, chunk: Sequence[Named], plan: CheckPlan) -> list[CheckedDocument]:
    context = CheckContext(
        tenant_nip=plan.nip or "",
        today=plan.today,
        check_nip_checksums=plan.check_nip_checksums,
        attachments_allowed=None,
    )
    task = DocumentsTask(context.tenant_nip, tuple(entry for _, entry in chunk), context)
    outcome = await service.check_documents(task)
    return [
        replace(
            checked,
            name=f"{archive}/{checked.name}" if archive else checked.name,
            findings=tuple(
                one for one in checked.findings if plan.nip is not None or one.rule not in RULES_OF_THE_TENANT
            ),
        )
        for (archive, _), checked in zip(chunk, outcome.documents, strict=True)
    ]


def _chunks(entries: Iterator[Named]) -> Iterator[list[Named]]:
    chunk: list[Named] = []
    size = 0
    try:
        for named in entries:
            chunk.append(named)
            size += len(named[1].payload)
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


def _entries(found: Found, passed_over: PassedOver, on_broken: OnBroken) -> Iterator[Named]:
    index = -1
    for index, file in enumerate(loose_files(found.loose, passed_over)):
        yield "", _loose_entry(index, file)
    if index < 0 and not found.archives and not passed_over.misses_invoices:
        raise UsageProblem("there is no .xml file in what was given")
    for path, kind in found.archives:
        try:
            yield from _archived(path, kind)
        except UnreadableUpload as error:
            on_broken(path.name, error)


def _archived(path: Path, kind: BodyKind) -> Iterator[Named]:
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
