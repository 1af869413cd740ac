"""Valid VAT RR invoices of the form FA_RR(1), which a buyer issues for flat-rate farmers.

Every invoice follows from (seed, index, buyer, day): the same arguments give the same bytes in any process. Their sums add up and their
NIPs carry the right check digits. They are not meant to be filed with a real tax office.
"""

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from random import Random
from typing import Final
from xml.sax.saxutils import escape

from invoicegen._catalogue import nip_from
from invoicegen.invoices import GeneratedInvoice

NAMESPACE: Final = "http://crd.gov.pl/wzor/2026/03/06/14189/"
_CENT: Final = Decimal("0.01")
_RATE: Final = Decimal("0.07")
_CORRECTED_EVERY: Final = 10
_PRODUCTS: Final = (
    ("Pszenica konsumpcyjna", "t", "klasa I"),
    ("Mleko surowe", "l", "klasa ekstra"),
    ("Jabłka deserowe „Szampion”", "kg", "klasa I, kaliber 70–80 mm"),
    ("Rzepak ozimy", "t", "wilgotność < 9 %"),
    ("Żywiec wieprzowy", "kg", "klasa E & U"),
)
_DIGITS: Final = ("zero", "jeden", "dwa", "trzy", "cztery", "pięć", "sześć", "siedem", "osiem", "dziewięć")


def generate_rr_invoices(
    count: int, *, buyer_nip: str, issue_date: date, seed: int = 1, start: int = 0, number_prefix: str = "RR"
) -> Iterator[GeneratedInvoice]:
    """Yield the invoices with indexes `start` to `start + count - 1`; each tenth is a correction (`KOR_VAT_RR`)."""
    for index in range(start, start + count):
        rng = Random((seed << 48) ^ index)
        kind = "KOR_VAT_RR" if index % _CORRECTED_EVERY == _CORRECTED_EVERY - 1 else "VAT_RR"
        number = f"{number_prefix}/{issue_date:%Y%m%d}/{seed}/{index + 1:07d}"
        xml = _document(rng, number, kind, buyer_nip, issue_date)
        yield GeneratedInvoice(number, f"{number.replace('/', '-')}.xml", xml.encode(), kind)


def _document(rng: Random, number: str, kind: str, buyer_nip: str, issue_date: date) -> str:
    lines, value, refund = _lines(rng)
    farmer = nip_from(rng.randrange(10**8))
    total = value + refund
    earlier = issue_date - timedelta(days=rng.randint(5, 40))
    correction = (
        "<PrzyczynaKorekty>Zmiana ceny</PrzyczynaKorekty><TypKorekty>2</TypKorekty><DaneFaKorygowanej>"
        f"<DataWystFaKorygowanej>{earlier}</DataWystFaKorygowanej><NrFaKorygowanej>{escape(number)}/P</NrFaKorygowanej>"
        "<NrKSeFN>1</NrKSeFN></DaneFaKorygowanej>"
        if kind == "KOR_VAT_RR"
        else ""
    )
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Faktura xmlns="{NAMESPACE}"><Naglowek>'
        '<KodFormularza kodSystemowy="FA_RR (1)" wersjaSchemy="1-1E">FA_RR</KodFormularza>'
        f"<WariantFormularza>1</WariantFormularza><DataWytworzeniaFa>{issue_date}T03:00:00Z</DataWytworzeniaFa>"
        "<SystemInfo>Skup Żuraw 3</SystemInfo></Naglowek>"
        f"{_party('Podmiot1', farmer, f'Gospodarstwo Rolne nr {rng.randint(1, 999)}')}"
        f"{_party('Podmiot2', buyer_nip, 'Skup Płodów Rolnych Żuraw sp. z o.o.')}"
        f"<FakturaRR><KodWaluty>PLN</KodWaluty><P_1M>Żory</P_1M><P_4A>{issue_date}</P_4A><P_4B>{issue_date}</P_4B>"
        f"<P_4C>{escape(number)}</P_4C><P_11_1>{value}</P_11_1><P_11_2>{refund}</P_11_2><P_12_1>{total}</P_12_1>"
        f"<P_12_2>{_in_words(total)}</P_12_2><RodzajFaktury>{kind}</RodzajFaktury>{correction}{lines}"
        "<Platnosc><FormaPlatnosci>1</FormaPlatnosci></Platnosc></FakturaRR></Faktura>"
    )


def _lines(rng: Random) -> tuple[str, Decimal, Decimal]:
    """Return lines as XML, and the sums of their values and of their refunds of tax."""
    written: list[str] = []
    values = refunds = Decimal(0)
    for number in range(1, rng.randint(1, 4) + 1):
        name, unit, quality = rng.choice(_PRODUCTS)
        quantity = Decimal(rng.randint(1, 5_000)) / 10
        price = Decimal(rng.randint(50, 99_999)) / 100
        value = (quantity * price).quantize(_CENT, ROUND_HALF_UP)
        refund = (value * _RATE).quantize(_CENT, ROUND_HALF_UP)
        values, refunds = values + value, refunds + refund
        written.append(
            f"<FakturaRRWiersz><NrWierszaFa>{number}</NrWierszaFa><P_5>{escape(name)}</P_5><P_6A>{unit}</P_6A>"
            f"<P_6B>{quantity}</P_6B><P_6C>{escape(quality)}</P_6C><P_7>{price}</P_7><P_8>{value}</P_8><P_9>7</P_9>"
            f"<P_10>{refund}</P_10><P_11>{value + refund}</P_11></FakturaRRWiersz>"
        )
    return "".join(written), values, refunds


def _party(element: str, nip: str, name: str) -> str:
    return (
        f"<{element}><DaneIdentyfikacyjne><NIP>{nip}</NIP><Nazwa>{escape(name)}</Nazwa></DaneIdentyfikacyjne>"
        f"<Adres><KodKraju>PL</KodKraju><AdresL1>ul. Polna 1, 44-240 Żory</AdresL1></Adres></{element}>"
    )


def _in_words(total: Decimal) -> str:
    """Write an amount digit by digit, as cheques do: `dwa zero pięć zł 40/100`."""
    zloty, _, cents = f"{total:.2f}".partition(".")
    return f"{' '.join(_DIGITS[int(digit)] for digit in zloty)} zł {cents}/100"
