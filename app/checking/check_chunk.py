"""What one pool process does with a chunk: one pass per invoice, results ready for the database and the package.

A chunk comes in as raw entries and goes out as one blob of ready entries and one block of text for COPY, so that the event
loop never touches a single invoice.
"""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Final
from uuid import UUID

from app.domain.findings import Finding, Severity, has_errors
from app.domain.ids import invoice_ids_hex
from app.domain.states import InvoiceState
from app.forms.fa3.checker import CheckContext, InvoiceChecker, InvoiceFacts, make_checker
from app.forms.fa3.identity import invoice_identity
from app.package.entries import crc32, ready_stream
from app.reading.entry import Document, RawEntry, decode_entry
from app.reading.faults import EntryUnreadable

# What the columns hold; a longer value cannot be valid and would only be in the way of an index.
_MAX_NUMBER: Final = 256
_MAX_KIND: Final = 16
_MAX_NAME: Final = 512

_NULL: Final = "\\N"
_NO_KEY_FIELDS: Final = "\t".join((_NULL,) * 4)
_QUEUED: Final = InvoiceState.QUEUED.value
_INVALID: Final = InvoiceState.INVALID.value
_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\ufffd"})

POISONED: Final = Finding(
    "document-crashes-reader",
    Severity.ERROR,
    "This document crashes or hangs the XML reader, so it cannot be checked and is not sent.",
    "Ten dokument powoduje awarię lub zawieszenie czytnika XML; nie można go sprawdzić i nie zostanie wysłany.",
)


@dataclass(frozen=True, slots=True)
class ChunkTask:
    """A chunk to check. `ids` are given for invoices that have theirs already; otherwise they follow from `chunk_id`."""

    tenant_id: int
    upload_ids: tuple[UUID, ...]
    """One for all entries; with `ids` one an entry."""
    chunk_id: UUID
    entries: tuple[RawEntry, ...]
    context: CheckContext
    now: datetime
    ids: tuple[UUID, ...] | None = None
    poisoned: frozenset[int] = frozenset()
    """Positions that are not to be read: they crashed a process before."""


@dataclass(slots=True)
class ChunkOutcome:
    """A checked chunk: bytes for the blob store, text for COPY, and what the database has to decide on."""

    blob: bytes = b""
    rows: bytes = b""
    valid: int = 0
    valid_bytes: int = 0
    """Bytes of the ready entries of the valid invoices."""
    invalid: int = 0
    latest_issue_date: date | None = None
    """The latest `P_1` of the valid invoices."""
    findings: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0


_checker: InvoiceChecker | None = None


def prepare(schema_files: Mapping[str, bytes]) -> None:
    """Compile the schema, once a process."""
    global _checker  # noqa: PLW0603 - a process's own state, set once before its first task
    _checker = make_checker(schema_files)


def check_chunk(task: ChunkTask) -> ChunkOutcome:
    """Check, hash and compress every entry of a chunk. A fault of an entry is a finding, never an exception."""
    if _checker is None:
        raise RuntimeError("the pool process was not prepared")
    started = time.perf_counter()
    outcome = ChunkOutcome()
    blob: list[bytes] = []
    rows: list[str] = []
    offset = 0
    finished = task.now.isoformat()
    keys, only_upload = invoice_ids_hex(task.chunk_id, len(task.entries)), task.upload_ids[0].hex
    for position, entry in enumerate(task.entries):
        key = task.ids[position].hex if task.ids else next(keys)
        upload = task.upload_ids[position].hex if task.ids else only_upload
        found, facts, findings = _look_at(_checker, entry, task, position)
        name, document, deflated = (entry.name, b"", None) if found is None else found
        ready = ready_stream(document, deflated) if document else b""
        if findings:
            outcome.findings.update(finding.rule for finding in findings)
        if facts is not None and not (findings and has_errors(findings)):
            identity = invoice_identity(task.tenant_id, facts.seller_nip, facts.kind, facts.number).hex()
            outcome.valid += 1
            outcome.valid_bytes += len(ready)
            if outcome.latest_issue_date is None or facts.issue_date > outcome.latest_issue_date:
                outcome.latest_issue_date = facts.issue_date
            end = f"{_findings(findings)}\t{_NULL}"
        else:
            identity = _NULL
            outcome.invalid += 1
            end = f"{_findings(findings)}\t{finished}"
        state = _QUEUED if identity is not _NULL else _INVALID
        digest = hashlib.sha256(document if found is not None else entry.payload).hexdigest()
        size, checksum = (len(document), crc32(document)) if document else (0, 0)
        rows.append(
            f"{key}\t{task.tenant_id}\t{upload}\t{state}\t{_text(name, _MAX_NAME)}\t{_key_fields(facts)}\t{identity}\t"
            f"\\\\x{digest}\t{size}\t{checksum}\t{offset}\t{len(ready)}\t{end}"
        )
        blob.append(ready)
        offset += len(ready)
    outcome.blob = b"".join(blob)
    outcome.rows = ("\n".join(rows) + "\n").encode("utf-8", "replace") if rows else b""
    outcome.seconds = time.perf_counter() - started
    return outcome


def _look_at(
    checker: InvoiceChecker, entry: RawEntry, task: ChunkTask, position: int
) -> tuple[Document | None, InvoiceFacts | None, Sequence[Finding]]:
    """Return an entry's document if it can be had, its facts and findings."""
    if position in task.poisoned:
        return None, None, (POISONED,)
    try:
        document = decode_entry(entry, max(task.context.max_bytes, task.context.max_bytes_with_attachment))
    except EntryUnreadable as unreadable:
        return None, None, (unreadable.finding(),)
    checked = checker.check(document.content, task.context)
    return document, checked.facts, checked.findings


def _key_fields(facts: InvoiceFacts | None) -> str:
    if facts is None:
        return _NO_KEY_FIELDS
    number, seller, kind = (
        _text(facts.number, _MAX_NUMBER),
        _text(facts.seller_nip, _MAX_KIND),
        _text(facts.kind, _MAX_KIND),
    )
    return f"{number}\t{seller}\t{kind}\t{facts.issue_date.isoformat()}"


def _text(value: str, limit: int) -> str:
    value = value[:limit]
    # Nearly always there is nothing to escape, which is seen faster than done.
    return value if value.isprintable() and "\\" not in value else value.translate(_ESCAPES)


def _findings(findings: Sequence[Finding]) -> str:
    if not findings:
        return _NULL
    text = json.dumps([finding.as_dict() for finding in findings], ensure_ascii=False)
    # A JSON column takes no NUL and no half of a surrogate pair, and a message may quote either.
    return text.replace("\\u0000", "\ufffd").translate(_ESCAPES)
