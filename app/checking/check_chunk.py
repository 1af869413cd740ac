"""Check the chunks of uploads in a pool process: one pass per invoice, results ready for the database and the package.

A chunk comes in as raw entries and goes out as one blob of ready entries and one block of text for COPY, so that the event
loop never touches a single invoice.
"""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Final
from uuid import UUID

from app.checking.process_limits import begin_document, end_documents, end_without_memory
from app.domain.findings import Finding, Severity, has_errors
from app.domain.ids import invoice_ids_hex, sibling_chunk_id
from app.domain.states import InvoiceState
from app.forms.checker import CheckContext, CheckedInvoice, DocumentChecker, FindFiles, make_checker
from app.forms.fields import InvoiceFacts
from app.forms.identity import invoice_identity
from app.forms.registry import DEFAULT_FORM, SchemaFiles
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

DOCUMENT_CRASHES_READER: Final = Finding(
    "document-crashes-reader",
    Severity.ERROR,
    "This document crashes or hangs the XML reader, so it cannot be checked and is not sent.",
    "Ten dokument powoduje awarię lub zawieszenie czytnika XML; nie można go sprawdzić i nie zostanie wysłany.",
)


MISREAD_FORM: Final = Finding(
    "form-misread",
    Severity.ERROR,
    "The document's form could not be read from its first bytes, so it waits in the wrong queue. Send it in an upload.",
    "Nie udało się odczytać formy dokumentu z jego początku, więc czeka w niewłaściwej kolejce. Należy go wysłać w przesyłce.",
)
"""For a single post whose form at its acknowledgement and at its check differ; no such document is known."""


ChecksByPath = Counter[tuple[str, str]]
"""Number of checks by path (`fast`: the match of a plain invoice, `full`: the whole check) and by result (`valid`, `invalid`, `crashed`)."""


@dataclass(frozen=True, slots=True)
class ChunkTask:
    """A chunk to check.

    `ids` and `form_codes`, one for each entry, are given for single posts: they had an id and a lane before their check. Otherwise the
    ids follow from `chunk_id`, and the outcome is divided by form.
    """

    tenant_id: int
    upload_ids: tuple[UUID, ...]
    """One for all entries; with `ids` one an entry."""
    chunk_id: UUID
    entries: tuple[RawEntry, ...]
    context: CheckContext
    now: datetime
    ids: tuple[UUID, ...] | None = None
    form_codes: tuple[str, ...] | None = None
    culprits: frozenset[int] = frozenset()
    """Positions of documents that ended or hung a process: they are not read again."""


@dataclass(slots=True)
class FormOutcome:
    """The checked invoices of one form of a chunk: bytes for the blob store, text for COPY, and what the lane counts."""

    form_code: str
    chunk_id: UUID
    first_entry: int
    """Index of its first entry in the upload's body."""
    blob: bytes = b""
    rows: bytes = b""
    valid: int = 0
    valid_bytes: int = 0
    """Bytes of the ready entries of the valid invoices."""
    invalid: int = 0
    latest_issue_date: date | None = None
    """The latest `P_1` of the valid invoices."""


@dataclass(slots=True)
class ChunkOutcome:
    """A checked chunk: an outcome for each form in the order of first entries, findings by rule, and the time taken."""

    forms: list[FormOutcome] = field(default_factory=list)
    findings: Counter[str] = field(default_factory=Counter)
    checks: ChecksByPath = field(default_factory=Counter)
    seconds: float = 0.0


@dataclass(slots=True)
class _Collected:
    """The outcome of one form while its chunk is checked."""

    outcome: FormOutcome
    keys: list[str]
    """Ids by position in the chunk."""
    blob: list[bytes] = field(default_factory=list)
    rows: list[str] = field(default_factory=list)
    offset: int = 0


_checker: DocumentChecker | None = None


def prepare(schema_files: SchemaFiles, find_files: FindFiles | None = None, *, fast_path: bool = True) -> None:
    """Compile the schemas of all forms into the checker of this process.

    Without `fast_path` every document takes the full check. `find_files` returns the files of forms that are installed later.
    """
    global _checker  # noqa: PLW0603 - a process's own state, set once before its first task
    _checker = make_checker(schema_files, find_files, fast_path=fast_path)


def check_entry(
    entry: RawEntry, context: CheckContext, checks: ChecksByPath, *, is_culprit: bool = False
) -> tuple[Document | None, CheckedInvoice]:
    """Decode and check one entry within the limits of the process, count the check, and return its document and the result.

    The document is None when it could not be decoded, and for a culprit, which is not read. The time limit goes on until the next entry
    begins or `end_documents` is called.
    """
    if _checker is None:
        raise RuntimeError("the pool process was not prepared")
    if is_culprit:
        checks["full", "crashed"] += 1
        return None, CheckedInvoice(None, (DOCUMENT_CRASHES_READER,), DEFAULT_FORM.code)
    most = max(context.max_bytes, context.max_bytes_with_attachment)
    begin_document(most)
    try:
        document = decode_entry(entry, most)
        begin_document(len(document.content))
        checked = _checker.check(document.content, context)
    except EntryUnreadable as unreadable:
        return None, CheckedInvoice(None, (unreadable.finding(),), DEFAULT_FORM.code)
    except MemoryError:
        end_without_memory()
        raise
    checks["fast" if checked.fast else "full", "valid" if checked.valid else "invalid"] += 1
    return document, checked


def check_chunk(task: ChunkTask) -> ChunkOutcome:
    """Check, hash and compress every entry of a chunk. A fault of an entry is a finding, never an exception."""
    try:
        return _check_chunk(task)
    finally:
        end_documents()


def _check_chunk(task: ChunkTask) -> ChunkOutcome:
    started = time.perf_counter()
    outcome = ChunkOutcome()
    collected: dict[str, _Collected] = {}
    finished = task.now.isoformat()
    only_upload = task.upload_ids[0].hex
    for position, entry in enumerate(task.entries):
        found, checked = _check_entry(task, position, entry, outcome.checks)
        facts, findings = checked.facts, checked.findings
        # Single posts keep the chunk that they were acknowledged with.
        form_code = DEFAULT_FORM.code if task.ids else checked.form_code
        form = collected.get(form_code)
        if form is None:
            form = collected[form_code] = _collect(task, form_code, len(collected), entry.index)
        of_form = form.outcome
        upload = task.upload_ids[position].hex if task.ids else only_upload
        name, document, deflated = (entry.name, b"", None) if found is None else found
        ready = ready_stream(document, deflated) if document else b""
        if findings:
            outcome.findings.update(finding.rule for finding in findings)
        if facts is not None and not (findings and has_errors(findings)):
            identity = invoice_identity(task.tenant_id, facts.seller_nip, facts.kind, facts.number).hex()
            of_form.valid += 1
            of_form.valid_bytes += len(ready)
            if of_form.latest_issue_date is None or facts.issue_date > of_form.latest_issue_date:
                of_form.latest_issue_date = facts.issue_date
            end = f"{_findings(findings)}\t{_NULL}"
        else:
            identity = _NULL
            of_form.invalid += 1
            end = f"{_findings(findings)}\t{finished}"
        state = _QUEUED if identity is not _NULL else _INVALID
        digest = hashlib.sha256(document if found is not None else entry.payload).hexdigest()
        size, checksum = (len(document), crc32(document)) if document else (0, 0)
        form.rows.append(
            f"{form.keys[position]}\t{task.tenant_id}\t{upload}\t{state}\t{_text(name, _MAX_NAME)}\t{_key_fields(facts)}\t"
            f"{identity}\t\\\\x{digest}\t{size}\t{checksum}\t{form.offset}\t{len(ready)}\t{end}"
        )
        form.blob.append(ready)
        form.offset += len(ready)
    for form in collected.values():
        form.outcome.blob = b"".join(form.blob)
        form.outcome.rows = ("\n".join(form.rows) + "\n").encode("utf-8", "replace")
        outcome.forms.append(form.outcome)
    outcome.seconds = time.perf_counter() - started
    return outcome


def _collect(task: ChunkTask, form_code: str, number: int, first_entry: int) -> _Collected:
    chunk = sibling_chunk_id(task.chunk_id, number)
    keys = [one.hex for one in task.ids] if task.ids else list(invoice_ids_hex(chunk, len(task.entries)))
    return _Collected(FormOutcome(form_code, chunk, first_entry), keys)


def _check_entry(
    task: ChunkTask, position: int, entry: RawEntry, checks: ChecksByPath
) -> tuple[Document | None, CheckedInvoice]:
    """Return an entry's document, None when it was not read, and its result; a single post of a misread form is invalid."""
    document, checked = check_entry(entry, task.context, checks, is_culprit=position in task.culprits)
    if task.form_codes and checked.valid and checked.form_code != task.form_codes[position]:
        return document, CheckedInvoice(checked.facts, (*checked.findings, MISREAD_FORM), checked.form_code)
    return document, checked


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
