"""The check of a document of any form: chooses the checker by the document's form."""

from collections.abc import Callable, Mapping

from app.forms.fields import InvoiceFacts
from app.forms.form import CheckContext, CheckedInvoice, Form, FormChecker
from app.forms.registry import DEFAULT_FORM, FORMS, SchemaFiles, form_of_document
from app.forms.rules import finding

__all__ = ["CheckContext", "CheckedInvoice", "DocumentChecker", "InvoiceFacts", "make_checker"]

FindFiles = Callable[[str], Mapping[str, bytes] | None]
"""Gives the official files of a form by its code, None while they are not installed."""


def make_checker(
    schema_files: SchemaFiles, find_files: FindFiles | None = None, *, fast_path: bool = True
) -> "DocumentChecker":
    """Make a checker of the forms in `schema_files`.

    Raises UnusableSchemaError when files do not fit their form. `find_files` is called when a document of another registered form comes, so that a form that is installed later is used at once.
    """
    return DocumentChecker(
        {code: FORMS[code].make_checker(files, fast_path=fast_path) for code, files in schema_files.items()}, find_files
    )


class DocumentChecker:
    """Checks documents of several forms. Belongs to one thread; make one per pool process and keep it."""

    def __init__(self, checkers: Mapping[str, FormChecker], find_files: FindFiles | None = None) -> None:
        """Take the checkers by form code, that of the default form among them."""
        self._checkers = dict(checkers)
        self._find_files = find_files

    def check(self, document: bytes, context: CheckContext) -> CheckedInvoice:
        """Return the facts and findings of a document; never raises for its content."""
        form = form_of_document(document)
        checker = self._checkers.get(form.code) or self._late_checker(form)
        if checker is None:
            return CheckedInvoice(None, (finding("form-not-installed", form=form.code),), DEFAULT_FORM.code)
        return checker.check(document, context)

    def _late_checker(self, form: Form) -> FormChecker | None:
        """Return the checker of a form whose files were installed after this process started."""
        files = self._find_files(form.code) if self._find_files is not None else None
        if files is None:
            return None
        made = self._checkers[form.code] = form.make_checker(files)
        return made
