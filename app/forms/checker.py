"""The check of a document of any form: chooses the checker by the document's form."""

from collections.abc import Mapping

from app.forms.fields import InvoiceFacts
from app.forms.form import CheckContext, CheckedInvoice, FormChecker
from app.forms.registry import DEFAULT_FORM, FORMS, SchemaFiles, form_of_document

__all__ = ["CheckContext", "CheckedInvoice", "DocumentChecker", "InvoiceFacts", "make_checker"]


def make_checker(schema_files: SchemaFiles, *, fast_path: bool = True) -> "DocumentChecker":
    """Return a checker of all forms whose official files are given. Raises UnusableSchemaError when files do not fit their form."""
    return DocumentChecker(
        {code: FORMS[code].make_checker(files, fast_path=fast_path) for code, files in schema_files.items()}
    )


class DocumentChecker:
    """Checks documents of several forms. Belongs to one thread; make one per pool process and keep it."""

    def __init__(self, checkers: Mapping[str, FormChecker]) -> None:
        """Take the checkers by form code, that of the default form among them."""
        self._checkers = dict(checkers)
        self._default = self._checkers[DEFAULT_FORM.code]

    def check(self, document: bytes, context: CheckContext) -> CheckedInvoice:
        """Return the facts and findings of a document; never raises for its content."""
        checker = self._checkers.get(form_of_document(document).code, self._default)
        return checker.check(document, context)
