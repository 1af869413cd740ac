"""The registry of document forms: one row for each form that the service sends."""

from collections.abc import Mapping
from typing import Final

from app.forms.fa3.form import FA3
from app.forms.fa_rr1.form import FA_RR1
from app.forms.form import Form
from app.forms.root_tag import read_root_tag

DEFAULT_FORM: Final = FA3
"""Its checker explains documents of unknown forms, and its lane takes them."""

FORMS: Final[dict[str, Form]] = {form.code: form for form in (FA3, FA_RR1)}
"""All forms by their code, such as `FA (3)`."""

SchemaFiles = Mapping[str, Mapping[str, bytes]]
"""The official files of the forms that are on: by form code, then content by file name."""


def form_of_document(document: bytes) -> Form:
    """Return the form of a document by the namespace of its root element; the default one where no form has that namespace.

    The header's form code is compared by the form's checker: a document that contradicts its namespace is invalid.
    """
    root = read_root_tag(document)
    if root is not None:
        for form in FORMS.values():
            if form.namespace == root.namespace:
                return form
    return DEFAULT_FORM
