"""Pools of buyers and products, made once for each seed, already escaped for XML."""

from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import NamedTuple
from xml.sax.saxutils import escape

_NIP_WEIGHTS = (6, 5, 7, 2, 3, 4, 5, 6, 7)
BUYERS_PER_SEED = 1500

_CITIES = (
    ("00", "Warszawa"), ("30", "Kraków"), ("90", "Łódź"), ("50", "Wrocław"), ("60", "Poznań"),
    ("80", "Gdańsk"), ("70", "Szczecin"), ("85", "Bydgoszcz"), ("20", "Lublin"), ("15", "Białystok"),
    ("40", "Katowice"), ("81", "Gdynia"), ("42", "Częstochowa"), ("35", "Rzeszów"), ("87", "Toruń"),
    ("25", "Kielce"), ("10", "Olsztyn"), ("43", "Bielsko-Biała"), ("65", "Zielona Góra"), ("18", "Łomża"),
    ("33", "Nowy Sącz"), ("07", "Ostrołęka"), ("37", "Jarosław"), ("34", "Żywiec"), ("63", "Środa Wielkopolska"),
)  # fmt: skip
_STREETS = (
    "Lipowa", "Polna", "Źródlana", "Świętojańska", "Łąkowa", "Długa", "Krótka", "Młyńska", "Ogrodowa",
    "Przemysłowa", "Kościelna", "Żeglarska", "Górnośląska", "Węglowa", "Jaśminowa", "Plac Wolności",
    "aleja Niepodległości", "Ćwiklińska", "Rybacka", "Dębowa", "Portowa", "Zielona", "Osiedle Słoneczne",
)  # fmt: skip
_TRADES = (
    "Zakład Elektryczny", "Hurtownia Spożywcza", "Przedsiębiorstwo Budowlane", "Apteka", "Biuro Rachunkowe",
    "Spółdzielnia Mleczarska", "Zakłady Mięsne", "Serwis Komputerowy", "Warsztat Samochodowy", "Piekarnia",
    "Drukarnia", "Odlewnia Żeliwa", "Gospodarstwo Rolne", "Szkółka Leśna", "Centrum Ogrodnicze",
    "Pracownia Złotnicza", "Wydawnictwo", "Agencja Celna", "Kancelaria", "Tartak", "Pensjonat",
)  # fmt: skip
_BRANDS = (
    "Świt", "Żubr", "Łoś", "Ćma & Kret", "Ślęża", "Gęśla", "Bąk <i> Syn", "Wążbud", "Źrebak", "Jaśmin",
    "Północ", "Kłos", "Mała Łąka", "\"Dębina\"", "Róża Wiatrów", "O'Łata", "Zgoda+", "Trzcina 24/7",
    "Gwóźdź", "Chrząszcz", "Ósemka", "Ěra", "Ünal", "Sérac",
)  # fmt: skip
_LEGAL_FORMS = ("sp. z o.o.", "S.A.", "sp. j.", "sp. k.", "s.c.", "P.S.A.", "sp. z o.o. sp. k.")
_UNIONS = (  # prefix, length of the number, names, address line 1, address line 2
    ("DE", 9, ("Größe & Söhne GmbH", "Nordlicht Handels AG"), "Straße des 17. Juni", "10785 Berlin"),
    ("FR", 11, ("Société Générale d'Étain", "Lumière SARL"), "rue de l'Église", "69003 Lyon"),
    ("CZ", 8, ("Příbramské strojírny s.r.o.", "Žižkovská pekárna a.s."), "Křižíkova", "186 00 Praha 8"),
    ("EL", 9, ("Αιγαίο Τρόφιμα Α.Ε.", "Ολυμπία Ε.Π.Ε."), "Λεωφόρος Συγγρού", "117 42 Αθήνα"),
    ("SE", 12, ("Älvsborgs Måleri AB", "Östra Bruket AB"), "Storgatan", "411 38 Göteborg"),
    ("LT", 9, ("UAB Šiaurės žuvis", "UAB Ąžuolas"), "Gedimino pr.", "LT-01103 Vilnius"),
    ("HU", 8, ("Tűzhely Kft.", "Öböl Zrt."), "Rákóczi út", "1072 Budapest"),
    ("BG", 9, ("Родопи ЕООД", "Черно море АД"), "бул. Витоша", "1000 София"),
)
_OVERSEAS = (  # country, form of the number, names, address
    (
        "US",
        "{:02d}-{:07d}",
        ("Blue Ridge Tools Inc.", "Prairie & Sons LLC"),
        "Market Street",
        "Springfield, IL 62701",
    ),
    ("CH", "CHE-{:03d}.{:06d}", ("Bündner Uhren AG", "Léman SA"), "Bahnhofstrasse", "7000 Chur"),
    ("UA", "{:03d}{:07d}", ("ТОВ «Дніпро Агро»", "ПП «Їжачок»"), "вул. Хрещатик", "01001 Київ"),
    ("NO", "{:03d} {:06d}", ("Fjord Sjømat AS", "Ås Møbler AS"), "Kongens gate", "0153 Oslo"),
    ("JP", "{:04d}-{:08d}", ("東京貿易株式会社", "北海道水産"), "丸の内", "100-0005 東京都"),
)
_GOODS = (  # name, unit, lowest and highest net price in grosze, VAT rate, GTU, code
    ("śruba nierdzewna M8×40", "szt.", 18, 240, "23", "", "<CN>7318 15 42</CN>"),
    ("przewód YDYp 3×2,5 mm²", "m", 310, 890, "23", "", "<CN>8544 49 91</CN>"),
    ("lodówka z zamrażarką, 185 cm", "szt.", 129900, 489900, "23", "", "<CN>8418 10 20</CN>"),
    ('laptop 14" <16 GB/512 GB>', "szt.", 249900, 899900, "23", "GTU_06", "<CN>8471 30 00</CN>"),
    ("monitor 27″ QHD", "szt.", 79900, 219900, "23", "GTU_06", "<PKWiU>26.20.17.0</PKWiU>"),
    ("toner czarny do drukarki", "szt.", 8900, 45900, "23", "", "<PKWiU>20.59.12.0</PKWiU>"),
    ("papier ksero A4 80 g/m²", "ryza", 1490, 2990, "23", "", "<CN>4802 56 20</CN>"),
    ("olej napędowy B7", "l", 489, 629, "23", "GTU_02", "<CN>2710 20 11</CN>"),
    ("opona zimowa 205/55 R16", "szt.", 21900, 58900, "23", "GTU_07", "<CN>4011 10 00</CN>"),
    ("farba elewacyjna – biel, 10 l", "op.", 12900, 31900, "23", "", "<CN>3209 10 00</CN>"),
    ("płyta OSB/3 18 mm", "m2", 3490, 6290, "23", "", "<CN>4410 12 10</CN>"),
    ("chleb żytni na zakwasie", "szt.", 590, 1290, "5", "", "<CN>1905 90 30</CN>"),
    ("mąka pszenna typ 650", "kg", 210, 490, "5", "", "<CN>1101 00 15</CN>"),
    ("mleko UHT 3,2% 1 l", "szt.", 289, 449, "5", "", "<CN>0401 20 11</CN>"),
    ("jabłka ligol, klasa I", "kg", 240, 620, "5", "", "<CN>0808 10 80</CN>"),
    ("podręcznik do matematyki, kl. 7", "egz.", 2990, 6490, "5", "", "<CN>4901 99 00</CN>"),
    ("miód gryczany 0,9 l", "szt.", 3290, 5890, "5", "", "<CN>0409 00 00</CN>"),
    ("kawa ziarnista „Górska”", "kg", 5900, 14900, "23", "", "<CN>0901 21 00</CN>"),
    ("lek przeciwbólowy 20 tabl.", "op.", 690, 2990, "8", "GTU_09", "<PKWiU>21.20.13.0</PKWiU>"),
    ("nawóz azotowy 25 kg", "worek", 6900, 15900, "8", "", "<CN>3102 30 90</CN>"),
    ("zestaw prezentowy 🎁 «Święta»", "kpl.", 9900, 29900, "23", "", ""),
)
_SERVICES = (
    ("abonament telefoniczny – plan „Łączność”", "mies.", 2990, 12990, "23", "", "<PKWiU>61.20.11.0</PKWiU>"),
    ("transmisja danych ≥ 1 Gb/s", "mies.", 9900, 89900, "23", "", "<PKWiU>61.10.43.0</PKWiU>"),
    ("usługa doradcza", "godz.", 15000, 45000, "23", "GTU_12", "<PKWiU>70.22.11.0</PKWiU>"),
    ("utrzymanie aplikacji & wsparcie", "godz.", 12000, 32000, "23", "", "<PKWiU>62.03.12.0</PKWiU>"),
    ("transport krajowy", "km", 390, 890, "23", "GTU_13", "<PKWiU>49.41.19.0</PKWiU>"),
    ("wywóz odpadów komunalnych", "m3", 11900, 24900, "8", "", "<PKWiU>38.11.11.0</PKWiU>"),
    ("nocleg ze śniadaniem", "doba", 18900, 49900, "8", "", "<PKWiU>55.10.10.0</PKWiU>"),
    ("dostawa wody", "m3", 420, 990, "8", "", "<PKWiU>36.00.20.0</PKWiU>"),
    ("sprzątanie powierzchni biurowej", "m2", 190, 690, "23", "", "<PKWiU>81.21.10.0</PKWiU>"),
    ("druk cyfrowy, ćwierć arkusza", "szt.", 45, 390, "23", "", "<PKWiU>18.12.19.0</PKWiU>"),
)
_EXEMPT = (
    ("konsultacja lekarska", "szt.", 15000, 39000, "zw", "", "<PKWiU>86.22.19.0</PKWiU>"),
    ("rehabilitacja – zabieg", "szt.", 6000, 18000, "zw", "", "<PKWiU>86.90.13.0</PKWiU>"),
    ("składka ubezpieczeniowa", "szt.", 9900, 259900, "zw", "", "<PKWiU>65.12.21.0</PKWiU>"),
)
_VARIANTS = (
    "",
    "",
    " – wersja B",
    " (promocja)",
    " nr kat. 7/ż",
    ", gwarancja 24 mies.",
    " <nowość>",
    " & akcesoria",
)


class Product(NamedTuple):
    """One product: XML of its static parts, prices in ten-thousandths of the currency unit."""

    head: str
    """P_7 up to P_8A."""
    order_head: str
    """The same for a line of an order (P_7Z up to P_8AZ)."""
    tail: str
    """GTU, or nothing."""
    low: int
    high: int
    rate: str
    divisible: bool
    name: str
    """The name, escaped, for places other than the line itself."""


class Buyer(NamedTuple):
    """One customer: its Podmiot2 element, its other parties, and the header of its own data."""

    xml: str
    podmiot2k: str
    """DaneIdentyfikacyjne and Adres, in the form of Podmiot2K."""
    country: str


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The pools that invoices of one seed draw from."""

    companies: tuple[Buyer, ...]
    consumers: tuple[Buyer, ...]
    union: tuple[Buyer, ...]
    overseas: tuple[Buyer, ...]
    simplified: tuple[Buyer, ...]
    """Buyers known by NIP only, as a simplified invoice (UPR) may show them."""
    thirds: tuple[str, ...]
    """Podmiot3 elements: factors, recipients, payers."""
    taxed: tuple[Product, ...]
    goods: tuple[Product, ...]
    services: tuple[Product, ...]
    exempt: tuple[Product, ...]


def nip_from(number: int) -> str:
    """Make a NIP with the right check digit and the schema's form from any number >= 0."""
    body = 100_000_000 + number % 900_000_000
    if body // 1_000_000 % 100 == 0:
        body += 11_000_000  # the second and third digit are never both zero
    while True:
        digits = str(body)
        check = sum(weight * int(digit) for weight, digit in zip(_NIP_WEIGHTS, digits, strict=True)) % 11
        if check < 10:
            return f"{digits}{check}"
        # Ten is not a check digit. Changing the last digit changes the remainder and keeps digits 2 and 3.
        body = body // 10 * 10 + (body + 1) % 10


def account_number(number: int) -> str:
    """Make a Polish bank account (26 digits) with right check digits (ISO 13616, modulo 97)."""
    body = f"{10_101_000 + number % 977:08d}{number % 10**16:016d}"
    check = 98 - int(f"{body}252100") % 97
    return f"{check:02d}{body}"


def _address(rng: Random) -> str:
    code, city = rng.choice(_CITIES)
    flat = f" m. {rng.randint(1, 90)}" if rng.random() < 0.3 else ""
    street = f"{rng.choice(_STREETS)} {rng.randint(1, 180)}{rng.choice(('', '', 'A', 'B', '/2'))}{flat}"
    return (
        f"<Adres><KodKraju>PL</KodKraju><AdresL1>{'' if street.startswith(('Plac', 'aleja', 'Os')) else 'ul. '}{street}"
        f"</AdresL1><AdresL2>{code}-{rng.randint(1, 999):03d} {city}</AdresL2></Adres>"
    )


def company_name(rng: Random) -> str:
    """Draw a company name with Polish letters and, sometimes, characters that XML must escape; it is not escaped."""
    return f"{rng.choice(_TRADES)} {rng.choice(_BRANDS)} {rng.choice(_LEGAL_FORMS)}"


def _contact(rng: Random) -> str:
    parts = []
    if rng.random() < 0.7:
        parts.append(f"<Email>faktury{rng.randint(1, 9999)}@firma.example</Email>")
    if rng.random() < 0.5 or not parts:
        parts.append(f"<Telefon>+48 {rng.randint(500, 899)} {rng.randint(0, 999):03d} 000</Telefon>")
    return f"<DaneKontaktowe>{''.join(parts)}</DaneKontaktowe>"


def _company(rng: Random) -> Buyer:
    nip = nip_from(rng.getrandbits(40))
    name = escape(company_name(rng))
    identity = f"<DaneIdentyfikacyjne><NIP>{nip}</NIP><Nazwa>{name}</Nazwa></DaneIdentyfikacyjne>"
    address = _address(rng)
    kind = rng.random()
    jst, gv, more = 2, 2, ""
    if kind < 0.03:
        jst = 1
        more = (
            f"<Podmiot3><DaneIdentyfikacyjne><IDWew>{nip}-{rng.randint(0, 99999):05d}</IDWew>"
            f"<Nazwa>Szkoła Podstawowa nr {rng.randint(1, 120)}</Nazwa></DaneIdentyfikacyjne>{_address(rng)}"
            "<Rola>8</Rola></Podmiot3>"
        )
    elif kind < 0.04:
        gv = 1
        more = (
            f"<Podmiot3><DaneIdentyfikacyjne><NIP>{nip_from(rng.getrandbits(40))}</NIP>"
            f"<Nazwa>{escape(company_name(rng))}</Nazwa></DaneIdentyfikacyjne>{_address(rng)}"
            "<Rola>10</Rola></Podmiot3>"
        )
    customer = f"<NrKlienta>K/{rng.randint(1, 999_999)}</NrKlienta>" if rng.random() < 0.5 else ""
    contact = _contact(rng) if rng.random() < 0.5 else ""
    xml = f"<Podmiot2>{identity}{address}{contact}{customer}<JST>{jst}</JST><GV>{gv}</GV></Podmiot2>{more}"
    return Buyer(xml, f"{identity}{address}", "PL")


def _consumer(rng: Random) -> Buyer:
    name = f"Odbiorca indywidualny {rng.randint(1, 999_999)}"
    identity = f"<DaneIdentyfikacyjne><BrakID>1</BrakID><Nazwa>{name}</Nazwa></DaneIdentyfikacyjne>"
    address = _address(rng) if rng.random() < 0.8 else ""
    return Buyer(f"<Podmiot2>{identity}{address}<JST>2</JST><GV>2</GV></Podmiot2>", f"{identity}{address}", "PL")


def _union(rng: Random) -> Buyer:
    country, length, names, street, city = rng.choice(_UNIONS)
    iso = "GR" if country == "EL" else country
    identity = (
        f"<DaneIdentyfikacyjne><KodUE>{country}</KodUE><NrVatUE>{rng.randrange(10**length):0{length}d}</NrVatUE>"
        f"<Nazwa>{escape(rng.choice(names))}</Nazwa></DaneIdentyfikacyjne>"
    )
    address = (
        f"<Adres><KodKraju>{iso}</KodKraju><AdresL1>{escape(street)} {rng.randint(1, 200)}</AdresL1>"
        f"<AdresL2>{city}</AdresL2></Adres>"
    )
    return Buyer(f"<Podmiot2>{identity}{address}<JST>2</JST><GV>2</GV></Podmiot2>", f"{identity}{address}", iso)


def _overseas(rng: Random) -> Buyer:
    country, form, names, street, city = rng.choice(_OVERSEAS)
    identity = (
        f"<DaneIdentyfikacyjne><KodKraju>{country}</KodKraju>"
        f"<NrID>{form.format(rng.randint(10, 99), rng.randint(1, 999_999))}</NrID>"
        f"<Nazwa>{escape(rng.choice(names))}</Nazwa></DaneIdentyfikacyjne>"
    )
    address = (
        f"<Adres><KodKraju>{country}</KodKraju><AdresL1>{street} {rng.randint(1, 200)}</AdresL1>"
        f"<AdresL2>{city}</AdresL2></Adres>"
    )
    return Buyer(f"<Podmiot2>{identity}{address}<JST>2</JST><GV>2</GV></Podmiot2>", f"{identity}{address}", country)


def _simplified(rng: Random) -> Buyer:
    identity = f"<DaneIdentyfikacyjne><NIP>{nip_from(rng.getrandbits(40))}</NIP></DaneIdentyfikacyjne>"
    return Buyer(f"<Podmiot2>{identity}<JST>2</JST><GV>2</GV></Podmiot2>", identity, "PL")


def _third(rng: Random) -> str:
    role = rng.choice((1, 2, 2, 2, 4, 6))
    share = "<Udzial>50</Udzial>" if role == 4 else ""
    other = "<RolaInna>1</RolaInna><OpisRoli>płatnik składek</OpisRoli>"
    position = f"<Rola>{role}</Rola>{share}" if rng.random() < 0.95 else other
    return (
        f"<Podmiot3><DaneIdentyfikacyjne><NIP>{nip_from(rng.getrandbits(40))}</NIP>"
        f"<Nazwa>{escape(company_name(rng))}</Nazwa></DaneIdentyfikacyjne>{_address(rng)}{position}</Podmiot3>"
    )


def _product(rng: Random, stem: tuple[str, str, int, int, str, str, str]) -> Product:
    name, unit, low, high, rate, gtu, code = stem
    text = escape(f"{name}{rng.choice(_VARIANTS)}")
    index = f"{rng.randint(1, 99_999):05d}" if rng.random() < 0.5 else ""
    gtin = f"59{rng.randrange(10**11):011d}" if rng.random() < 0.2 else ""
    lines = []
    for mark in ("", "Z"):
        own_index = f"<Indeks{mark}>{index}</Indeks{mark}>" if index else ""
        own_gtin = f"<GTIN{mark}>{gtin}</GTIN{mark}>" if gtin else ""
        own_code = code.replace("PKWiU>", f"PKWiU{mark}>").replace("CN>", f"CN{mark}>")
        lines.append(f"<P_7{mark}>{text}</P_7{mark}>{own_index}{own_gtin}{own_code}<P_8A{mark}>{unit}</P_8A{mark}>")
    return Product(
        head=lines[0],
        order_head=lines[1],
        tail=f"<GTU>{gtu}</GTU>" if gtu else "",
        low=low * 100,
        high=high * 100,
        rate=rate,
        divisible=unit in {"m", "kg", "l", "m2", "m3", "godz."},
        name=text,
    )


@lru_cache(maxsize=4)
def catalogue(seed: int) -> Catalogue:
    """Make the pools of one seed; the same seed gives the same pools in every process."""
    rng = Random(f"catalogue {seed}")
    goods = tuple(_product(rng, stem) for stem in _GOODS for _ in range(12))
    services = tuple(_product(rng, stem) for stem in _SERVICES for _ in range(12))
    return Catalogue(
        companies=tuple(_company(rng) for _ in range(BUYERS_PER_SEED)),
        consumers=tuple(_consumer(rng) for _ in range(BUYERS_PER_SEED // 2)),
        union=tuple(_union(rng) for _ in range(BUYERS_PER_SEED // 5)),
        overseas=tuple(_overseas(rng) for _ in range(BUYERS_PER_SEED // 5)),
        simplified=tuple(_simplified(rng) for _ in range(BUYERS_PER_SEED // 5)),
        thirds=tuple(_third(rng) for _ in range(BUYERS_PER_SEED // 5)),
        taxed=goods + services,
        goods=goods,
        services=services,
        exempt=tuple(_product(rng, stem) for stem in _EXEMPT for _ in range(12)),
    )
