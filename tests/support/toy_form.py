"""A form that exists in tests only: its registry row, its schema, its documents, and its row for the sandbox."""

import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from lxml import etree

from app.forms.fields import InvoiceFacts, make_facts
from app.forms.form import Form
from app.forms.full_check import FormRules, FullCheck
from app.forms.header import HeaderCodes, check_header
from app.forms.registry import FORMS
from app.forms.xsd.schema import compile_schema
from app.forms.xsd.vocabulary import Vocabulary
from app.schema_files import load_schema_files
from invoicegen.invoices import GeneratedInvoice

NAMESPACE = "urn:example:toy"
CODES = HeaderCodes(name="TOY(1)", code="TOY (1)", schema_version="1-0E", value="TOY", variant="1")
FILE = "toy.xsd"
XSD = f"""<?xml version="1.0"?>
<x:schema xmlns:x="http://www.w3.org/2001/XMLSchema" targetNamespace="{NAMESPACE}" elementFormDefault="qualified">
<x:element name="Faktura"><x:complexType><x:sequence>
<x:element name="Naglowek"><x:complexType><x:sequence>
<x:element name="KodFormularza"><x:complexType><x:simpleContent><x:extension base="x:string">
<x:attribute name="kodSystemowy"/><x:attribute name="wersjaSchemy"/></x:extension></x:simpleContent></x:complexType></x:element>
<x:element name="WariantFormularza" type="x:integer"/></x:sequence></x:complexType></x:element>
<x:element name="Podmiot1"><x:complexType><x:sequence><x:element name="DaneIdentyfikacyjne"><x:complexType><x:sequence>
<x:element name="NIP" type="x:token"/></x:sequence></x:complexType></x:element></x:sequence></x:complexType></x:element>
<x:element name="Toy"><x:complexType><x:sequence>
<x:element name="Number" type="x:token"/><x:element name="Day" type="x:date"/><x:element name="Kind" type="x:token"/>
</x:sequence></x:complexType></x:element>
</x:sequence></x:complexType></x:element></x:schema>
""".encode()


@dataclass(slots=True)
class _Elements:
    root: etree._Element
    form_code: etree._Element | None

    def at(self, path: str) -> etree._Element | None:
        return self.root.find("/".join(f"{{{NAMESPACE}}}{step}" for step in path.split("/")))


def _read(root: etree._Element) -> _Elements:
    return _Elements(root, root.find(f"{{{NAMESPACE}}}Naglowek/{{{NAMESPACE}}}KodFormularza"))


def _facts(found: _Elements) -> InvoiceFacts | None:
    return make_facts(
        seller_nip=found.at("Podmiot1/DaneIdentyfikacyjne/NIP"),
        kind=found.at("Toy/Kind"),
        number=found.at("Toy/Number"),
        issue_date=found.at("Toy/Day"),
        form_code=found.form_code,
        currency=None,
        has_attachment=False,
    )


_RULES = FormRules(
    form_code=CODES.code,
    root=f"{{{NAMESPACE}}}Faktura",
    vocabulary=Vocabulary(NAMESPACE, {}),
    read_elements=_read,
    facts_of=_facts,
    check_elements=lambda found, _size, _context: check_header(found.form_code, None, CODES),
    check_valid=lambda _found: [],
)

TOY = Form(
    code=CODES.code,
    schema_version=CODES.schema_version,
    value=CODES.value,
    namespace=NAMESPACE,
    schema_files=(FILE,),
    make_checker=lambda files, fast_path=True: FullCheck(compile_schema(files, NAMESPACE), _RULES),
)


def load_schema_files_with_toy() -> dict[str, dict[str, bytes]]:
    """Register the form in this process, and return the schema files of all forms; for pool processes."""
    FORMS[TOY.code] = TOY
    return {**load_schema_files(), TOY.code: {FILE: XSD}}


def toy_invoices(count: int, *, nip: str, day: date) -> list[GeneratedInvoice]:
    """Make valid documents of the form."""
    return [
        GeneratedInvoice(f"T/{number}", f"toy-{number}.xml", _document(f"T/{number}", nip, day), "TOY")
        for number in range(count)
    ]


def _document(number: str, nip: str, day: date) -> bytes:
    return (
        f'<Faktura xmlns="{NAMESPACE}"><Naglowek><KodFormularza kodSystemowy="{CODES.code}" '
        f'wersjaSchemy="{CODES.schema_version}">{CODES.value}</KodFormularza><WariantFormularza>1</WariantFormularza></Naglowek>'
        f"<Podmiot1><DaneIdentyfikacyjne><NIP>{nip}</NIP></DaneIdentyfikacyjne></Podmiot1>"
        f"<Toy><Number>{number}</Number><Day>{day}</Day><Kind>TOY</Kind></Toy></Faktura>"
    ).encode()


def teach_sandbox(folder: Path) -> None:
    """Write what the sandbox's option `--schemas` reads: the schema, and the form's codes and places."""
    (folder / FILE).write_bytes(XSD)
    form = {
        "system_code": CODES.code,
        "schema_version": CODES.schema_version,
        "value": CODES.value,
        "variant": int(CODES.variant),
        "namespace": NAMESPACE,
        "schema_file": FILE,
        "receipt_name": FILE,
        "kind": "Toy/Kind",
        "number": "Toy/Number",
        "issue_date": "Toy/Day",
    }
    (folder / "forms.json").write_text(json.dumps([form]))
