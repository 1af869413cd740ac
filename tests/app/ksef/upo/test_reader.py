"""Receipts, official and self-made, whole and broken."""

import base64
import hashlib
import io
import subprocess
import sys
import time
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from app.domain.ksef_number import is_valid_ksef_number, make_ksef_number
from app.ksef.errors import Unreadable
from app.ksef.upo.reader import parse_upo

SHARED = Path(__file__).resolve().parents[4] / ".." / "shared"
EXAMPLES = sorted(SHARED.glob("ksef/upo/*.xml"))
NAMESPACE = "http://upo.schematy.mf.gov.pl/KSeF/v4-3"


def digest(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


def document(number: int) -> str:
    ksef_number = make_ksef_number("5265877635", date(2026, 11, 22), number.to_bytes(6, "big"))
    return (
        f"<Dokument><NipSprzedawcy>5265877635</NipSprzedawcy><NumerKSeFDokumentu>{ksef_number}</NumerKSeFDokumentu>"
        f"<NumerFaktury>FV &amp; {number}</NumerFaktury><DataWystawieniaFaktury>2026-11-22</DataWystawieniaFaktury>"
        "<DataPrzeslaniaDokumentu>2026-11-22T11:00:00.1234567+01:00</DataPrzeslaniaDokumentu>"
        "<DataNadaniaNumeruKSeF>2026-11-22T10:00:09</DataNadaniaNumeruKSeF>"
        f"<SkrotDokumentu>{base64.b64encode(digest(number)).decode()}</SkrotDokumentu>"
        "<TrybWysylki>Offline</TrybWysylki></Dokument>"
    )


HEAD = (
    "<NazwaPodmiotuPrzyjmujacego>Ministerstwo Finansów - środowisko testowe (TE)</NazwaPodmiotuPrzyjmujacego>"
    "<NumerReferencyjnySesji>20261122-SB-1</NumerReferencyjnySesji>"
    "<Uwierzytelnienie><IdKontekstu><Nip>5265877635</Nip></IdKontekstu>"
    f"<SkrotDokumentuUwierzytelniajacego>{base64.b64encode(digest(0)).decode()}</SkrotDokumentuUwierzytelniajacego>"
    "</Uwierzytelnienie>"
    "<OpisPotwierdzenia><Strona>2</Strona><LiczbaStron>3</LiczbaStron>"
    "<CalkowitaLiczbaDokumentow>20001</CalkowitaLiczbaDokumentow></OpisPotwierdzenia>"
    "<KodFormularza>FA (3)</KodFormularza>"
)
SIGNATURE = (
    '<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:Object>'
    "<Dokument xmlns=''><NumerFaktury>not one of ours</NumerFaktury></Dokument></ds:Object></ds:Signature>"
)


def receipt(documents: str, head: str = HEAD, tail: str = SIGNATURE) -> bytes:
    return f'<?xml version="1.0"?><Potwierdzenie xmlns="{NAMESPACE}">{head}{documents}{tail}</Potwierdzenie>'.encode()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_official_receipts_are_read(path: Path) -> None:
    raw = path.read_bytes()
    upo = parse_upo(raw)
    documents = list(upo.documents)
    assert len(documents) == raw.count(b"<Dokument>") > 0
    assert upo.context_value is not None
    assert upo.context_value.startswith(("5265877635", "P", "1", "2", "3", "4", "5", "6", "7", "8", "9"))
    assert upo.form_code == "FA (3)"
    for found in documents:
        assert is_valid_ksef_number(found.ksef_number)
        assert base64.b64encode(found.invoice_hash) in raw
        assert found.sent_at is not None
        assert found.acquired_at is not None
        assert found.issue_date is not None
        assert found.mode in {"Online", "Offline"}


def test_everything_a_receipt_says_is_kept() -> None:
    upo = parse_upo(receipt(document(1) + document(2)))
    assert upo.session_reference_number == "20261122-SB-1"
    assert upo.receiver.endswith("(TE)")
    assert (upo.context_value, upo.auth_document_sha256) == ("5265877635", digest(0))
    assert (upo.page, upo.pages, upo.total_documents, upo.form_code) == (2, 3, 20001, "FA (3)")
    first, second = upo.documents
    assert first.ksef_number != second.ksef_number
    assert (first.invoice_hash, first.invoice_number, first.mode) == (digest(1), "FV & 1", "Offline")
    assert (first.seller_nip, first.issue_date) == ("5265877635", date(2026, 11, 22))
    assert first.sent_at == datetime(2026, 11, 22, 10, 0, 0, 123456, tzinfo=UTC)
    assert first.acquired_at == datetime(2026, 11, 22, 10, 0, 9, tzinfo=UTC)


def test_a_prefix_or_another_version_of_the_namespace_makes_no_difference() -> None:
    raw = receipt(document(1), tail="").decode().replace("KSeF/v4-3", "KSeF/v9-9")
    assert len(list(parse_upo(raw.encode()).documents)) == 1
    prefixed = raw.replace("</", "</u:").replace("<", "<u:").replace("<u:/u:", "</u:").replace("<u:?xml", "<?xml")
    prefixed = prefixed.replace("xmlns=", "xmlns:u=")
    assert len(list(parse_upo(prefixed.encode()).documents)) == 1


def test_a_receipt_for_one_invoice_has_no_pages() -> None:
    head = HEAD[: HEAD.index("<OpisPotwierdzenia>")]
    upo = parse_upo(receipt(document(1), head))
    assert (upo.page, upo.pages, upo.total_documents, upo.form_code) == (None, None, None, None)
    assert len(list(upo.documents)) == 1


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"<html><body/></html>",
        b"{}",
        receipt(document(1), head=""),
        receipt("", head=HEAD)[:-30],
    ],
)
def test_what_is_no_receipt_is_refused_at_once(raw: bytes) -> None:
    with pytest.raises(Unreadable):
        parse_upo(raw)


@pytest.mark.parametrize(
    "raw",
    [
        receipt(document(1) + document(2))[:-600],
        receipt(document(1) + "<Dokument><NumerFaktury>1</NumerFaktury></Dokument>"),
        receipt(document(1).replace("<SkrotDokumentu>", "<SkrotDokumentu>AA")),
    ],
)
def test_a_receipt_that_breaks_off_or_misses_a_hash_is_refused_while_reading(raw: bytes) -> None:
    with pytest.raises(Unreadable):
        list(parse_upo(raw).documents)


def test_entities_are_not_resolved(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("geheim")
    evil = receipt(document(1).replace("FV &amp; 1", "&x;")).replace(
        b"<Potwierdzenie",
        f'<!DOCTYPE Potwierdzenie [<!ENTITY x SYSTEM "{secret.as_uri()}">]><Potwierdzenie'.encode(),
        1,
    )
    (found,) = parse_upo(evil).documents
    assert found.invoice_number == ""


def test_ten_thousand_documents_are_read_quickly() -> None:
    raw = receipt("".join(document(number) for number in range(1, 10_001)))
    started = time.process_time()
    hashes = {found.invoice_hash for found in parse_upo(io.BytesIO(raw)).documents}
    assert time.process_time() - started < 2.0, "about a fifth of a second on one core"
    assert len(hashes) == 10_000


MEMORY_PROBE = """
import io, psutil
from app.ksef.upo.reader import parse_upo
from tests.app.ksef.upo.test_reader import document, receipt

class Endless(io.RawIOBase):
    def __init__(self, documents):
        self.head, _, self.tail = receipt("@").partition(b"@")
        self.one, self.left = document(1).encode(), documents
    def read(self, size=-1):
        if self.head:
            piece, self.head = self.head, b""
        elif self.left:
            piece, self.left = self.one * 20, self.left - 20
        else:
            piece, self.tail = self.tail, b""
        return piece

sum(1 for _ in parse_upo(Endless(1000)).documents)
before = psutil.Process().memory_info().rss
count = sum(1 for _ in parse_upo(Endless(20000)).documents)
print(count, psutil.Process().memory_info().rss - before)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_receipt() -> None:
    """In a process of its own, since libxml2's memory is none that Python could count."""
    root = Path(__file__).resolve().parents[4]
    done = subprocess.run(
        [sys.executable, "-c", MEMORY_PROBE], check=True, capture_output=True, text=True, timeout=60, cwd=root
    )
    count, grown = map(int, done.stdout.split())
    assert count == 20_000
    assert grown < 10_000_000
