"""The forms of documents that sessions can have: the sandbox's own list, apart from the product's.

FA(3) is always accepted. Others are accepted when their official XSD is in the folder of the option `--schemas`; a file `forms.json`
there can add forms for tests. Source: KSeF API 2.9, POST /sessions/batch, formCode; the XSD of each form.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

FA3_NAMESPACE = "http://crd.gov.pl/wzor/2025/06/25/13775/"


@dataclass(frozen=True, slots=True)
class DocumentForm:
    """One form: its codes, its schema, and the places of its key fields, as paths below the root in its own namespace."""

    system_code: str
    schema_version: str
    value: str
    variant: int
    namespace: str
    schema_file: str
    receipt_name: str
    """The name that a receipt quotes."""
    kind: str = "Fa/RodzajFaktury"
    number: str = "Fa/P_2"
    issue_date: str = "Fa/P_1"
    buyer_issues: bool = False
    """Whether the buyer (Podmiot2) issues the invoice for the seller (Podmiot1)."""
    folder: str | None = None
    """The folder of the schema file; None for the folder of the installed package."""

    @property
    def codes(self) -> tuple[str, str, str]:
        """The three codes of a session's form."""
        return self.system_code, self.schema_version, self.value


FA3 = DocumentForm("FA (3)", "1-0E", "FA", 3, FA3_NAMESPACE, "schemat_FA(3)_v1-0E.xsd", "Schemat_FA(3)_v1-0E.xsd")
FA_RR1 = DocumentForm(
    "FA_RR (1)",
    "1-1E",
    "FA_RR",
    1,
    "http://crd.gov.pl/wzor/2026/03/06/14189/",
    "schemat_FA_RR(1)_v1-1E.xsd",
    "Schemat_FA_RR(1)_v1-1E.xsd",
    kind="FakturaRR/RodzajFaktury",
    number="FakturaRR/P_4C",
    issue_date="FakturaRR/P_4B",
    buyer_issues=True,
)


def accepted_forms(folder: Path | None) -> dict[tuple[str, str, str], DocumentForm]:
    """Return the forms that sessions can have, by their codes; `folder` has the XSD files of those that no package ships."""
    forms = [FA3]
    if folder is not None:
        added = folder / "forms.json"
        more = [DocumentForm(**one) for one in json.loads(added.read_text())] if added.is_file() else []
        forms += [
            replace(form, folder=str(folder)) for form in (FA_RR1, *more) if (folder / form.schema_file).is_file()
        ]
    return {form.codes: form for form in forms}
