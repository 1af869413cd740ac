"""The check of one invoice: all rules in their order, at most one parse, every fault a finding.

An invoice that is recognised as plain and faultless is not parsed at all: see `plain`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from lxml import etree

from app.domain.findings import Finding, Severity, has_errors
from app.forms.fa3.checks.dates import check_dates
from app.forms.fa3.checks.encoding import look_at_bytes
from app.forms.fa3.checks.form import FORM_CODE, check_attachment, check_header, is_fa3
from app.forms.fa3.checks.other_forms import explain_other_form
from app.forms.fa3.checks.parties import check_nips, check_seller
from app.forms.fa3.checks.rates import check_rates
from app.forms.fa3.checks.size import check_attributes, check_hard_limit, check_size, may_have_too_many_attributes
from app.forms.fa3.checks.totals import check_total
from app.forms.fa3.fast_path.recogniser import FastPathRecogniser
from app.forms.fa3.key_fields import InvoiceFacts, facts_of, read_elements
from app.forms.fa3.rules import finding
from app.forms.fa3.wellformed import explain_syntax_error, make_parser
from app.forms.fa3.xsd.schema import compile_schema
from app.forms.fa3.xsd.schema_check import (
    FEW_ROUNDS,
    LARGE_DOCUMENT_BYTES,
    MANY_ROUNDS,
    check_beginning,
    check_schema,
    find_where_to_give_up,
)

__all__ = ["MAX_FINDINGS", "CheckContext", "CheckedInvoice", "InvoiceChecker", "InvoiceFacts", "make_checker"]

MAX_FINDINGS = 100


def make_checker(schema_files: Mapping[str, bytes]) -> "InvoiceChecker":
    """Return a checker made of the official schema files (content by name), fast with many invoices.

    Takes about a third of a second of CPU. Raises UnusableSchemaError when the files are not those of FA(3).
    """
    return InvoiceChecker(compile_schema(schema_files), FastPathRecogniser(schema_files))


@dataclass(frozen=True, slots=True)
class CheckContext:
    """What a document is checked against besides the schema.

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
    """The outcome: the facts, when they could be read, all findings, errors and warnings, and the form whose rules were applied."""

    facts: InvoiceFacts | None
    findings: tuple[Finding, ...]
    form_code: str = FORM_CODE

    @property
    def valid(self) -> bool:
        """No finding is an error: the invoice may be sent."""
        return not has_errors(self.findings)


class InvoiceChecker:
    """Checks documents one after the other. Belongs to one thread; make one per pool process and keep it."""

    def __init__(self, schema: etree.XMLSchema, plain: FastPathRecogniser | None = None) -> None:
        """Take the compiled schema and, to be fast with many, what recognises plain invoices."""
        self._schema = schema
        self._plain = plain
        self._parser = make_parser()

    def check(self, document: bytes, context: CheckContext) -> CheckedInvoice:
        """Return what is to be said about the document; never raises for what is in it.

        Time and memory are bounded by the size limits of the context: a larger document is not looked into.
        """
        if self._plain is None:
            return self._check_carefully(document, context)
        if len(document) <= context.max_bytes:
            found = self._plain.read(
                document, context.tenant_nip, context.today, check_nip_checksums=context.check_nip_checksums
            )
            if found is not None and not (found.facts.has_attachment and context.attachments_allowed is False):
                return CheckedInvoice(found.facts, found.findings)
        checked = self._check_carefully(document, context)
        if checked.valid:
            self._plain.learn(document)
        return checked

    def _check_carefully(self, document: bytes, context: CheckContext) -> CheckedInvoice:
        too_large = check_hard_limit(document, max(context.max_bytes, context.max_bytes_with_attachment))
        if too_large is not None:
            return CheckedInvoice(None, (too_large,))
        seen = look_at_bytes(document)
        if seen.parsable is None:
            return CheckedInvoice(None, tuple(seen.findings))
        facts, findings = self._check_parsable(seen.parsable, len(document), context)
        findings = seen.findings + findings
        if facts is None and not has_errors(findings):
            # Without them nothing could be found again: neither a duplicate nor KSeF's verdict.
            findings.append(finding("key-fields-missing"))
        return CheckedInvoice(facts, _bounded(findings))

    def _check_parsable(
        self, document: bytes, size: int, context: CheckContext
    ) -> tuple[InvoiceFacts | None, list[Finding]]:
        is_large = len(document) > LARGE_DOCUMENT_BYTES
        bombs = check_attributes(document) if is_large and may_have_too_many_attributes(document) else []
        try:
            root = etree.fromstring(document, self._parser)
        except etree.XMLSyntaxError as error:
            return None, [*bombs, explain_syntax_error(error)]

        elements = read_elements(root)
        facts = facts_of(elements)
        if not is_fa3(root):
            return facts, [*bombs, explain_other_form(root, elements)]
        findings = [
            *bombs,
            *check_size(size, elements, context.max_bytes),
            *check_header(elements),
            *check_attachment(elements, context.tenant_nip, context.attachments_allowed),
            *(check_nips(elements) if context.check_nip_checksums else ()),
            *check_seller(elements, context.tenant_nip),
            *check_dates(elements, context.today),
        ]
        if bombs:
            return facts, findings
        # Last, because it changes the tree of an invalid document.
        given_up_at = find_where_to_give_up(document, self._schema) if is_large else None
        if given_up_at is None:
            of_schema = check_schema(root, self._schema, rounds=MANY_ROUNDS if not is_large else FEW_ROUNDS)
        else:
            of_schema = check_beginning(self._schema, document, given_up_at)
        told = {one.path for one in findings if one.rule == "form-header-mismatch"}
        findings += [one for one in of_schema if one.path not in told]
        if not of_schema:
            findings += check_total(elements)
            findings += check_rates(elements)
        return facts, findings


def _bounded(findings: list[Finding]) -> tuple[Finding, ...]:
    """Return at most MAX_FINDINGS findings, errors before warnings when some must go, and then a note."""
    if len(findings) <= MAX_FINDINGS:
        return tuple(findings)
    ordered = sorted(findings, key=lambda one: one.severity is Severity.WARNING)
    note = finding("too-many-findings", limit=MAX_FINDINGS, more=len(findings) - MAX_FINDINGS)
    return (*ordered[:MAX_FINDINGS], note)
