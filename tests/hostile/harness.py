"""Runs one hostile body in a process of its own, with bounds on memory and CPU, the way intake and the pool would.

A server process compiles the schema once and forks for each case, so that a case costs milliseconds and its use is exactly
known: `wait4` gives CPU seconds and peak memory of that child alone. Time on the clock is never compared with a limit.
"""

import json
import multiprocessing
import os
import re
import resource
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final
from uuid import UUID

from app.checking.check_chunk import ChunkTask, check_chunk, prepare
from app.errors import UnreadableUpload
from app.forms.form import CheckContext
from app.reading.entry import RawEntry
from app.reading.kinds import BodyKind
from app.reading.limits import ReadingLimits
from app.reading.reader import read_entries
from app.schema_files import load_schema_files
from tests.app.forms.fa3.conftest import INVOICE
from workers.intake.chunks import CHUNK_BYTES, CHUNK_ENTRIES

CPU_SECONDS: Final = 10.0
"""What any case may use; in full size, where a million verdicts are written, more."""
MEMORY_BYTES: Final = 200_000_000
"""What any case may hold beyond what a process holds that has compiled the schema."""

_CPU_LIMIT: Final = 60
_ADDRESS_SPACE: Final = 2 << 30
_DAY: Final = date(2026, 11, 22)
_STATE, _FINDINGS = 3, 15
_ESCAPED: Final = re.compile(r"\\(.)")
_UNESCAPED: Final = {"n": "\n", "t": "\t", "r": "\r"}

FULL: Final = bool(os.environ.get("HOSTILE_FULL"))
"""Whether numbers are what an attacker would choose, or a twentieth: enough to show that cost grows with the body alone."""


def many(count: int) -> int:
    """Return a number of pieces, fewer unless the full size was asked for."""
    return count if FULL else count // 20


LIMITS: Final = ReadingLimits(max_entries=many(1_000_000))


def invoice(number: str) -> bytes:
    """Return a valid invoice with that number: the neighbour that must not be harmed."""
    return INVOICE.replace(b"FV/1", number.encode())


@dataclass(frozen=True)
class Case:
    """A hostile body and what must become of it."""

    name: str
    kind: BodyKind
    make: Callable[[], bytes]
    """Makes the body, in a process of its own."""
    valid: int = 2
    """Entries that are valid: neighbours, mostly."""
    refused: dict[str, int] = field(default_factory=dict)
    """Refused entries by a rule that each breaks."""
    error: str | None = None
    """Why the upload cannot be read to its end."""
    gzip_coded: bool = False


@dataclass(frozen=True)
class Outcome:
    """The verdicts of a case, and its cost."""

    valid: int
    refused: dict[str, int]
    error: str | None
    cpu_seconds: float
    memory_bytes: int
    """Peak, beyond what the process held before."""
    body_bytes: int
    crash: str | None = None


class Arena:
    """The server's side as a test sees it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def run(self, case: Case) -> Outcome:
        """Run a case by its name."""
        self._connection.send(case.name)
        outcome = self._connection.recv()
        assert isinstance(outcome, Outcome)
        return outcome


@contextmanager
def arena(cases: dict[str, Case]) -> Iterator[Arena]:
    """Start the server process for a table of cases and end it."""
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("fork")
    process = context.Process(target=_serve, args=(theirs, ours, cases), daemon=True)
    process.start()
    theirs.close()
    try:
        yield Arena(ours)
    finally:
        ours.close()
        process.join(30)


def _serve(connection: Connection, other_end: Connection, cases: dict[str, Case]) -> None:
    # Otherwise this process would keep its own parent's end open and never see it closed.
    other_end.close()
    prepare(load_schema_files())
    while True:
        try:
            case = cases[connection.recv()]
        except EOFError:
            return
        with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
            body, result = Path(folder, "body"), Path(folder, "result")
            _, status, _ = _forked(partial(_make, case, body))
            if status:
                raise RuntimeError(f"the body of {case.name!r} could not be made")
            before = _resident_bytes()
            usage, status, _ = _forked(partial(_judge, case, body, result))
            told = json.loads(result.read_text()) if status == 0 else {"valid": 0, "refused": {}, "error": None}
            connection.send(
                Outcome(
                    **told,
                    cpu_seconds=usage.ru_utime + usage.ru_stime,
                    memory_bytes=max(0, usage.ru_maxrss * 1024 - before),
                    body_bytes=body.stat().st_size,
                    crash=f"status {status:#x}" if status else None,
                )
            )


def _make(case: Case, body: Path) -> None:
    body.write_bytes(case.make())


def _forked(work: Callable[[], object]) -> tuple[resource.struct_rusage, int, int]:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status, usage = os.wait4(child, 0)
    return usage, status, child


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


def _judge(case: Case, body: Path, result: Path) -> None:
    """Read, decode and check a body as the service does, and write what became of it."""
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_LIMIT, _CPU_LIMIT))
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
    refused: Counter[str] = Counter()
    valid = 0
    error = None
    with body.open("rb", buffering=0) as source:
        entries = read_entries(
            case.kind,
            source,
            size=body.stat().st_size,
            limits=LIMITS,
            boundary="B",
            gzip_coded=case.gzip_coded,
        )
        try:
            for chunk in _chunks(entries):
                for state, rules in _check(chunk):
                    if state == "queued":
                        valid += 1
                    else:
                        # A document may break several rules; the one that the case is about counts.
                        refused[next((rule for rule in rules if rule in case.refused), rules[0])] += 1
        except UnreadableUpload as unreadable:
            error = str((unreadable.errors or [{}])[0].get("reason"))
    result.write_text(json.dumps({"valid": valid, "refused": dict(refused), "error": error}))


def _chunks(entries: Iterator[RawEntry]) -> Iterator[tuple[RawEntry, ...]]:
    """Group entries as intake does; what came before a fault is checked before the fault is raised."""
    chunk: list[RawEntry] = []
    size = 0
    try:
        for entry in entries:
            if chunk and (len(chunk) >= CHUNK_ENTRIES or size + len(entry.payload) > CHUNK_BYTES):
                yield tuple(chunk)
                chunk, size = [], 0
            chunk.append(entry)
            size += len(entry.payload)
    except UnreadableUpload:
        yield tuple(chunk)
        raise
    if chunk:
        yield tuple(chunk)


def _check(chunk: tuple[RawEntry, ...]) -> Iterator[tuple[str, list[str]]]:
    """Yield state and rules of each entry of a chunk, as the rows for the database say them."""
    context = CheckContext(tenant_nip="5265877635", today=_DAY, check_nip_checksums=True, attachments_allowed=True)
    task = ChunkTask(
        tenant_id=1,
        upload_ids=(UUID(int=1),),
        chunk_id=UUID(int=1 << 64),
        entries=chunk,
        context=context,
        now=datetime(2026, 11, 22, tzinfo=UTC),
    )
    rows = b"".join(form.rows for form in check_chunk(task).forms)
    for row in rows.decode().splitlines():
        columns = row.split("\t")
        text = _ESCAPED.sub(lambda match: _UNESCAPED.get(match[1], match[1]), columns[_FINDINGS])
        findings = [] if columns[_FINDINGS] == "\\N" else json.loads(text)
        yield columns[_STATE], [item["rule"] for item in findings if item["severity"] == "error"]


def table(rows: list[tuple[str, Outcome]]) -> str:
    """Write outcomes as a table for people."""
    lines = [f"{'case':52} {'outcome':44} {'CPU s':>7} {'MB':>6} {'body':>11}"]
    for name, outcome in rows:
        said = ", ".join(f"{rule} {count}" for rule, count in outcome.refused.items())
        said = "; ".join(part for part in (said, outcome.error, outcome.crash) if part)
        lines.append(
            f"{name:52} {said or 'passed over':44} {outcome.cpu_seconds:7.2f} {outcome.memory_bytes / 1e6:6.0f} "
            f"{outcome.body_bytes:11,}"
        )
    return "\n".join(lines)
