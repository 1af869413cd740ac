"""A third opinion on parsing and schema: ours and the sandbox's both come from libxml2, this one from Java's Xerces.

Used where a JDK is at hand. It knows nothing of KSeF's other rules, so only well-formedness and the XSD are compared.
"""

import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from app.domain.findings import Severity
from app.forms.fa3.schema import FA3_NAMESPACE
from app.forms.form import CheckedInvoice
from app.schema_files import load_schema_files

JAVA = shutil.which("java") if shutil.which("javac") else None
_PROGRAM = Path(__file__).with_name("AnotherValidator.java")
_SECONDS = 900.0
# Xerces unrolls repetitions: ten thousand lines would take it forever.
_MANY = re.compile(rb'maxOccurs="\d{4,}"')
_ASTRAL = re.compile("[\U00010000-\U0010ffff]")
# Rules of which Xerces knows nothing, or after which our check reads no further.
_NOT_COMPARED = frozenset(
    (
        "byte-order-mark", "declared-encoding", "doctype", "empty-document", "forbidden-character", "form-not-supported", "not-an-invoice",
        "not-utf-8", "processing-instruction", "too-large", "too-large-without-attachment", "too-many-attributes", "xml-version",
    )
)  # fmt: skip


def verdicts_of_java(documents: Sequence[bytes]) -> list[str | None]:
    """Return what Xerces holds against each document, None for nothing."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        main = ""
        for file, content in load_schema_files()["FA (3)"].items():
            (folder / file).write_bytes(_MANY.sub(b'maxOccurs="unbounded"', content))
            if f'targetNamespace="{FA3_NAMESPACE}"'.encode() in content:
                main = file
        told = subprocess.run(
            [JAVA or "java", "-Djdk.xml.maxOccurLimit=0", str(_PROGRAM), str(folder), main],
            input=b"".join(struct.pack(">i", len(document)) + document for document in documents),
            capture_output=True,
            check=True,
            timeout=_SECONDS,
        )
    lines = told.stdout.decode("utf-8").split("\n")[:-1]
    assert len(lines) == len(documents), told.stderr.decode("utf-8", "replace")[:500]
    return [None if line == "+" else line[1:] for line in lines]


def schema_difference(document: bytes, checked: CheckedInvoice, fault: str | None) -> str | None:
    """Return how our verdict on form and schema differs from Xerces' `fault`, None where it does not, or is explained."""
    rules = {finding.rule for finding in checked.findings if finding.severity is Severity.ERROR}
    if rules & _NOT_COMPARED:
        return None
    ours = {rule for rule in rules if rule.startswith("xsd-") or rule in {"not-well-formed", "form-header-mismatch"}}
    if bool(ours) == (fault is not None):
        return None
    if fault is None:
        raw = " ".join(finding.raw or "" for finding in checked.findings)
        # Names of namespaces ought to be addresses; libxml2 insists on it.
        return None if "is not a valid URI" in raw else f"only we object: {sorted(ours)} {raw[:200]}"
    # A length is a number of characters for the XSD; Xerces counts those beyond U+FFFF twice.
    if "maxLength" in fault and _ASTRAL.search(document.decode("utf-8", "replace")):
        return None
    return f"only Xerces objects: {fault[:300]}"
