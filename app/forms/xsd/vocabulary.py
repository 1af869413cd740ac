"""Plain words for the names, patterns and types of an XSD, in English and Polish."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The words of one form."""

    namespace: str
    labels: Mapping[str, tuple[str, str]]
    """Name of an element to its content, in English and Polish. Elements with self-explaining names are left out."""

    def label(self, name: str, *, polish: bool) -> str:
        """Return the element's name, followed by its content where a plain name is known."""
        known = self.labels.get(name)
        return f"{name} ({known[polish]})" if known else name


# Beginning of an XSD pattern -> its meaning. The first that matches counts.
PATTERNS: tuple[tuple[str, str, str], ...] = (
    (
        r"[1-9]((\d[1-9])|([1-9]\d))\d{7}-\d{5}",
        "a NIP, a hyphen and five digits",
        "NIP, łącznik i pięć cyfr",
    ),
    (
        r"[1-9]((\d[1-9])|([1-9]\d))\d{7}",
        "a NIP of ten digits without hyphens, spaces or PL",
        "NIP z dziesięciu cyfr, bez łączników, spacji i PL",
    ),
    (r"([1-9]((\d[1-9])|([1-9]\d))\d{7}|M", "a KSeF number", "numer KSeF"),
    (
        r"(\d|[A-Z]|\+|\*){1,12}",
        "a VAT number of the EU without its country code: at most 12 digits and capital letters",
        "numer VAT UE bez kodu kraju: najwyżej 12 cyfr i wielkich liter",
    ),
    (
        r"[A-Z]{6}[A-Z0-9]{2}",
        "a SWIFT code of 8 or 11 capital letters and digits",
        "kod SWIFT z 8 lub 11 wielkich liter i cyfr",
    ),
    (
        r"(https?)://",
        "a link to a payment, starting with https:// and with IPKSeF=... among its parameters",
        "link do płatności, zaczynający się od https:// i zawierający parametr IPKSeF=...",
    ),
    (
        r"[0-9]{3}[a-zA-Z0-9]{10}",
        "a payment identifier of 13 characters: three digits, then ten letters and digits",
        "identyfikator płatności z 13 znaków: trzy cyfry, potem dziesięć liter i cyfr",
    ),
    (r"\d{10}", "ten digits", "dziesięć cyfr"),
    (
        r"-?([1-9]\d{0,15}|0)(\.\d{1,2})?",
        "an amount with a dot and at most two decimals, without spaces and leading zeros",
        "kwota z kropką i najwyżej dwoma miejscami po niej, bez spacji i zer wiodących",
    ),
    (
        r"-?([1-9]\d{0,13}|0)(\.\d{1,8})?",
        "a price with a dot and at most eight decimals, without spaces and leading zeros",
        "cena z kropką i najwyżej ośmioma miejscami po niej, bez spacji i zer wiodących",
    ),
    (
        r"-?([1-9]\d{0,15}|0)(\.\d{1,6})?",
        "a number with a dot and at most six decimals, without spaces and leading zeros",
        "liczba z kropką i najwyżej sześcioma miejscami po niej, bez spacji i zer wiodących",
    ),
    (r"((\d{4})-(\d{2})-(\d{2}))", "a date YYYY-MM-DD", "data RRRR-MM-DD"),
    (r"(.)+@(.)+", "an e-mail address", "adres e-mail"),
)

# Name of an XSD type -> the meaning of its values.
TYPES: dict[str, tuple[str, str]] = {
    **dict.fromkeys(
        ("TData", "TDataT", "TDataU", "date"), ("an existing date YYYY-MM-DD", "istniejąca data w postaci RRRR-MM-DD")
    ),
    **dict.fromkeys(
        ("TDataCzas", "dateTime"),
        ("a date and time such as 2026-02-01T12:00:00Z", "data i czas, np. 2026-02-01T12:00:00Z"),
    ),
    **dict.fromkeys(
        ("TKwotowy", "TKwotowy2", "TIlosci", "TProcentowy", "decimal"),
        (
            "a number with a dot as decimal separator and no spaces",
            "liczba z kropką dziesiętną i bez spacji",
        ),
    ),
    **dict.fromkeys(("TNaturalny", "integer", "byte"), ("a whole number", "liczba całkowita")),
    **dict.fromkeys(
        (
            *("TRolaPodmiotu3", "TRolaPodmiotuUpowaznionego", "TStatusInfoPodatnika", "TTypKorekty"),
            *("TFormaPlatnosci", "TLadunek", "TRodzajTransportu", "TRachunekWlasnyBanku", "TWybor1", "TWybor1_2"),
        ),
        ("one of the code numbers for this field", "jeden z kodów liczbowych tego pola"),
    ),
    "TNrREGON": ("a REGON of 9 or 14 digits", "numer REGON z 9 lub 14 cyfr"),
}

# Elements whose type has no name in the XSD -> a named type of the same meaning.
UNNAMED_TYPES: dict[str, str] = {
    "DataWytworzeniaFa": "dateTime",
    "WariantFormularza": "integer",
    "JST": "TWybor1_2",
    "GV": "TWybor1_2",
}
