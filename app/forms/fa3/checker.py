"""The check of one FA(3) invoice: the fast path first, and the full check where it is not certain."""

from collections.abc import Mapping
from typing import Final

from lxml import etree

from app.domain.findings import Finding
from app.forms.fa3.checks.attachment import check_attachment
from app.forms.fa3.checks.dates import check_dates
from app.forms.fa3.checks.parties import check_nips, check_seller
from app.forms.fa3.checks.rates import check_rates
from app.forms.fa3.checks.totals import check_total
from app.forms.fa3.fast_path.recogniser import FastPathRecogniser
from app.forms.fa3.key_fields import InvoiceElements, facts_of, read_elements
from app.forms.fa3.schema import FA3_NAMESPACE, compile_schema
from app.forms.fa3.vocabulary import FA3_VOCABULARY
from app.forms.form import CheckContext, CheckedInvoice
from app.forms.full_check import FormRules, FullCheck
from app.forms.header import HeaderCodes, check_header
from app.forms.size import check_size

FA3_CODES: Final = HeaderCodes(name="FA(3)", code="FA (3)", schema_version="1-0E", value="FA", variant="3")


def make_checker(schema_files: Mapping[str, bytes], *, fast_path: bool = True) -> "InvoiceChecker":
    """Return a checker made of the official schema files (content by name), with or without the fast path.

    Takes about a third of a second of CPU. Raises UnusableSchemaError when the files are not those of FA(3).
    """
    return InvoiceChecker(compile_schema(schema_files), FastPathRecogniser(schema_files) if fast_path else None)


class InvoiceChecker:
    """The checker of FA(3) documents. It belongs to one thread; make one per pool process and keep it."""

    def __init__(self, schema: etree.XMLSchema, fast_path: FastPathRecogniser | None = None) -> None:
        """Take the compiled schema and the recogniser of the fast path, None for the full check only."""
        self._full = FullCheck(schema, FA3_RULES)
        self._fast_path = fast_path

    def check(self, document: bytes, context: CheckContext) -> CheckedInvoice:
        """Return the facts and findings of a document; never raises for its content.

        Time and memory are bounded by the size limits of the context: a larger document is not read.
        """
        if self._fast_path is None:
            return self._full.check(document, context)
        if len(document) <= context.max_bytes:
            found = self._fast_path.read(
                document, context.tenant_nip, context.today, check_nip_checksums=context.check_nip_checksums
            )
            if found is not None and not (found.facts.has_attachment and context.attachments_allowed is False):
                return CheckedInvoice(found.facts, found.findings, FA3_CODES.code, fast=True)
        checked = self._full.check(document, context)
        if checked.valid:
            self._fast_path.remember_prologue(document)
        return checked


def _check_elements(elements: InvoiceElements, size: int, context: CheckContext) -> list[Finding]:
    return [
        *check_size(size, context.max_bytes, has_attachment=elements.attachment is not None),
        *check_header(elements.form_code, elements.form_variant, FA3_CODES),
        *check_attachment(elements, context.tenant_nip, context.attachments_allowed),
        *(check_nips(elements) if context.check_nip_checksums else ()),
        *check_seller(elements, context.tenant_nip),
        *check_dates(elements, context.today),
    ]


def _check_valid(elements: InvoiceElements) -> list[Finding]:
    return [*check_total(elements), *check_rates(elements)]


FA3_RULES: Final = FormRules(
    form_code=FA3_CODES.code,
    root=f"{{{FA3_NAMESPACE}}}Faktura",
    vocabulary=FA3_VOCABULARY,
    read_elements=read_elements,
    facts_of=facts_of,
    check_elements=_check_elements,
    check_valid=_check_valid,
)
