"""Every rule an invoice is checked against, in one list: id, severity, words and source.

The documentation of the rules is made from `RULES`; the check makes its findings through `finding`.
"""

from dataclasses import dataclass
from enum import Enum

from app.domain.findings import Finding, Severity
from app.forms.compared import compared
from app.forms.quoting import Quoted

MAX_RAW = 500


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. `english` and `polish` are templates whose `{fields}` the check fills in."""

    id: str
    severity: Severity
    title: str
    english: str
    polish: str
    source: str


_ERROR = Severity.ERROR
_WARNING = Severity.WARNING
_CHECKS = "ksef-docs, faktury/weryfikacja-faktury.md"
_API_CHANGES = "ksef-docs, api-changelog.md, 2.4.0"
_XML = "XML 1.0, Fifth Edition"
_XSD = "FA(3) schema, schemat_FA(3)_v1-0E.xsd"

_ALL = (
    Rule(
        "empty-document",
        _ERROR,
        "The document is empty",
        "The document is empty.",
        "Dokument jest pusty.",
        f"{_XML}, section 2.1",
    ),
    Rule(
        "too-large",
        _ERROR,
        "The document is larger than KSeF takes",
        "The document has {size} bytes; KSeF takes at most {limit} bytes.",
        "Dokument ma {size} bajtów; KSeF przyjmuje najwyżej {limit} bajtów.",
        "ksef-docs, limity/limity.md; KSeF API 2.9, GET /limits/context",
    ),
    Rule(
        "too-large-without-attachment",
        _ERROR,
        "The document is larger than KSeF takes without an attachment",
        "The document has {size} bytes; an invoice without an attachment may have at most {limit} bytes.",
        "Dokument ma {size} bajtów; faktura bez załącznika może mieć najwyżej {limit} bajtów.",
        "ksef-docs, limity/limity.md; KSeF API 2.9, GET /limits/context",
    ),
    Rule(
        "too-many-attributes",
        _ERROR,
        "An element has more attributes than any invoice could need",
        "{element} has {count} attributes and namespace declarations; no element of an invoice needs more than"
        " {limit}. The document was not checked against the schema.",
        "{element} ma {count} atrybutów i deklaracji przestrzeni nazw; żaden element faktury nie potrzebuje więcej"
        " niż {limit}. Dokumentu nie sprawdzono ze schematem.",
        _XSD,
    ),
    Rule(
        "not-utf-8",
        _ERROR,
        "The document is not encoded in UTF-8",
        "The document is not valid UTF-8: {english_reason}. Save it as UTF-8.",
        "Dokument nie jest poprawnym tekstem UTF-8: {polish_reason}. Należy zapisać go w UTF-8.",
        _CHECKS,
    ),
    Rule(
        "byte-order-mark",
        _ERROR,
        "The document starts with a byte order mark",
        "The document starts with a byte order mark (bytes EF BB BF), which KSeF refuses. Save it as UTF-8 without BOM.",
        "Dokument zaczyna się znacznikiem BOM (bajty EF BB BF), którego KSeF nie przyjmuje."
        " Należy zapisać go w UTF-8 bez BOM.",
        f"{_CHECKS}; ksef-docs issue 779",
    ),
    Rule(
        "declared-encoding",
        _ERROR,
        "The XML declaration names another encoding than UTF-8",
        "The XML declaration names the encoding {value}; KSeF takes only UTF-8.",
        "Deklaracja XML podaje kodowanie {value}; KSeF przyjmuje tylko UTF-8.",
        "ksef-docs, api-changelog.md, 2.3.0",
    ),
    Rule(
        "xml-version",
        _ERROR,
        "The XML declaration names another version than 1.0",
        "The XML declaration names version {value}; an invoice must be XML 1.0.",
        "Deklaracja XML podaje wersję {value}; faktura musi być w XML 1.0.",
        f"{_XML}, section 2.8",
    ),
    Rule(
        "processing-instruction",
        _ERROR,
        "The document contains a processing instruction",
        "The document contains a processing instruction ({value}), which KSeF refuses. Remove it.",
        "Dokument zawiera instrukcję przetwarzania ({value}), której KSeF nie przyjmuje. Należy ją usunąć.",
        _API_CHANGES,
    ),
    Rule(
        "doctype",
        _ERROR,
        "The document contains a DTD",
        "The document contains a document type declaration (<!DOCTYPE ...>) or another declaration of a DTD."
        " An invoice may not have one, and it was not read any further.",
        "Dokument zawiera deklarację typu dokumentu (<!DOCTYPE ...>) lub inną deklarację DTD."
        " Faktura nie może jej mieć i nie była dalej czytana.",
        f"{_CHECKS}; OWASP, XML External Entity Prevention",
    ),
    Rule(
        "forbidden-character",
        _ERROR,
        "The document contains a character that KSeF refuses",
        "The character U+{code} is not allowed in an invoice{english_reference}. Occurrences: {count}.",
        "Znak U+{code} jest niedozwolony w fakturze{polish_reference}. Liczba wystąpień: {count}.",
        f"{_API_CHANGES}; {_XML}, section 2.2, note",
    ),
    Rule(
        "not-well-formed",
        _ERROR,
        "The document is not well-formed XML",
        "The document is not well-formed XML: {english_reason} (column {column}).",
        "Dokument nie jest poprawnie zbudowanym XML: {polish_reason} (kolumna {column}).",
        _XML,
    ),
    Rule(
        "form-not-supported",
        _ERROR,
        "The document is of another form than FA(3)",
        "The document is {english_form}; this service sends FA(3) only. {english_advice}.",
        "Dokument to {polish_form}; ta usługa wysyła tylko faktury FA(3). {polish_advice}.",
        "KSeF API 2.9, POST /sessions/batch and POST /sessions/online, formCode",
    ),
    Rule(
        "form-not-installed",
        _ERROR,
        "The official schema file of the document's form is not installed",
        "The document is of the form {form}, whose official schema file is not installed here. An operator installs it with"
        " `ksefd schema install FILE`; then send the document again.",
        "Dokument ma formę {form}, a jej urzędowy plik schematu nie jest tu zainstalowany. Operator instaluje go poleceniem"
        " `ksefd schema install FILE`; potem należy wysłać dokument ponownie.",
        "schemas/catalog.toml",
    ),
    Rule(
        "form-header-mismatch",
        _ERROR,
        "The header does not announce the form of the namespace",
        "{element} says {value}, but an {form} invoice must say {expected}.",
        "{element} podaje {value}, a w fakturze {form} musi być {expected}.",
        f"{_CHECKS}; {_XSD}, TNaglowek",
    ),
    Rule(
        "attachment-not-allowed",
        _ERROR,
        "The invoice has an attachment, and the tenant may not send any",
        "The invoice has an attachment (Zalacznik), but the taxpayer has not been allowed to send invoices with"
        " attachments. Give notice of it in e-Urząd Skarbowy first.",
        "Faktura ma załącznik (Zalacznik), a podatnik nie ma zgody na wysyłanie faktur z załącznikami."
        " Należy najpierw zgłosić taki zamiar w e-Urzędzie Skarbowym.",
        "KSeF API 2.9, GET /permissions/attachments/status; invoice status 415",
    ),
    Rule(
        "nip-checksum",
        _ERROR,
        "A NIP has a wrong check digit",
        "The NIP {value} of {party} has a wrong check digit: at least one of its digits is wrong.",
        "NIP {value} ({party}) ma błędną cyfrę kontrolną: co najmniej jedna cyfra jest błędna.",
        f"{_CHECKS}; KSeF API 2.8, X-KSeF-Feature: subject-identifier-validation",
    ),
    Rule(
        "internal-id-checksum",
        _ERROR,
        "The NIP inside an internal identifier has a wrong check digit",
        "The internal identifier {value} of {party} starts with a NIP whose check digit is wrong.",
        "Identyfikator wewnętrzny {value} ({party}) zaczyna się od NIP z błędną cyfrą kontrolną.",
        f"{_CHECKS}; KSeF API 2.8, X-KSeF-Feature: subject-identifier-validation",
    ),
    Rule(
        "seller-not-tenant",
        _ERROR,
        "The seller is somebody else, and nothing in the invoice lets the tenant issue it",
        "The seller's NIP is {value}, but invoices are sent for {tenant}, and nothing in the invoice (self-billing,"
        " an authorised entity, an issuer in Podmiot3) shows why {tenant} may issue it.",
        "NIP sprzedawcy to {value}, a faktury są wysyłane w kontekście {tenant} i nic na fakturze (samofakturowanie,"
        " podmiot upoważniony, wystawca w Podmiot3) nie wskazuje, dlaczego {tenant} może ją wystawić.",
        "ksef-docs, uprawnienia.md; KSeF API 2.9, invoice status 410",
    ),
    Rule(
        "buyer-not-tenant",
        _ERROR,
        "The buyer of a VAT RR invoice, who issues it, is another taxpayer",
        "The buyer's NIP is {value}, but invoices are sent for {tenant}. The buyer (Podmiot2) issues a VAT RR invoice, so it must"
        " be {tenant}.",
        "NIP nabywcy to {value}, a faktury są wysyłane w kontekście {tenant}. Fakturę VAT RR wystawia nabywca (Podmiot2), więc musi"
        " nim być {tenant}.",
        "Polish VAT Act, article 116(1); KSeF API 2.9, invoice status 410",
    ),
    Rule(
        "issue-date-in-future",
        _ERROR,
        "The issue date lies in the future",
        "The issue date ({field}) {value} is later than today, {today}. KSeF refuses invoices from the future.",
        "Data wystawienia ({field}) {value} jest późniejsza niż dzisiejsza, {today}. KSeF nie przyjmuje faktur z przyszłą datą.",
        _CHECKS,
    ),
    Rule(
        "will-be-offline",
        _WARNING,
        "The issue date is past, so KSeF will take the invoice as an offline one",
        "The issue date ({field}) {value} is earlier than today, {today}. KSeF will mark the invoice as offline, and its"
        " visualisation needs both QR codes.",
        "Data wystawienia ({field}) {value} jest wcześniejsza niż dzisiejsza, {today}. KSeF oznaczy fakturę jako offline,"
        " a jej wizualizacja musi mieć oba kody QR.",
        "ksef-docs, offline/automatyczne-okreslanie-trybu-offline.md",
    ),
    Rule(
        "issue-date-long-past",
        _WARNING,
        "The issue date is so long past that it may be a slip",
        "The issue date (P_1) {value} is more than a year before today, {today}, or earlier than {since}, when FA(3) came"
        " into force. KSeF takes it, but check that it is right.",
        "Data wystawienia (P_1) {value} przypada ponad rok przed dzisiejszą, {today}, albo przed {since}, kiedy zaczęła"
        " obowiązywać FA(3). KSeF ją przyjmie, ale należy sprawdzić, czy jest poprawna.",
        "ksef-docs, issue 657; FA(3) schema, in force since 1 February 2026",
    ),
    Rule(
        "delivery-date-unlikely",
        _WARNING,
        "The date of delivery lies so far from the issue date that it may be a slip",
        "The date of delivery or service {value} lies more than a year after the issue date {issued}, or more than five years"
        " before it. Check that it is right.",
        "Data dostawy lub wykonania usługi {value} przypada ponad rok po dacie wystawienia {issued} albo ponad pięć lat przed"
        " nią. Należy sprawdzić, czy jest poprawna.",
        "Polish VAT Act, articles 106e(1) point 6 and 106i",
    ),
    Rule(
        "period-reversed",
        _WARNING,
        "The invoiced period ends before it starts",
        "The invoiced period starts on {first} (P_6_Od) and ends before that, on {last} (P_6_Do).",
        "Okres, którego dotyczy faktura, zaczyna się {first} (P_6_Od), a kończy wcześniej, {last} (P_6_Do).",
        f"{_XSD}, OkresFa",
    ),
    Rule(
        "creation-time-without-offset",
        _WARNING,
        "The creation time does not name its time zone",
        "DataWytworzeniaFa {value} has no time zone and can be misread by hours. End it with Z or an offset such as +01:00.",
        "DataWytworzeniaFa {value} nie ma strefy czasowej i może być źle odczytana o kilka godzin."
        " Należy zakończyć ją literą Z albo przesunięciem, np. +01:00.",
        "ksef-docs, issues 412 and 712",
    ),
    Rule(
        "creation-time-in-future",
        _WARNING,
        "The creation time lies in the future",
        "DataWytworzeniaFa {value} is later than today, {today}. Check the clock of the computer that makes the invoices.",
        "DataWytworzeniaFa {value} jest późniejsza niż dzień dzisiejszy, {today}. Należy sprawdzić zegar komputera, który"
        " wytwarza faktury.",
        f"{_XSD}, DataWytworzeniaFa",
    ),
    Rule(
        "total-mismatch",
        _WARNING,
        "The total differs from the sum of net values and tax",
        "The total (P_15) is {value}, but the net values and tax amounts (P_13 and P_14 fields) add up to {sum}.",
        "Kwota należności ogółem (P_15) wynosi {value}, a suma wartości netto i podatku (pola P_13 i P_14) to {sum}.",
        "Polish VAT Act, article 106e(1), points 13 to 15",
    ),
    Rule(
        "tax-mismatch",
        _WARNING,
        "A tax amount fits no rate of its field",
        "The tax {tax} ({tax_field}) is not {english_rates} of the net value {net} ({net_field}).",
        "Podatek {tax} ({tax_field}) to nie {polish_rates} wartości netto {net} ({net_field}).",
        f"{_XSD}, P_13 and P_14 fields; Polish VAT Act, article 106e(1), points 13 and 14",
    ),
    Rule(
        "xsd-missing-element",
        _ERROR,
        "A required element is missing",
        "{english_element} lacks {english_expected}.",
        "W {polish_element} brakuje: {polish_expected}.",
        _XSD,
    ),
    Rule(
        "xsd-unexpected-element",
        _ERROR,
        "An element stands where it may not",
        "{english_element} may not stand here. {english_hint}",
        "{polish_element} nie może wystąpić w tym miejscu. {polish_hint}",
        _XSD,
    ),
    Rule(
        "xsd-foreign-namespace",
        _ERROR,
        "An element is in the wrong namespace",
        "{english_element} is in the namespace {namespace} instead of {expected}.",
        "{polish_element} jest w przestrzeni nazw {namespace} zamiast {expected}.",
        _XSD,
    ),
    Rule(
        "xsd-bad-value",
        _ERROR,
        "A value has the wrong form",
        "{english_element}: {value} is not {english_kind}.",
        "{polish_element}: {value} to nie jest {polish_kind}.",
        _XSD,
    ),
    Rule(
        "xsd-value-not-allowed",
        _ERROR,
        "A value is not on the list of allowed ones",
        "{english_element}: {value} is not allowed; allowed: {allowed}.",
        "{polish_element}: wartość {value} jest niedozwolona; dozwolone: {allowed}.",
        _XSD,
    ),
    Rule(
        "xsd-pattern",
        _ERROR,
        "A value does not have the required pattern",
        "{english_element}: {value} does not have the required form: {english_kind}.",
        "{polish_element}: {value} nie ma wymaganej postaci: {polish_kind}.",
        _XSD,
    ),
    Rule(
        "xsd-empty-value",
        _ERROR,
        "A value is empty",
        "{english_element} is empty. Fill it in, or leave the element out where it is optional.",
        "{polish_element} nie ma wartości. Należy ją uzupełnić albo pominąć element, jeśli jest nieobowiązkowy.",
        _XSD,
    ),
    Rule(
        "xsd-too-short",
        _ERROR,
        "A value is too short",
        "{english_element}: {value} has {length} characters; at least {limit} are required.",
        "{polish_element}: {value} ma {length} znaków; wymagane jest co najmniej {limit}.",
        _XSD,
    ),
    Rule(
        "xsd-too-long",
        _ERROR,
        "A value is too long",
        "{english_element} has {length} characters; at most {limit} are allowed.",
        "{polish_element} ma {length} znaków; dozwolone jest najwyżej {limit}.",
        _XSD,
    ),
    Rule(
        "xsd-out-of-range",
        _ERROR,
        "A value lies outside the allowed range",
        "{english_element}: {value} is out of range; it must be {english_bound} {limit}.",
        "{polish_element}: wartość {value} jest poza zakresem; musi być {polish_bound} {limit}.",
        _XSD,
    ),
    Rule(
        "xsd-too-many-digits",
        _ERROR,
        "A number has too many digits",
        "{english_element}: {value} has too many digits{english_where}; at most {limit} are allowed.",
        "{polish_element}: {value} ma zbyt wiele cyfr{polish_where}; dozwolone jest najwyżej {limit}.",
        _XSD,
    ),
    Rule(
        "xsd-missing-attribute",
        _ERROR,
        "A required attribute is missing",
        "{english_element} lacks the attribute {attribute}.",
        "{polish_element} nie ma atrybutu {attribute}.",
        _XSD,
    ),
    Rule(
        "xsd-unexpected-attribute",
        _ERROR,
        "An attribute is not allowed",
        "{english_element} may not have the attribute {attribute}.",
        "{polish_element} nie może mieć atrybutu {attribute}.",
        _XSD,
    ),
    Rule(
        "xsd-unexpected-text",
        _ERROR,
        "Text stands where only elements may",
        "{english_element} may contain only other elements, but there is text directly inside it.",
        "{polish_element} może zawierać tylko inne elementy, a jest w nim bezpośrednio tekst.",
        _XSD,
    ),
    Rule(
        "xsd-unexpected-child",
        _ERROR,
        "An element stands where only text may",
        "{english_element} may contain only text, but there is another element inside it.",
        "{polish_element} może zawierać tylko tekst, a jest w nim inny element.",
        _XSD,
    ),
    Rule(
        "xsd-instruction",
        _ERROR,
        "An attribute tells the schema check what to do, which no invoice may",
        "{english_element} has the attribute xsi:{attribute}, which an invoice may not use here. Remove it; leave an element"
        " without a value out.",
        "{polish_element} ma atrybut xsi:{attribute}, którego faktura nie może tu używać. Należy go usunąć; element bez"
        " wartości należy pominąć.",
        _XSD,
    ),
    Rule(
        "xsd-other",
        _ERROR,
        "The schema is broken in another way",
        "{english_element} does not fit the schema of FA(3); see the original message.",
        "{polish_element} nie jest zgodne ze schematem FA(3); zobacz oryginalny komunikat.",
        _XSD,
    ),
    Rule(
        "may-be-refused",
        _WARNING,
        "The schema allows a value that KSeF may refuse",
        "{english_element}: {english_reason}. The schema allows the value, but KSeF checks with .NET, which counts otherwise,"
        " and may refuse the invoice.",
        "{polish_element}: {polish_reason}. Schemat dopuszcza tę wartość, ale KSeF sprawdza dokumenty w .NET, który liczy"
        " inaczej, i może odrzucić fakturę.",
        "ksef-docs, issues 281 and 495",
    ),
    Rule(
        "key-fields-missing",
        _ERROR,
        "What identifies the invoice cannot be read",
        "Seller NIP, kind, number or issue date cannot be read from this document, so it cannot be sent.",
        "Z dokumentu nie można odczytać numeru NIP sprzedawcy, rodzaju, numeru lub daty wystawienia; nie zostanie wysłany.",
        "ksef-dispatch",
    ),
    Rule(
        "too-many-findings",
        _WARNING,
        "There are more findings than are listed",
        "Only the first {limit} findings are listed; there are at least {more} more.",
        "Podano tylko pierwszych {limit} uwag; jest ich co najmniej o {more} więcej.",
        "ksef-dispatch",
    ),
)

RULES: dict[str, Rule] = {rule.id: rule for rule in _ALL}


RULES_OF_THE_TENANT = frozenset(("seller-not-tenant", "buyer-not-tenant"))
"""Rules that compare a party with the tenant; without a tenant they do not apply."""


def finding(
    rule: str, /, *, line: int | None = None, path: str | None = None, raw: str | None = None, **values: object
) -> Finding:
    """Return a finding of the rule, its words filled in with `values`. Long values and raw words are cut."""
    known = RULES[rule]
    shown, english, polish = ({name: _word(value, way) for name, value in values.items()} for way in _Way)
    return Finding(
        rule=rule,
        severity=known.severity,
        message=known.english.format_map(english),
        message_pl=known.polish.format_map(polish),
        line=line,
        path=path,
        raw=None if raw is None else _shortened(raw, MAX_RAW),
        compared=compared(rule, shown),
    )


class _Way(Enum):
    """The ways in which a value is written: alone, or with notes on it in a message."""

    ALONE = 0
    ENGLISH = 1
    POLISH = 2


def _word(value: object, way: _Way) -> str:
    if isinstance(value, Quoted) and way is not _Way.ALONE:
        return value.noted(polish=way is _Way.POLISH)
    return _shortened(str(value), MAX_RAW)


def _shortened(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
