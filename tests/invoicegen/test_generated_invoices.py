import re
import subprocess
import sys
from collections import defaultdict
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree
from stdnum.pl import nip as polish_nip

from app.domain.ksef_number import is_valid_ksef_number
from invoicegen.invoices import PROFILES, GeneratedInvoice, generate_invoices

SELLER = "5265877635"
DAY = date(2026, 11, 22)
NAMESPACE = "{http://crd.gov.pl/wzor/2025/06/25/13775/}"
KINDS = {"VAT", "KOR", "ZAL", "ROZ", "UPR", "KOR_ZAL", "KOR_ROZ"}
PERCENT = {"23": 23, "8": 8, "5": 5}
FIELDS = {
    "23": "1", "8": "2", "5": "3", "oss": "5", "0 WDT": "6_2", "0 EX": "6_3", "zw": "7", "np I": "8", "np II": "9",
    "oo": "10", "margin": "11",
}  # fmt: skip


def made(count: int, profile: str = "mixed", *, seed: int = 1, start: int = 0) -> list[GeneratedInvoice]:
    return list(generate_invoices(count, seller_nip=SELLER, issue_date=DAY, profile=profile, seed=seed, start=start))


@pytest.fixture(scope="module")
def mixed() -> list[GeneratedInvoice]:
    return made(1200)


def root_of(invoice: GeneratedInvoice) -> etree._Element:
    return etree.fromstring(invoice.xml)


def text(element: etree._Element, path: str) -> str | None:
    return element.findtext("/".join(f"{NAMESPACE}{step}" for step in path.split("/")))


def all_of(element: etree._Element, tag: str) -> list[etree._Element]:
    return list(element.iter(f"{NAMESPACE}{tag}"))


def amount(element: etree._Element, tag: str) -> Decimal:
    return Decimal(text(element, tag) or "0")


def cents(value: Decimal) -> Decimal:
    return value.quantize(Decimal("0.01"), ROUND_HALF_UP)


def is_valid(schema: etree.XMLSchema, xml: bytes) -> bool:
    return schema.validate(etree.fromstring(xml))


@pytest.mark.parametrize(("profile", "count"), [("mixed", 300), ("small", 100), ("large", 30)])
def test_every_invoice_is_valid_against_the_official_schema(
    fa3_schema: etree.XMLSchema, profile: str, count: int
) -> None:
    wrong = [invoice.number for invoice in made(count, profile) if not is_valid(fa3_schema, invoice.xml)]
    assert wrong == []


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 3),
    index=st.integers(0, 10**9),
    profile=st.sampled_from(PROFILES),
    day=st.dates(date(2025, 9, 1), date(2049, 6, 30)),
)
def test_any_seed_and_index_give_a_valid_invoice_of_lawful_size(
    fa3_schema: etree.XMLSchema, seed: int, index: int, profile: str, day: date
) -> None:
    (invoice,) = generate_invoices(1, seller_nip=SELLER, issue_date=day, seed=seed, start=index, profile=profile)
    assert is_valid(fa3_schema, invoice.xml)
    assert 1000 < len(invoice.xml) < 1_000_000


def test_the_same_seed_and_index_give_the_same_bytes_wherever_a_run_starts() -> None:
    assert made(20, start=30) == made(50)[30:]


def test_another_process_makes_the_same_bytes() -> None:
    script = (
        "import hashlib, datetime; from invoicegen.invoices import generate_invoices as g;"
        f"print(hashlib.sha256(b''.join(i.xml for i in g(40, seller_nip='{SELLER}',"
        f" issue_date=datetime.date({DAY.year}, {DAY.month}, {DAY.day})))).hexdigest())"
    )
    runs = [subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout for _ in range(2)]
    assert runs[0] == runs[1]


def test_another_seed_gives_other_invoices_with_other_numbers() -> None:
    first, second = made(50, seed=1), made(50, seed=2)
    assert not {i.number for i in first} & {i.number for i in second}
    assert not {i.xml for i in first} & {i.xml for i in second}


def test_numbers_and_file_names_are_unique_and_agree_with_the_document(mixed: list[GeneratedInvoice]) -> None:
    assert len({i.number for i in mixed}) == len({i.name for i in mixed}) == len(mixed)
    for invoice in mixed[:200]:
        root = root_of(invoice)
        assert re.fullmatch(r"[A-Za-z0-9._-]+\.xml", invoice.name)
        assert text(root, "Fa/P_2") == invoice.number
        assert text(root, "Fa/RodzajFaktury") == invoice.kind
        assert text(root, "Podmiot1/DaneIdentyfikacyjne/NIP") == SELLER


def test_the_mixed_profile_has_every_kind_of_invoice_buyer_and_sum(mixed: list[GeneratedInvoice]) -> None:
    roots = [root_of(invoice) for invoice in mixed]
    tags = {etree.QName(element).localname for root in roots for element in root.iter(etree.Element)}
    assert {invoice.kind for invoice in mixed} == KINDS
    assert {f"P_13_{field}" for field in FIELDS.values()} <= tags
    wanted = {
        "NIP", "NrVatUE", "NrID", "BrakID", "IDWew", "Podmiot3", "Podmiot2K", "Zalacznik", "Stopka", "Platnosc",
        "ZaplataCzesciowa", "P_14_1W", "KursWaluty", "KursWalutyZ", "OkresFaKorygowanej", "ZaliczkaCzesciowa",
        "Rozliczenie", "WarunkiTransakcji", "NowySrodekTransportu", "P_12_Zal_15", "P_19A", "P_9B", "P_10", "GTU",
    }  # fmt: skip
    assert wanted - tags == set()
    assert len({text(root, "Fa/KodWaluty") for root in roots}) >= 4


def test_the_mixed_profile_is_mostly_small_with_a_long_tail(mixed: list[GeneratedInvoice]) -> None:
    sizes = sorted(len(invoice.xml) for invoice in mixed)
    counts = sorted(len(all_of(root_of(i), "FaWiersz")) for i in mixed if i.kind == "VAT")
    assert 3000 < sum(sizes) / len(sizes) < 5000
    assert sum(size <= 8192 for size in sizes) > 0.9 * len(sizes)
    assert sizes[-1] > 30_000
    assert counts[len(counts) // 2] <= 10
    assert 40 < counts[-1] <= 200


def test_the_large_profile_reaches_hundreds_of_kilobytes() -> None:
    sizes = [len(invoice.xml) for invoice in made(120, "large")]
    assert min(sizes) > 8_000
    assert 400_000 < max(sizes) < 1_000_000


def test_documents_come_in_several_styles_of_writing(mixed: list[GeneratedInvoice]) -> None:
    documents = [invoice.xml for invoice in mixed]
    assert any(b"<fa:Faktura" in xml for xml in documents)
    assert any(xml.startswith(b"<Faktura") for xml in documents)
    assert any(b"\r\n" in xml for xml in documents)
    assert any(xml.isascii() and b"&#" in xml for xml in documents)
    assert any("ż".encode() in xml and b"&amp;" in xml for xml in documents)


@pytest.mark.parametrize("profile", PROFILES)
def test_the_total_is_the_sum_of_net_values_and_tax(profile: str) -> None:
    for invoice in made(30 if profile == "large" else 400, profile):
        fa = root_of(invoice).find(f"{NAMESPACE}Fa")
        assert fa is not None
        parts = [
            Decimal(child.text or "")
            for child in fa.iterchildren(etree.Element)
            if re.fullmatch(r"P_1[34]_\d+(_\d)?", etree.QName(child).localname)
        ]
        assert amount(fa, "P_15") == sum(parts), invoice.number


def rate_of(line: etree._Element) -> str:
    if text(line, "P_12_XII"):
        return "oss"
    return text(line, "P_12") or "margin"


def sums(lines: list[etree._Element], value_tag: str) -> dict[str, Decimal]:
    found: dict[str, Decimal] = defaultdict(Decimal)
    for line in lines:
        found[rate_of(line)] += amount(line, value_tag)
    return found


def net_and_tax(rate: str, net: Decimal) -> tuple[Decimal, Decimal]:
    return net, cents(net * PERCENT.get(rate, 21 if rate == "oss" else 0) / 100)


def test_sums_by_rate_follow_from_the_lines_of_sales_and_corrections(mixed: list[GeneratedInvoice]) -> None:
    seen = 0
    for invoice in mixed:
        fa = root_of(invoice).find(f"{NAMESPACE}Fa")
        assert fa is not None
        lines = all_of(fa, "FaWiersz")
        if invoice.kind not in {"VAT", "KOR"} or not lines or text(lines[0], "P_11A"):
            continue
        before = sums([line for line in lines if text(line, "StanPrzed")], "P_11")
        after = sums([line for line in lines if not text(line, "StanPrzed")], "P_11")
        for rate in before | after:
            old_net, old_tax = net_and_tax(rate, before.get(rate, Decimal()))
            net, tax = net_and_tax(rate, after.get(rate, Decimal()))
            assert amount(fa, f"P_13_{FIELDS[rate]}") == net - old_net, invoice.number
            assert amount(fa, f"P_14_{FIELDS[rate]}") == tax - old_tax, invoice.number
            seen += 1
    assert seen > 500


def test_sums_of_gross_priced_invoices_hold_the_tax_inside_the_gross_value(mixed: list[GeneratedInvoice]) -> None:
    seen = 0
    for invoice in mixed:
        fa = root_of(invoice).find(f"{NAMESPACE}Fa")
        assert fa is not None
        lines = all_of(fa, "FaWiersz")
        if not lines or text(lines[0], "P_11A") is None:
            continue
        assert amount(fa, "P_15") == sum((amount(line, "P_11A") for line in lines), Decimal())
        for rate, value in sums(lines, "P_11A").items():
            percent = PERCENT.get(rate, 0)
            assert amount(fa, f"P_14_{FIELDS[rate]}") == cents(value * percent / (100 + percent))
            seen += 1
    assert seen > 50


def test_the_value_of_a_line_is_quantity_times_price_less_discount(mixed: list[GeneratedInvoice]) -> None:
    seen = 0
    for invoice in mixed[:400]:
        for line in all_of(root_of(invoice), "FaWiersz"):
            for price, value in (("P_9A", "P_11"), ("P_9B", "P_11A")):
                if text(line, price) is not None:
                    unit = amount(line, price) - amount(line, "P_10")
                    assert amount(line, value) == cents(amount(line, "P_8B") * unit), invoice.number
                    seen += 1
    assert seen > 500


def test_an_order_is_worth_the_sum_of_its_lines_with_tax(mixed: list[GeneratedInvoice]) -> None:
    seen = 0
    for invoice in mixed:
        fa = root_of(invoice).find(f"{NAMESPACE}Fa")
        assert fa is not None
        for order in all_of(fa, "Zamowienie"):
            lines = [line for line in all_of(order, "ZamowienieWiersz") if not text(line, "StanPrzedZ")]
            worth = sum((amount(line, "P_11NettoZ") + amount(line, "P_11VatZ") for line in lines), Decimal())
            assert amount(order, "WartoscZamowienia") == worth
            seen += 1
            if invoice.kind == "ZAL":
                assert 0 < amount(fa, "P_15") < worth
                paid = [amount(part, "P_15Z") for part in all_of(fa, "ZaliczkaCzesciowa")]
                assert not paid or sum(paid) == amount(fa, "P_15")
    assert seen > 20


def test_tax_in_zlotys_follows_from_the_exchange_rate(mixed: list[GeneratedInvoice]) -> None:
    seen = 0
    for invoice in mixed:
        fa = root_of(invoice).find(f"{NAMESPACE}Fa")
        assert fa is not None
        rates = {element.text for tag in ("KursWaluty", "KursWalutyZ") for element in all_of(fa, tag)}
        assert (text(fa, "KodWaluty") == "PLN") == (not rates)
        for field in "123":
            if text(fa, f"P_14_{field}W") is not None:
                (rate,) = rates
                assert amount(fa, f"P_14_{field}W") == cents(amount(fa, f"P_14_{field}") * Decimal(rate or ""))
                seen += 1
    assert seen > 10


def test_simplified_invoices_stay_within_the_lawful_limit(mixed: list[GeneratedInvoice]) -> None:
    amounts = [amount(root_of(i), "Fa/P_15") for i in mixed if i.kind == "UPR"]
    assert amounts
    assert max(amounts) <= 450


def test_every_nip_and_every_ksef_number_has_the_right_check_digits(mixed: list[GeneratedInvoice]) -> None:
    numbers = 0
    for invoice in mixed:
        root = root_of(invoice)
        for element in all_of(root, "NIP"):
            assert polish_nip.is_valid(element.text or "")
        for element in all_of(root, "IDWew"):
            assert polish_nip.is_valid((element.text or "")[:10])
        for tag in ("NrKSeFFaKorygowanej", "NrKSeFFaZaliczkowej"):
            for element in all_of(root, tag):
                assert is_valid_ksef_number(element.text or "")
                numbers += 1
    assert numbers > 50


def test_dates_are_in_a_sensible_order(mixed: list[GeneratedInvoice]) -> None:
    for invoice in mixed:
        root = root_of(invoice)
        assert text(root, "Fa/P_1") == DAY.isoformat()
        assert (text(root, "Naglowek/DataWytworzeniaFa") or "").endswith("Z")
        assert (text(root, "Naglowek/DataWytworzeniaFa") or "")[:10] == DAY.isoformat()
        for tag in ("P_6", "P_6_Do", "P_6Z", "DataZaplaty", "DataWystFaKorygowanej", "DataZamowienia"):
            for element in all_of(root, tag):
                assert DAY - timedelta(days=400) < date.fromisoformat(element.text or "") <= DAY
        for element in all_of(root, "Termin"):
            assert date.fromisoformat(element.text or "") > DAY


@pytest.mark.parametrize("profile", ["mixed", "large"])
def test_without_attachments_every_other_invoice_stays_the_same(profile: str) -> None:
    count = 600 if profile == "mixed" else 40
    plain = generate_invoices(count, seller_nip=SELLER, issue_date=DAY, profile=profile, attachments=False)
    pairs = list(zip(made(count, profile), plain, strict=True))
    changed = [(old, new) for old, new in pairs if old != new]
    assert changed
    assert all(b"Zalacznik>" in old.xml for old, _ in changed)
    assert not any(b"Zalacznik>" in new.xml for _, new in pairs)


def test_a_prefix_with_markup_is_escaped(fa3_schema: etree.XMLSchema) -> None:
    invoices = list(
        generate_invoices(40, seller_nip=SELLER, issue_date=DAY, number_prefix="F&V<ą>", profile="mixed", seed=3)
    )
    assert all(is_valid(fa3_schema, invoice.xml) for invoice in invoices)
    assert all(text(root_of(invoice), "Fa/P_2") == invoice.number for invoice in invoices)
    assert re.fullmatch(r"[A-Za-z0-9._-]+", invoices[0].name)


@pytest.mark.parametrize(
    "wrong",
    [
        {"seller_nip": "123"},
        {"seller_nip": "0265877635"},
        {"issue_date": date(2025, 8, 31)},
        {"issue_date": date(2049, 12, 31)},
        {"profile": "huge"},
        {"seed": -1},
        {"start": -1},
        {"number_prefix": " "},
        {"number_prefix": "F" * 101},
        {"number_prefix": "F\u0081"},
    ],
)
def test_arguments_that_no_valid_invoice_follows_from_are_refused_at_once(wrong: dict[str, object]) -> None:
    arguments: dict[str, object] = {"seller_nip": SELLER, "issue_date": DAY, **wrong}
    with pytest.raises(ValueError, match=r".+"):
        generate_invoices(1, **arguments)  # type: ignore[arg-type]  # wrong on purpose


def test_invoices_are_made_one_by_one_and_not_before_they_are_asked_for() -> None:
    endless = generate_invoices(10**12, seller_nip=SELLER, issue_date=DAY)
    assert len(list(islice(endless, 3))) == 3
