"""The full check of one document: general rules, one parse, the rules of its form, and the XSD. Every fault is a finding."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from lxml import etree

from app.domain.findings import Finding, Severity, has_errors
from app.forms.encoding import check_bytes
from app.forms.fields import InvoiceFacts
from app.forms.form import CheckContext, CheckedInvoice
from app.forms.may_be_refused import check_may_be_refused
from app.forms.other_forms import explain_other_form
from app.forms.rules import finding
from app.forms.size import check_attributes, check_hard_limit, may_have_too_many_attributes
from app.forms.wellformed import explain_syntax_error, make_parser
from app.forms.xsd.schema_check import (
    FEW_ROUNDS,
    LARGE_DOCUMENT_BYTES,
    MANY_ROUNDS,
    check_beginning,
    check_schema,
    find_where_to_give_up,
)
from app.forms.xsd.vocabulary import Vocabulary

MAX_FINDINGS = 100


class Elements(Protocol):
    """The elements of a document that the rules of its form read."""

    form_code: etree._Element | None


E = TypeVar("E", bound=Elements)


@dataclass(frozen=True, slots=True)
class FormRules(Generic[E]):
    """The rules of one form for a parsed document."""

    form_code: str
    root: str
    """The root element, with its namespace."""
    vocabulary: Vocabulary
    read_elements: Callable[[etree._Element], E]
    facts_of: Callable[[E], InvoiceFacts | None]
    check_elements: Callable[[E, int, CheckContext], list[Finding]]
    """Rules for any document of the form: its elements, its size in bytes, the context."""
    check_valid: Callable[[E], list[Finding]]
    """Rules that only apply to a document that fits the XSD."""


class FullCheck(Generic[E]):
    """The full check of documents of one form. It belongs to one thread."""

    def __init__(self, schema: etree.XMLSchema, rules: FormRules[E]) -> None:
        """Take the compiled schema and the rules of the form."""
        self._schema = schema
        self._rules = rules
        self._parser = make_parser()

    def check(self, document: bytes, context: CheckContext) -> CheckedInvoice:
        """Return the facts and findings of a document; never raises for its content.

        Time and memory are bounded by the size limits of the context: a larger document is not read.
        """
        code = self._rules.form_code
        too_large = check_hard_limit(document, max(context.max_bytes, context.max_bytes_with_attachment))
        if too_large is not None:
            return CheckedInvoice(None, (too_large,), code)
        seen = check_bytes(document)
        if seen.parsable is None:
            return CheckedInvoice(None, tuple(seen.findings), code)
        facts, findings = self._check_parsable(seen.parsable, len(document), context)
        findings = seen.findings + findings
        if facts is None and not has_errors(findings):
            # Without the facts neither a duplicate nor KSeF's verdict can be matched.
            findings.append(finding("key-fields-missing"))
        return CheckedInvoice(facts, _bounded(findings), code)

    def _check_parsable(
        self, document: bytes, size: int, context: CheckContext
    ) -> tuple[InvoiceFacts | None, list[Finding]]:
        rules = self._rules
        is_large = len(document) > LARGE_DOCUMENT_BYTES
        bombs = check_attributes(document) if is_large and may_have_too_many_attributes(document) else []
        try:
            root = etree.fromstring(document, self._parser)
        except etree.XMLSyntaxError as error:
            return None, [*bombs, explain_syntax_error(error, document)]

        elements = rules.read_elements(root)
        facts = rules.facts_of(elements)
        if root.tag != rules.root:
            return facts, [*bombs, explain_other_form(root, elements.form_code)]
        findings = [*bombs, *rules.check_elements(elements, size, context)]
        if bombs:
            return facts, findings
        # The XSD comes last, because its check changes the tree of an invalid document.
        given_up_at = find_where_to_give_up(document, self._schema) if is_large else None
        if given_up_at is None:
            rounds = FEW_ROUNDS if is_large else MANY_ROUNDS
            of_schema = check_schema(root, self._schema, rules.vocabulary, rounds=rounds)
        else:
            of_schema = check_beginning(self._schema, rules.vocabulary, document, given_up_at)
        # The XSD fixes the header's values as well: one finding for each place is enough.
        explained = {one.path for one in findings if one.rule == "form-header-mismatch"}
        findings += [one for one in of_schema if one.path not in explained]
        if not of_schema:
            findings += rules.check_valid(elements)
            # It comes last, because it changes texts of the tree.
            findings += check_may_be_refused(root, self._schema, rules.vocabulary)
        return facts, findings


def _bounded(findings: list[Finding]) -> tuple[Finding, ...]:
    """Return at most MAX_FINDINGS findings, errors before warnings when some are cut, and then a note."""
    if len(findings) <= MAX_FINDINGS:
        return tuple(findings)
    ordered = sorted(findings, key=lambda one: one.severity is Severity.WARNING)
    note = finding("too-many-findings", limit=MAX_FINDINGS, more=len(findings) - MAX_FINDINGS)
    return (*ordered[:MAX_FINDINGS], note)
