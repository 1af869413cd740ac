"""The check of documents whose verdict is all that is wanted: `POST /v1/validate`, strict single posts, `ksefd validate`."""

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field

from app.checking.check_chunk import ChecksByPath, check_entry
from app.checking.process_limits import end_documents
from app.domain.findings import Finding, has_errors
from app.forms.form import CheckContext
from app.reading.entry import RawEntry


@dataclass(frozen=True, slots=True)
class DocumentsTask:
    """Documents to check for one tenant, in one process."""

    tenant_id: Hashable
    """Any value that is the same for all documents of a tenant."""
    entries: tuple[RawEntry, ...]
    context: CheckContext
    culprits: frozenset[int] = frozenset()
    """Positions of documents that ended or hung a process: they are not read again."""


@dataclass(frozen=True, slots=True)
class CheckedDocument:
    """One checked document: its name, the invoice's number when it could be read, and its findings."""

    name: str
    number: str | None
    findings: tuple[Finding, ...]

    @property
    def valid(self) -> bool:
        """No finding is an error."""
        return not has_errors(self.findings)


@dataclass(slots=True)
class DocumentsOutcome:
    """The checked documents, in the order of their task."""

    documents: list[CheckedDocument] = field(default_factory=list)
    checks: ChecksByPath = field(default_factory=Counter)


def check_documents(task: DocumentsTask) -> DocumentsOutcome:
    """Check every document of a task. A fault of a document is a finding, never an exception."""
    outcome = DocumentsOutcome()
    try:
        for position, entry in enumerate(task.entries):
            document, checked = check_entry(entry, task.context, outcome.checks, is_culprit=position in task.culprits)
            name = entry.name if document is None else document.name
            number = checked.facts.number if checked.facts else None
            outcome.documents.append(CheckedDocument(name, number, tuple(checked.findings)))
    finally:
        end_documents()
    return outcome
