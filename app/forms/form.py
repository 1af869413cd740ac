"""A document form, what its documents are checked against, and the result of a check."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Protocol

from app.domain.findings import Finding, has_errors
from app.forms.fields import InvoiceFacts


@dataclass(frozen=True, slots=True)
class CheckContext:
    """The facts that a document is checked against besides the schema.

    `today` is the day in Warsaw. `check_nip_checksums` is for production, and for the test environment when it was
    asked to (X-KSeF-Feature: subject-identifier-validation). `attachments_allowed` of None means unknown: let through.
    """

    tenant_nip: str
    today: date
    check_nip_checksums: bool
    attachments_allowed: bool | None
    max_bytes: int = 1_000_000
    max_bytes_with_attachment: int = 3_000_000


@dataclass(frozen=True, slots=True)
class CheckedInvoice:
    """The result of a check: the facts, None when they could not be read, all findings, and the form whose rules were applied."""

    facts: InvoiceFacts | None
    findings: tuple[Finding, ...]
    form_code: str
    fast: bool = field(default=False, compare=False)
    """The fast path recognised the document, so it was not parsed; both paths give equal results."""

    @property
    def valid(self) -> bool:
        """Whether no finding is an error, so that the invoice may be sent."""
        return not has_errors(self.findings)


class FormChecker(Protocol):
    """Checks documents of one form. Belongs to one thread."""

    def check(self, document: bytes, context: CheckContext) -> CheckedInvoice:
        """Return the facts and the findings of a document; never raise for its content."""


class CheckerMaker(Protocol):
    """Makes the checker of a form from its schema files (content by name), with or without a fast path for plain documents."""

    def __call__(self, schema_files: Mapping[str, bytes], /, *, fast_path: bool = True) -> FormChecker:
        """Return the checker. Raises UnusableSchemaError when the files do not fit the form."""


@dataclass(frozen=True, slots=True)
class Form:
    """One document form that KSeF takes in batch sessions.

    `code`, `schema_version` and `value` are the three fields of a session's form code (`systemCode`, `schemaVersion`, `value`), and
    the header of a document (`KodFormularza`) repeats them.
    """

    code: str
    schema_version: str
    value: str
    namespace: str
    schema_files: tuple[str, ...]
    """Names of the official files in `schemas/catalog.toml`, the one that describes `namespace` first."""
    make_checker: CheckerMaker
