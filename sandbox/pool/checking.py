"""The sandbox's own check of one invoice. It shares no code with the product's check.

Codes: 430 the file, 450 its meaning, 410 the right to issue it, 415 attachments (KSeF API 2.9,
SessionInvoiceStatusResponse.status). Duplicates are found by `processing`, among all invoices accepted so far.
Sources: ksef-docs, faktury/weryfikacja-faktury.md; limits as in GET /limits/context.
"""

import re
from datetime import date
from typing import Any

from lxml import etree

from sandbox.ids import nip_checksum_is_right
from sandbox.pool.forms import FA3_NAMESPACE, DocumentForm
from sandbox.pool.outcome import DocumentRules, Verdict
from sandbox.pool.xsd import schema_of

MAX_KEPT = 10_000_000
"""The largest size that a context can be allowed (POST /testdata/limits/context/session); longer content is not read."""
_MAX_MESSAGES = 5
_BOM = b"\xef\xbb\xbf"
_DECLARATION = re.compile(rb"<\?xml\s[^>]*?\?>")
_ENCODING = re.compile(rb"""\sencoding\s*=\s*["']([^"']*)["']""")
_VERSION = re.compile(rb"""\sversion\s*=\s*["']([^"']*)["']""")
_XML_SPACE = " \t\r\n"
"""The white space of XML and the XSD; Python's `str.strip` removes more characters."""
_PARTIES = ("Podmiot1", "Podmiot2", "Podmiot3", "PodmiotUpowazniony")
_MOMENTS = tuple(
    f"{{{FA3_NAMESPACE}}}{name}" for name in ("DataWytworzeniaFa", "DataGodzRozpTransportu", "DataGodzZakTransportu")
)
_FORBIDDEN = re.compile(
    "[\x7f-\x84\x86-\x9f\ufdd0-\ufdef"
    + "".join(f"{chr(plane * 0x10000 + 0xFFFE)}{chr(plane * 0x10000 + 0xFFFF)}" for plane in range(1, 17))
    + "]"
)
# In UTF-8 every discouraged character is DEL or begins with one of these bytes; Polish letters do not. Deleting all other
# bytes is several times faster than a search, which is then needed for few invoices.
_HARMLESS_BYTES = bytes(set(range(256)) - {0x7F, 0xC2, 0xEF, 0xF0, 0xF1, 0xF2, 0xF3, 0xF4})
_FORBIDDEN_BYTES = re.compile(
    rb"\x7f|\xc2[\x80-\x84\x86-\x9f]|\xef\xb7[\x90-\xaf]|[\xf0-\xf4][\x8f\x9f\xaf\xbf]\xbf[\xbe\xbf]"
)
_REFERENCE = re.compile(rb"&#(?:x0*([0-9A-Fa-f]{1,6})|0*([0-9]{1,7}));")


class Objection(Exception):
    """A reason to reject the invoice: an invoice status code and details."""

    def __init__(self, code: int, *details: str) -> None:
        self.code = code
        self.details = details
        super().__init__(code, *details)


class KeyFields:
    """The key fields of an invoice. The check fills them, so that a rejection can quote those read so far."""

    __slots__ = ("issue_date", "kind", "number", "seller_nip")

    def __init__(self) -> None:
        self.seller_nip: str | None = None
        self.kind: str | None = None
        self.number: str | None = None
        self.issue_date: date | None = None


def verdict_on(content: bytes, rules: DocumentRules, *, name: str, sha256: str, size: int) -> Verdict:
    """Check an invoice and return the verdict. `size` is that of the whole file, also if `content` is only its start."""
    fields = KeyFields()
    code, details = 200, tuple[str, ...]()
    try:
        check_document(content, rules, fields)
    except Objection as objection:
        code, details = objection.code, objection.details
    return Verdict(
        name=name,
        sha256=sha256,
        size=size,
        code=code,
        details=details,
        seller_nip=fields.seller_nip,
        kind=fields.kind,
        number=fields.number,
        issue_date=fields.issue_date,
    )


def check_document(content: bytes, rules: DocumentRules, fields: KeyFields) -> None:
    """Raise an Objection with the first reason to reject the invoice; fill `fields` meanwhile."""
    if len(content) > max(rules.max_bytes, rules.max_bytes_with_attachment):
        raise Objection(430, f"Rozmiar faktury {len(content)} B przekracza {rules.max_bytes_with_attachment} B.")
    _check_bytes(content)
    root = _parse(content)
    has_attachment = root.find(_qualified(root, "Zalacznik")) is not None
    if len(content) > rules.max_bytes and not has_attachment:
        raise Objection(430, f"Rozmiar faktury bez załącznika {len(content)} B przekracza {rules.max_bytes} B.")
    _check_tree(content, root)
    _check_form(root, rules.form)
    if rules.check_schema:
        _check_schema(root, rules.form)
    _read_fields(root, rules.form, fields)
    if fields.issue_date is not None and fields.issue_date > rules.today:
        raise Objection(450, f"Data wystawienia {fields.issue_date} jest późniejsza niż dzień przyjęcia.")
    if rules.check_identifiers:
        _check_identifiers(root)
    _check_seller(root, rules, fields.seller_nip or "")
    if has_attachment and not rules.may_have_attachment:
        raise Objection(415, "W sesji interaktywnej załącznik może mieć tylko korekta techniczna.")
    if has_attachment and fields.seller_nip not in rules.attachment_sellers:
        raise Objection(415, "Sprzedawca nie ma zgody na wystawianie faktur z załącznikiem.")


def _check_bytes(content: bytes) -> None:
    if content.startswith(_BOM):
        raise Objection(430, "Plik zawiera znacznik BOM.")
    if not content.strip():
        raise Objection(430, "Plik jest pusty.")
    declaration = _DECLARATION.match(content)
    if declaration is not None:
        encoding = _ENCODING.search(declaration[0])
        if encoding is not None and encoding[1].lower() != b"utf-8":
            raise Objection(450, "Prolog XML deklaruje kodowanie inne niż UTF-8.")
        # libxml2 reads any version 1.x; KSeF's parser, that of .NET by its messages, reads only 1.0.
        version = _VERSION.search(declaration[0])
        if version is not None and version[1] != b"1.0":
            raise Objection(450, "Prolog XML deklaruje wersję inną niż 1.0.")
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Objection(450, f"Nieprawidłowy bajt UTF-8 na pozycji {error.start}.") from error


def _parse(content: bytes) -> etree._Element:
    # Every invoice gets a new parser, because a shared one keeps the names of all invoices. The encoding is given, because
    # libxml2 would otherwise detect it, and read UTF-16 without a mark.
    parser = etree.XMLParser(
        encoding="utf-8",
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_comments=False,
    )
    try:
        root = etree.fromstring(content, parser)
    except etree.XMLSyntaxError as error:
        raise Objection(450, f"Dokument nie jest poprawnym XML: {error.msg}") from error
    docinfo: Any = root.getroottree().docinfo  # lxml's stubs lack a part of it
    if docinfo.doctype:
        raise Objection(450, "Deklaracja DOCTYPE jest niedozwolona.")
    return root


def _check_tree(content: bytes, root: etree._Element) -> None:
    """Check for processing instructions and discouraged characters. The tree is walked only if the bytes may have some."""
    body = content[declaration.end() :] if (declaration := _DECLARATION.match(content)) else content
    if b"<?" in body:
        for node in root.getroottree().xpath("//processing-instruction()"):  # type: ignore[union-attr]  # node set
            raise Objection(450, f"Instrukcja przetwarzania jest niedozwolona: {node.target}.")  # type: ignore[union-attr]
    if content.translate(None, _HARMLESS_BYTES) and _FORBIDDEN_BYTES.search(content):
        _check_characters(content.decode("utf-8"))
    if b"&#" in content and any(map(_is_forbidden, _REFERENCE.findall(content))):
        # The match may be in a comment, where it is not a reference.
        for element in root.iter():
            for text in (element.text, element.tail, *element.attrib.values()):
                _check_characters(text or "")


def _is_forbidden(reference: tuple[bytes, bytes]) -> bool:
    hexadecimal, decimal = reference
    code = int(hexadecimal, 16) if hexadecimal else int(decimal)
    return code <= 0x10FFFF and _FORBIDDEN.match(chr(code)) is not None


def _check_characters(text: str) -> None:
    if found := _FORBIDDEN.search(text):
        raise Objection(450, f"Niedozwolony znak Unicode U+{ord(found[0]):04X}.")


def _check_form(root: etree._Element, form: DocumentForm) -> None:
    if root.tag != f"{{{form.namespace}}}Faktura":
        raise Objection(450, f"Dokument nie jest fakturą {form.system_code.replace(' ', '')}.")
    code = root.find(_qualified(root, "Naglowek/KodFormularza"))
    found = (code.get("kodSystemowy"), code.get("wersjaSchemy"), _text_of(code)) if code is not None else (None,) * 3
    if (*found, _number(_text(root, "Naglowek/WariantFormularza"))) != (*form.codes, form.variant):
        raise Objection(450, "Nagłówek dokumentu jest niezgodny z kodem formularza sesji.")


def _check_schema(root: etree._Element, form: DocumentForm) -> None:
    schema = schema_of(form)
    if schema.validate(root):
        return
    # White space around a date and time is not part of its value, but libxml2 rejects it before the value.
    for moment in root.iter(*_MOMENTS):
        if all(isinstance(child, etree._Comment) for child in moment):
            text = _text_of(moment).strip(_XML_SPACE)
            del moment[:]
            moment.text = text
    if not schema.validate(root):
        log: Any = schema.error_log  # iterable, which the stubs lack
        raise Objection(450, *(f"{item.line}: {item.message}" for item in list(log)[:_MAX_MESSAGES]))


def _read_fields(root: etree._Element, form: DocumentForm, fields: KeyFields) -> None:
    """Read the four key fields. They are required even without the schema, because the checks need them."""
    seller = _text(root, "Podmiot1/DaneIdentyfikacyjne/NIP")
    kind = _text(root, form.kind)
    number = _text(root, form.number)
    issued = _text(root, form.issue_date)
    if not (seller and kind and number and issued):
        raise Objection(450, f"Brak NIP sprzedawcy, {form.kind}, {form.issue_date} lub {form.number}.")
    try:
        fields.issue_date = date.fromisoformat(issued)
    except ValueError as error:
        raise Objection(450, f"{form.issue_date} nie jest datą: {issued}.") from error
    # KSeF does not document whether numbers that differ in white space are equal; by the XSD's token rules they are.
    fields.seller_nip, fields.kind, fields.number = seller, kind, " ".join(re.split(f"[{_XML_SPACE}]+", number))


def _check_identifiers(root: etree._Element) -> None:
    """Check the parties' identifiers, except in Podmiot1K and Podmiot2K, where a correction may quote a wrong earlier NIP."""
    for party in _PARTIES:
        for known in root.iterfind(_qualified(root, f"{party}/DaneIdentyfikacyjne")):
            nip, internal = _text(known, "NIP"), _text(known, "IDWew")
            if nip is not None and not nip_checksum_is_right(nip):
                raise Objection(450, f"Nieprawidłowa suma kontrolna NIP {nip}.")
            if internal is not None and not nip_checksum_is_right(internal[:10]):
                raise Objection(450, f"Nieprawidłowy identyfikator wewnętrzny {internal}.")


def _check_seller(root: etree._Element, rules: DocumentRules, seller: str) -> None:
    """Check that the context is the seller, or may issue for the seller in the way that the invoice states."""
    context = rules.context_nip
    buyer = _text(root, "Podmiot2/DaneIdentyfikacyjne/NIP")
    if context == (buyer if rules.form.buyer_issues else seller):
        return
    self_invoicing = _number(_text(root, "Fa/Adnotacje/P_17")) == 1
    if self_invoicing and buyer == context and seller in rules.self_invoiced_sellers:
        return
    authorised = root.find(_qualified(root, "PodmiotUpowazniony"))
    if authorised is not None and _text(authorised, "DaneIdentyfikacyjne/NIP") == context:
        role = _number(_text(authorised, "RolaPU"))
        if role in {1, 2} and rules.enforcement:
            return
        if role == 3 and seller in rules.represented_sellers:
            return
    raise Objection(410, f"Kontekst nie ma uprawnień do wystawienia faktury w imieniu sprzedawcy {seller}.")


def _number(text: str | None) -> int | None:
    """Parse an XSD integer, which may be written as 1, 01 or +1."""
    return int(text) if text is not None and re.fullmatch(r"[+-]?[0-9]{1,9}", text) else None


def _text(element: etree._Element, path: str) -> str | None:
    found = element.find(_qualified(element, path))
    return (_text_of(found).strip(_XML_SPACE) or None) if found is not None else None


def _qualified(element: etree._Element, path: str) -> str:
    """Return a path whose steps are in the namespace of an element."""
    namespace = element.tag.rpartition("}")[0] + "}" if element.tag.startswith("{") else ""
    return "/".join(f"{namespace}{step}" for step in path.split("/"))


def _text_of(element: etree._Element) -> str:
    """Return all text of an element, without the comments inside it."""
    return (element.text or "") + "".join(child.tail or "" for child in element)
