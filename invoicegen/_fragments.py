"""Parts of an invoice that do not depend on its sums: seller, notes, payment, terms, references, attachment."""

from datetime import date, timedelta
from random import Random
from xml.sax.saxutils import escape

from app.domain.ksef_number import make_ksef_number
from invoicegen._catalogue import Product, account_number, company_name
from invoicegen._lines import Total, half_up, money

EXEMPTION = "art. 43 ust. 1 pkt 18 ustawy z dnia 11 marca 2004 r. o podatku od towarów i usług"
_BANKS = ("Bank Źródło S.A.", "Bank Spółdzielczy w Żorach", "Śląski Bank Kupiecki S.A.")
_NOTES = (
    ("Preferowane godziny dostawy", "dni robocze 7:00–15:00, wjazd od ul. Żeglarskiej"),
    ("Nr zlecenia", "ZL/ąę/7781 & aneks 2"),
    ("Uwagi", "Prosimy o podanie numeru faktury w tytule przelewu; <nie dotyczy zapłaty kartą>"),
    ("Okres rozliczeniowy", "miesiąc kalendarzowy"),
    ("Opiekun klienta", "dział obsługi, tel. wew. 17"),
    ("Miejsce dostawy", "magazyn „Północ”, rampa № 4"),
)
_TERMS = ("CIP", "DAP", "EXW", "FCA", "DDP")
_TABLE_HEAD = (
    "<TNaglowek>"
    '<Kol Typ="datetime"><NKom>Początek</NKom></Kol>'
    '<Kol Typ="txt"><NKom>Numer lub usługa</NKom></Kol>'
    '<Kol Typ="int"><NKom>Ilość</NKom></Kol>'
    '<Kol Typ="dec"><NKom>Należność netto (zł)</NKom></Kol>'
    '<Kol Typ="txt"><NKom>Strefa</NKom></Kol>'
    "</TNaglowek>"
)
ROWS_PER_TABLE = 1000
"""The most rows of a table in FA(3)."""


def seller_parts(nip: str) -> tuple[str, str, str, tuple[str, ...]]:
    """Make Podmiot1, Podmiot1 with the EU prefix, the footer, and three bank accounts of the seller with this NIP."""
    rng = Random(f"seller {nip}")
    name = escape(f"{company_name(rng)} – Grupa Żółć")
    body = (
        f"<DaneIdentyfikacyjne><NIP>{nip}</NIP><Nazwa>{name}</Nazwa></DaneIdentyfikacyjne>"
        "<Adres><KodKraju>PL</KodKraju><AdresL1>ul. Świętokrzyska 14</AdresL1>"
        "<AdresL2>00-050 Warszawa</AdresL2></Adres>"
        "<DaneKontaktowe><Email>faktury@sprzedawca.example</Email><Telefon>+48 22 555 00 00</Telefon></DaneKontaktowe>"
    )
    footer = (
        "<Stopka><Informacje><StopkaFaktury>Kapitał zakładowy 5 000 000 zł, wpłacony w całości. "
        "Dziękujemy za współpracę!</StopkaFaktury></Informacje><Rejestry>"
        f"<KRS>{rng.randint(1, 999_999):010d}</KRS><REGON>{rng.randint(10**8, 10**9 - 1)}</REGON>"
        f"<BDO>{rng.randint(1, 999_999):09d}</BDO></Rejestry></Stopka>"
    )
    accounts = tuple(
        f"<RachunekBankowy><NrRB>{account_number(rng.getrandbits(50))}</NrRB>"
        f"<NazwaBanku>{bank}</NazwaBanku></RachunekBankowy>"
        for bank in _BANKS
    )
    return (
        f"<Podmiot1>{body}</Podmiot1>",
        f"<Podmiot1><PrefiksPodatnika>PL</PrefiksPodatnika>{body}</Podmiot1>",
        footer,
        accounts,
    )


def annotations(
    *,
    cash: bool = False,
    reverse: bool = False,
    split: bool = False,
    exempt: bool = False,
    margin: bool = False,
    vehicle: str = "",
) -> str:
    """Build the Adnotacje element with a value for each of its members."""
    exemption = f"<P_19>1</P_19><P_19A>{EXEMPTION}</P_19A>" if exempt else "<P_19N>1</P_19N>"
    profit = "<P_PMarzy>1</P_PMarzy><P_PMarzy_3_1>1</P_PMarzy_3_1>" if margin else "<P_PMarzyN>1</P_PMarzyN>"
    return (
        f"<Adnotacje><P_16>{1 if cash else 2}</P_16><P_17>2</P_17><P_18>{1 if reverse else 2}</P_18>"
        f"<P_18A>{1 if split else 2}</P_18A><Zwolnienie>{exemption}</Zwolnienie>"
        f"<NoweSrodkiTransportu>{vehicle or '<P_22N>1</P_22N>'}</NoweSrodkiTransportu><P_23>2</P_23>"
        f"<PMarzy>{profit}</PMarzy></Adnotacje>"
    )


PLAIN_ANNOTATIONS = annotations()


def new_vehicle(rng: Random, first_use: str) -> str:
    """Build the part of Adnotacje for a new car delivered to another member state, sold in line 1."""
    return (
        f"<P_22>1</P_22><P_42_5>2</P_42_5><NowySrodekTransportu><P_22A>{first_use}</P_22A>"
        "<P_NrWierszaNST>1</P_NrWierszaNST><P_22BMK>Wążbud</P_22BMK><P_22BMD>Kret 2.0</P_22BMD>"
        f"<P_22B>{rng.randint(5, 5900)} km</P_22B><P_22B1>SUV{rng.randrange(10**14):014d}</P_22B1>"
        "</NowySrodekTransportu>"
    )


def notes(rng: Random, count: int) -> str:
    """Draw DodatkowyOpis elements about the whole invoice."""
    first = int(rng.random() * len(_NOTES))
    return "".join(
        f"<DodatkowyOpis><Klucz>{escape(key)}</Klucz><Wartosc>{escape(value)}</Wartosc></DodatkowyOpis>"
        for key, value in (_NOTES[(first + step) % len(_NOTES)] for step in range(count))
    )


def line_notes(rng: Random, lines: int, each: int) -> str:
    """Draw DodatkowyOpis elements about single lines, `each` for every line, as in large billing documents."""
    rand = rng.random
    return "".join(
        f"<DodatkowyOpis><NrWiersza>{number}</NrWiersza><Klucz>Punkt poboru {int(rand() * 9999):04d}</Klucz>"
        f"<Wartosc>odczyt {int(rand() * 99_999)} kWh, współczynnik {int(rand() * 99)}/100, taryfa C{int(rand() * 9)}1"
        "</Wartosc></DodatkowyOpis>"
        for number in range(1, lines + 1)
        for _ in range(each)
    )


def payment(rng: Random, days: "Days", accounts: tuple[str, ...], amount: int) -> str:
    """Draw a Platnosc element for an amount in hundredths, or "": paid, due on a day, due in days, paid in part."""
    kind = rng.random()
    if kind < 0.1:
        return ""
    if kind < 0.25:
        means = 1 if kind < 0.18 else 2
        return (
            f"<Platnosc><Zaplacono>1</Zaplacono><DataZaplaty>{days[0]}</DataZaplaty>"
            f"<FormaPlatnosci>{means}</FormaPlatnosci></Platnosc>"
        )
    account = accounts[int(rng.random() * len(accounts))]
    due = (7, 14, 14, 21, 30, 60)[int(rng.random() * 6)]
    if kind < 0.32 and amount > 100:
        part = half_up(amount, 3)
        return (
            "<Platnosc><ZnacznikZaplatyCzesciowej>1</ZnacznikZaplatyCzesciowej><ZaplataCzesciowa>"
            f"<KwotaZaplatyCzesciowej>{money(part)}</KwotaZaplatyCzesciowej>"
            f"<DataZaplatyCzesciowej>{days[0]}</DataZaplatyCzesciowej><FormaPlatnosci>6</FormaPlatnosci>"
            f"</ZaplataCzesciowa><TerminPlatnosci><Termin>{days[due]}</Termin></TerminPlatnosci>"
            f"<FormaPlatnosci>6</FormaPlatnosci>{account}</Platnosc>"
        )
    if kind < 0.4:
        term = (
            f"<TerminOpis><Ilosc>{due}</Ilosc><Jednostka>dni</Jednostka>"
            "<ZdarzeniePoczatkowe>otrzymanie faktury</ZdarzeniePoczatkowe></TerminOpis>"
        )
    else:
        term = f"<Termin>{days[due]}</Termin>"
    discount = ""
    if kind > 0.96:
        discount = (
            "<Skonto><WarunkiSkonta>zapłata w ciągu 5 dni</WarunkiSkonta><WysokoscSkonta>2%</WysokoscSkonta></Skonto>"
        )
    form = (
        "<PlatnoscInna>1</PlatnoscInna><OpisPlatnosci>kompensata</OpisPlatnosci>"
        if 0.93 < kind < 0.95
        else "<FormaPlatnosci>6</FormaPlatnosci>"
    )
    return f"<Platnosc><TerminPlatnosci>{term}</TerminPlatnosci>{form}{account}{discount}</Platnosc>"


def settlement(rng: Random, amount: int) -> str:
    """Draw a Rozliczenie element: a deposit added to, or an overpayment taken from, an amount in hundredths."""
    if rng.random() < 0.5 or amount <= 500:
        extra = 50 * (1 + int(rng.random() * 40))
        return (
            f"<Rozliczenie><Obciazenia><Kwota>{money(extra)}</Kwota><Powod>Kaucja za opakowania</Powod></Obciazenia>"
            f"<SumaObciazen>{money(extra)}</SumaObciazen><DoZaplaty>{money(amount + extra)}</DoZaplaty></Rozliczenie>"
        )
    less = 1 + int(rng.random() * 499)
    return (
        f"<Rozliczenie><Odliczenia><Kwota>{money(less)}</Kwota><Powod>Nadpłata z poprzedniego okresu</Powod>"
        f"</Odliczenia><SumaOdliczen>{money(less)}</SumaOdliczen>"
        f"<DoZaplaty>{money(amount - less)}</DoZaplaty></Rozliczenie>"
    )


def terms(rng: Random, days: "Days", *, delivery: bool) -> str:
    """Draw a WarunkiTransakcji element: the order or contract, and the transport if `delivery` is true."""
    rand = rng.random
    order = (
        f"<Zamowienia><DataZamowienia>{days[-3 - int(rand() * 30)]}</DataZamowienia>"
        f"<NrZamowienia>ZAM/{int(rand() * 999_999)}/ż</NrZamowienia></Zamowienia>"
    )
    contract = (
        f"<Umowy><DataUmowy>{days[-40 - int(rand() * 300)]}</DataUmowy>"
        f"<NrUmowy>U-{int(rand() * 99_999)}</NrUmowy></Umowy>"
        if rand() < 0.3
        else ""
    )
    travel = ""
    if delivery:
        travel = (
            f"<NrPartiiTowaru>P/{int(rand() * 999_999)}</NrPartiiTowaru>"
            f"<WarunkiDostawy>{_TERMS[int(rand() * len(_TERMS))]}</WarunkiDostawy>"
            "<Transport><RodzajTransportu>3</RodzajTransportu><OpisLadunku>13</OpisLadunku>"
            "<JednostkaOpakowania>paleta</JednostkaOpakowania></Transport>"
        )
    return f"<WarunkiTransakcji>{contract}{order}{travel}</WarunkiTransakcji>"


def corrected(rng: Random, nip: str, day: date, number: str) -> str:
    """Build a DaneFaKorygowanej element: an invoice in KSeF, or (one in ten) one issued outside it."""
    issued = day.isoformat()
    if rng.random() < 0.1:
        known = "<NrKSeFN>1</NrKSeFN>"
    else:
        ksef_number = make_ksef_number(nip, day, rng.getrandbits(48).to_bytes(6, "big"))
        known = f"<NrKSeF>1</NrKSeF><NrKSeFFaKorygowanej>{ksef_number}</NrKSeFFaKorygowanej>"
    return (
        f"<DaneFaKorygowanej><DataWystFaKorygowanej>{issued}</DataWystFaKorygowanej>"
        f"<NrFaKorygowanej>{number}</NrFaKorygowanej>{known}</DaneFaKorygowanej>"
    )


def advance(rng: Random, nip: str, day: date, number: str) -> str:
    """Build a FakturaZaliczkowa element that names an earlier advance invoice."""
    if rng.random() < 0.1:
        return (
            f"<FakturaZaliczkowa><NrKSeFZN>1</NrKSeFZN><NrFaZaliczkowej>{number}</NrFaZaliczkowej></FakturaZaliczkowa>"
        )
    ksef_number = make_ksef_number(nip, day, rng.getrandbits(48).to_bytes(6, "big"))
    return f"<FakturaZaliczkowa><NrKSeFFaZaliczkowej>{ksef_number}</NrKSeFFaZaliczkowej></FakturaZaliczkowa>"


def attachment(rng: Random, product: Product, days: "Days", rows: int, total: Total) -> str:
    """Build a Zalacznik element: the billing record of the invoice, in tables of at most 1,000 rows."""
    rand = rng.random
    period = [days[-1 - step] for step in range(31)]
    tables: list[str] = []
    for start in range(0, rows, ROWS_PER_TABLE):
        body = "".join(
            f"<Wiersz><WKom>{period[int(rand() * 31)]}T{int(rand() * 24):02d}:{int(rand() * 60):02d}:00</WKom>"
            f"<WKom>48 {500 + int(rand() * 400)} xxx {int(rand() * 1000):03d}</WKom><WKom>{int(rand() * 900)}</WKom>"
            f"<WKom>0.{int(rand() * 100):02d}</WKom><WKom>kraj – sieć własna</WKom></Wiersz>"
            for _ in range(min(ROWS_PER_TABLE, rows - start))
        )
        tables.append(f"<Tabela><Opis>Zestawienie połączeń, część {len(tables) + 1}</Opis>{_TABLE_HEAD}{body}</Tabela>")
    tables[-1] = tables[-1].replace(
        "</Tabela>",
        "<Suma><SKom>Ogółem netto</SKom><SKom>-</SKom><SKom>-</SKom>"
        f"<SKom>{money(total.net)}</SKom><SKom>-</SKom></Suma></Tabela>",
    )
    return (
        "<Zalacznik><BlokDanych><ZNaglowek>Rozliczenie szczegółowe</ZNaglowek>"
        f"<MetaDane><ZKlucz>Usługa</ZKlucz><ZWartosc>{product.name}</ZWartosc></MetaDane>"
        f"<MetaDane><ZKlucz>Za okres od</ZKlucz><ZWartosc>{period[-1]}</ZWartosc></MetaDane>"
        f"<MetaDane><ZKlucz>Za okres do</ZKlucz><ZWartosc>{period[0]}</ZWartosc></MetaDane>"
        "<Tekst><Akapit>Dane zbiorcze; numery zamaskowane zgodnie z życzeniem abonenta.</Akapit></Tekst>"
        f"{''.join(tables)}</BlokDanych></Zalacznik>"
    )


class Days:
    """ISO dates around the day of issue, by their distance in days; written out once."""

    def __init__(self, issue_date: date) -> None:
        self.issue_date = issue_date
        self._texts: dict[int, str] = {}

    def __getitem__(self, offset: int) -> str:
        text = self._texts.get(offset)
        if text is None:
            text = self._texts[offset] = (self.issue_date + timedelta(days=offset)).isoformat()
        return text

    def day(self, offset: int) -> date:
        """Return the date at a distance in days."""
        return self.issue_date + timedelta(days=offset)
