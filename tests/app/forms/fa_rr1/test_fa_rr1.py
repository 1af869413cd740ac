"""FA_RR(1): what is valid, whose NIP must be the tenant's, and that no rule of FA(3) is applied to it."""

from datetime import date

import pytest

from app.domain.findings import Severity
from app.forms.checker import CheckContext, DocumentChecker, make_checker
from app.forms.fa_rr1.form import FA_RR1
from app.schema_files import load_schema_files
from invoicegen.vat_rr import generate_rr_invoices
from tests.support.official_files import FA_RR_XSD, needs_fa_rr_xsd

BUYER = "5265877635"
TODAY = date(2026, 11, 22)
CONTEXT = CheckContext(tenant_nip=BUYER, today=TODAY, check_nip_checksums=True, attachments_allowed=False)


@pytest.fixture(scope="module")
def checker() -> DocumentChecker:
    files = load_schema_files()
    root, *imports = FA_RR1.schema_files
    return make_checker(
        files | {FA_RR1.code: {root: FA_RR_XSD.read_bytes()} | {name: files["FA (3)"][name] for name in imports}}
    )


def invoice(index: int = 0, issue_date: date = TODAY) -> str:
    (made,) = generate_rr_invoices(1, buyer_nip=BUYER, issue_date=issue_date, start=index)
    return made.xml.decode()


def rules(checker: DocumentChecker, document: str, context: CheckContext = CONTEXT) -> list[str]:
    return [finding.rule for finding in checker.check(document.encode(), context).findings]


@needs_fa_rr_xsd
def test_generated_invoices_are_valid_and_have_their_key_fields(checker: DocumentChecker) -> None:
    made = list(generate_rr_invoices(50, buyer_nip=BUYER, issue_date=TODAY))
    assert {one.kind for one in made} == {"VAT_RR", "KOR_VAT_RR"}
    for one in made:
        checked = checker.check(one.xml, CONTEXT)
        assert checked.findings == ()
        assert checked.form_code == "FA_RR (1)"
        assert checked.facts is not None
        assert (checked.facts.number, checked.facts.kind, checked.facts.issue_date) == (one.number, one.kind, TODAY)
        assert checked.facts.seller_nip.encode() in one.xml.partition(b"</Podmiot1>")[0], "the farmer is the seller"


@needs_fa_rr_xsd
def test_the_buyer_must_be_the_tenant(checker: DocumentChecker) -> None:
    document = invoice().replace(f"<NIP>{BUYER}</NIP>", "<NIP>5213814999</NIP>")
    (finding,) = checker.check(document.encode(), CONTEXT).findings
    assert (finding.rule, finding.path) == ("buyer-not-tenant", "/Faktura/Podmiot2/DaneIdentyfikacyjne/NIP")
    assert "5213814999" in finding.message
    assert BUYER in finding.message_pl


@needs_fa_rr_xsd
@pytest.mark.parametrize(
    ("old", "new", "rule", "words"),
    [
        ('wersjaSchemy="1-1E"', 'wersjaSchemy="1-0E"', "form-header-mismatch", "FA_RR(1)"),
        ('kodSystemowy="FA_RR (1)"', 'kodSystemowy="FA (3)"', "form-header-mismatch", "FA_RR(1)"),
        ("<P_9>7</P_9>", "<P_9>23</P_9>", "xsd-value-not-allowed", "rate of the refund of tax"),
        ("<P_1M>Żory</P_1M>", "<P_1M></P_1M>", "xsd-empty-value", "place of issue"),
        (f"<P_4B>{TODAY}", "<P_4B>2026-11-23", "issue-date-in-future", "P_4B"),
        (f"<P_4B>{TODAY}", "<P_4B>2026-11-21", "will-be-offline", "P_4B"),
        ("<RodzajFaktury>VAT_RR", "<RodzajFaktury>VAT", "xsd-value-not-allowed", "kind of invoice"),
        (f"<NIP>{BUYER}", "<NIP>5265877636", "nip-checksum", "Podmiot2"),
        ("<?xml", "\ufeff<?xml", "byte-order-mark", "BOM"),
    ],
)
def test_each_fault_is_a_finding_in_the_words_of_the_form(
    checker: DocumentChecker, old: str, new: str, rule: str, words: str
) -> None:
    document = invoice()
    assert old in document
    found = checker.check(document.replace(old, new).encode(), CONTEXT).findings
    assert rule in [one.rule for one in found]
    assert any(words in one.message for one in found if one.rule == rule)


@needs_fa_rr_xsd
def test_warnings_of_fa3_are_not_given(checker: DocumentChecker) -> None:
    # In FA(3) these would be total-mismatch and issue-date-long-past.
    document = invoice(issue_date=date(2026, 1, 2)).replace("<P_12_1>", "<P_12_1>9")
    found = checker.check(document.encode(), CONTEXT).findings
    assert [(one.rule, one.severity) for one in found] == [("will-be-offline", Severity.WARNING)]


def test_without_its_official_file_the_finding_names_the_command() -> None:
    off = make_checker(load_schema_files())
    (finding,) = off.check(invoice().encode(), CONTEXT).findings
    assert finding.rule == "form-not-installed"
    assert "ksefd schema install FILE" in finding.message
    assert "ksefd schema install FILE" in finding.message_pl


@needs_fa_rr_xsd
def test_a_form_that_is_installed_later_is_used_without_a_restart() -> None:
    files = load_schema_files()
    installed: dict[str, dict[str, bytes]] = {}
    checker = make_checker(files, installed.get)
    assert rules(checker, invoice()) == ["form-not-installed"]
    root, *imports = FA_RR1.schema_files
    installed[FA_RR1.code] = {root: FA_RR_XSD.read_bytes()} | {name: files["FA (3)"][name] for name in imports}
    assert rules(checker, invoice()) == []


@pytest.mark.parametrize("code", ["FA_RR (1)", "RR (1)"])
def test_another_namespace_that_calls_itself_fa_rr_is_not_supported(code: str) -> None:
    document = invoice().replace("2026/03/06/14189", "2025/01/01/1").replace('"FA_RR (1)"', f'"{code}"')
    (finding,) = make_checker(load_schema_files()).check(document.encode(), CONTEXT).findings
    assert finding.rule == "form-not-supported"
    assert "1-1E" in finding.message
