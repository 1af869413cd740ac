"""What the schema says does not hang on libxml2: Java's Xerces finds the same documents valid."""

from datetime import date

import pytest

from app.forms.fa3.checker import InvoiceChecker
from app.forms.fa3.schema import compile_schema
from app.schema_files import load_schema_files
from tests.agreement.another_validator import JAVA, schema_difference, verdicts_of_java
from tests.agreement.comparing import MODES, ours
from tests.agreement.making import make_cases
from tests.agreement.mutations import LARGE

DAY = date(2026, 11, 20)


@pytest.mark.parametrize("java", [JAVA] if JAVA else [])
def test_another_validator_finds_the_same_documents_valid(java: str) -> None:
    checker = InvoiceChecker(compile_schema(load_schema_files()["FA (3)"]))
    cases = [case for case in make_cases(500, DAY, 4) if LARGE.isdisjoint(case.mutations)]
    faults = verdicts_of_java([case.document for case in cases])
    assert len(cases) // 5 < faults.count(None) < len(cases) * 4 // 5
    differing = {}
    for case, fault in zip(cases, faults, strict=True):
        found = schema_difference(case.document, ours(checker, case.document, MODES[0], DAY), fault)
        if found:
            differing[case.name] = (case.mutations, found)
    assert differing == {}
