"""Plain names of the elements that people ask about most, and plain words for the patterns of the XSD."""

# Element name -> what it holds, in English and Polish. Elements with speaking names are left out.
LABELS: dict[str, tuple[str, str]] = {
    "P_1": ("issue date", "data wystawienia"),
    "P_1M": ("place of issue", "miejsce wystawienia"),
    "P_2": ("invoice number", "numer faktury"),
    "P_6": ("date of delivery or service", "data dostawy lub wykonania usługi"),
    "P_6A": ("date of delivery or service of the line", "data dostawy lub wykonania usługi w wierszu"),
    "P_6_Od": ("start of the invoiced period", "początek okresu faktury"),
    "P_6_Do": ("end of the invoiced period", "koniec okresu faktury"),
    "P_7": ("name of the goods or service", "nazwa towaru lub usługi"),
    "P_8A": ("unit of measure", "jednostka miary"),
    "P_8B": ("quantity", "ilość"),
    "P_9A": ("net unit price", "cena jednostkowa netto"),
    "P_9B": ("gross unit price", "cena jednostkowa brutto"),
    "P_10": ("discount", "opust lub obniżka ceny"),
    "P_11": ("net value of the line", "wartość netto wiersza"),
    "P_11A": ("gross value of the line", "wartość brutto wiersza"),
    "P_11Vat": ("tax on the line", "kwota podatku w wierszu"),
    "P_12": ("tax rate", "stawka podatku"),
    "P_13_1": ("net value at the standard rate", "wartość netto, stawka podstawowa"),
    "P_14_1": ("tax at the standard rate", "podatek, stawka podstawowa"),
    "P_13_2": ("net value at the first reduced rate", "wartość netto, stawka obniżona pierwsza"),
    "P_14_2": ("tax at the first reduced rate", "podatek, stawka obniżona pierwsza"),
    "P_13_3": ("net value at the second reduced rate", "wartość netto, stawka obniżona druga"),
    "P_14_3": ("tax at the second reduced rate", "podatek, stawka obniżona druga"),
    "P_13_7": ("exempt sales", "sprzedaż zwolniona"),
    "P_13_10": ("reverse charge sales", "sprzedaż z odwrotnym obciążeniem"),
    "P_15": ("total due", "kwota należności ogółem"),
    "P_16": ("cash accounting mark", "znacznik metody kasowej"),
    "P_17": ("self-billing mark", "znacznik samofakturowania"),
    "P_18": ("reverse charge mark", "znacznik odwrotnego obciążenia"),
    "P_18A": ("split payment mark", "znacznik mechanizmu podzielonej płatności"),
    "P_19": ("tax exemption mark", "znacznik zwolnienia od podatku"),
    "P_19N": ("no tax exemption mark", "znacznik braku zwolnienia"),
    "P_22": ("new means of transport mark", "znacznik nowych środków transportu"),
    "P_22N": ("no new means of transport mark", "znacznik braku nowych środków transportu"),
    "P_23": ("simplified triangulation mark", "znacznik procedury uproszczonej"),
    "P_PMarzyN": ("no margin scheme mark", "znacznik braku procedury marży"),
    "Podmiot1": ("seller", "sprzedawca"),
    "Podmiot2": ("buyer", "nabywca"),
    "Podmiot3": ("third party", "podmiot trzeci"),
    "PodmiotUpowazniony": ("authorised entity", "podmiot upoważniony"),
    "RodzajFaktury": ("kind of invoice", "rodzaj faktury"),
    "KodWaluty": ("currency", "waluta"),
    "Adnotacje": ("annotations", "adnotacje"),
    "FaWiersz": ("invoice line", "wiersz faktury"),
    "NrWierszaFa": ("line number", "numer wiersza"),
    "JST": ("local government unit mark", "znacznik jednostki samorządu terytorialnego"),
    "GV": ("VAT group member mark", "znacznik członka grupy VAT"),
    "DataWytworzeniaFa": ("creation time", "data i czas wytworzenia"),
    "KodKraju": ("country code", "kod kraju"),
    "AdresL1": ("first line of the address", "pierwszy wiersz adresu"),
    "IDWew": ("internal identifier", "identyfikator wewnętrzny"),
    "Zalacznik": ("attachment", "załącznik"),
}

# How a pattern of the XSD begins -> what it asks for. Looked up in this order.
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

# Name of an XSD type -> what a value of it is.
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

# Elements whose type has no name in the XSD -> the named type that a value of it is like.
UNNAMED_TYPES: dict[str, str] = {
    "DataWytworzeniaFa": "dateTime",
    "WariantFormularza": "integer",
    "JST": "TWybor1_2",
    "GV": "TWybor1_2",
}


def label(name: str, *, polish: bool) -> str:
    """Return the element's name, followed by what it holds where a plain name is known."""
    known = LABELS.get(name)
    return f"{name} ({known[polish]})" if known else name
