"""A valid invoice written for these tests, and a checker made once."""

from collections.abc import Callable
from datetime import date

import pytest

from app.forms.fa3.checker import InvoiceChecker
from app.forms.fa3.schema import compile_schema
from app.forms.form import CheckContext, CheckedInvoice
from app.schema_files import load_schema_files

INVOICE = """<?xml version="1.0" encoding="UTF-8"?>
<Faktura xmlns="http://crd.gov.pl/wzor/2025/06/25/13775/">
  <Naglowek>
    <KodFormularza kodSystemowy="FA (3)" wersjaSchemy="1-0E">FA</KodFormularza>
    <WariantFormularza>3</WariantFormularza>
    <DataWytworzeniaFa>2026-11-22T08:00:00Z</DataWytworzeniaFa>
  </Naglowek>
  <Podmiot1>
    <DaneIdentyfikacyjne><NIP>5265877635</NIP><Nazwa>Zażółć Gęślą</Nazwa></DaneIdentyfikacyjne>
    <Adres><KodKraju>PL</KodKraju><AdresL1>Polna 1</AdresL1></Adres>
  </Podmiot1>
  <Podmiot2>
    <DaneIdentyfikacyjne><NIP>5213814999</NIP><Nazwa>Nabywca</Nazwa></DaneIdentyfikacyjne>
    <JST>2</JST>
    <GV>2</GV>
  </Podmiot2>
  <Fa>
    <KodWaluty>PLN</KodWaluty>
    <P_1>2026-11-22</P_1>
    <P_2>FV/1</P_2>
    <P_13_1>100.00</P_13_1>
    <P_14_1>23.00</P_14_1>
    <P_15>123.00</P_15>
    <Adnotacje>
      <P_16>2</P_16>
      <P_17>2</P_17>
      <P_18>2</P_18>
      <P_18A>2</P_18A>
      <Zwolnienie><P_19N>1</P_19N></Zwolnienie>
      <NoweSrodkiTransportu><P_22N>1</P_22N></NoweSrodkiTransportu>
      <P_23>2</P_23>
      <PMarzy><P_PMarzyN>1</P_PMarzyN></PMarzy>
    </Adnotacje>
    <RodzajFaktury>VAT</RodzajFaktury>
    <FaWiersz><NrWierszaFa>1</NrWierszaFa><P_7>Usługa</P_7><P_8B>1</P_8B><P_11>100</P_11><P_12>23</P_12></FaWiersz>
  </Fa>
</Faktura>
""".encode()

Edit = Callable[..., bytes]
Check = Callable[..., CheckedInvoice]


@pytest.fixture(scope="session")
def checker() -> InvoiceChecker:
    return InvoiceChecker(compile_schema(load_schema_files()["FA (3)"]))


@pytest.fixture(scope="session")
def invoice() -> bytes:
    return INVOICE


@pytest.fixture(scope="session")
def edited() -> Edit:
    """Return the invoice with pairs of old and new text exchanged; each old text must be there."""

    def edit(*pairs: tuple[str | bytes, str | bytes]) -> bytes:
        document = INVOICE
        for old, new in pairs:
            before = old.encode() if isinstance(old, str) else old
            after = new.encode() if isinstance(new, str) else new
            assert before in document
            document = document.replace(before, after, 1)
        return document

    return edit


@pytest.fixture(scope="session")
def check(checker: InvoiceChecker) -> Check:
    def run(document: bytes, **changes: object) -> CheckedInvoice:
        settings: dict[str, object] = {
            "tenant_nip": "5265877635",
            "today": date(2026, 11, 22),
            "check_nip_checksums": True,
            "attachments_allowed": True,
        }
        return checker.check(document, CheckContext(**(settings | changes)))  # type: ignore[arg-type]  # test settings

    return run
