"""A document form: its codes, its namespace, its schema files and its checker."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from app.forms.fa3.checker import CheckContext, CheckedInvoice


class FormChecker(Protocol):
    """Checks documents of one form. Belongs to one thread."""

    def check(self, document: bytes, context: CheckContext) -> CheckedInvoice:
        """Return the facts and the findings of a document; never raise for its content."""


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
    make_checker: Callable[[Mapping[str, bytes]], FormChecker]
    """Makes the checker of the schema files, content by name."""
