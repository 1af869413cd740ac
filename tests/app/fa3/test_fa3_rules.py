"""Each rule has a document that breaks exactly it."""

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest

from app.domain.findings import Severity
from app.fa3.checker import MAX_FINDINGS, CheckedInvoice, InvoiceFacts
from app.fa3.rules import RULES

Check = Callable[..., CheckedInvoice]
Edit = Callable[..., bytes]

ATTACHMENT = (
    "<Zalacznik><BlokDanych><MetaDane><ZKlucz>a</ZKlucz><ZWartosc>b</ZWartosc></MetaDane></BlokDanych></Zalacznik>"
)
ROW = "<FaWiersz><NrWierszaFa>1</NrWierszaFa>"
THIRD = "<Podmiot3><DaneIdentyfikacyjne><IDWew>{id}</IDWew></DaneIdentyfikacyjne><Rola>{role}</Rola></Podmiot3>"

AUTHORISED = (
    "<PodmiotUpowazniony><DaneIdentyfikacyjne><NIP>5260250274</NIP><Nazwa>K</Nazwa></DaneIdentyfikacyjne>"
    "<Adres><KodKraju>PL</KodKraju><AdresL1>A</AdresL1></Adres><RolaPU>2</RolaPU></PodmiotUpowazniony><Fa>"
)

Pairs = list[tuple[str | bytes, str | bytes]]

BREAKING: list[tuple[str, Pairs, dict[str, Any]]] = [
    ("byte-order-mark", [("<?xml", b"\xef\xbb\xbf<?xml")], {}),
    ("not-utf-8", [("Nabywca", b"Nabywc\xb1")], {}),
    ("declared-encoding", [('"UTF-8"', '"ISO-8859-2"')], {}),
    ("xml-version", [('version="1.0"', 'version="1.1"')], {}),
    ("processing-instruction", [("<Naglowek>", "<?print now?><Naglowek>")], {}),
    ("doctype", [("<Faktura", "<!DOCTYPE Faktura><Faktura")], {}),
    ("forbidden-character", [("Nabywca", "Nabywca\x81")], {}),
    ("forbidden-character", [("Nabywca", "Nabywca\x7f")], {}),
    ("forbidden-character", [("Nabywca", "Nabywca\ufdd0")], {}),
    ("forbidden-character", [("Nabywca", "Nabywca\U0010fffe")], {}),
    ("forbidden-character", [("Nabywca", "Nabywca&#x0081;")], {}),
    ("forbidden-character", [("Nabywca", "Nabywca&#131071;")], {}),
    ("not-well-formed", [("</Naglowek>", "</Naglowe>")], {}),
    ("not-well-formed", [("Nabywca", "A & B")], {}),
    ("not-well-formed", [("Nabywca", "A &copy; B")], {}),
    ("not-well-formed", [("Nabywca", "A\x01")], {}),
    ("too-large", [], {"max_bytes": 100, "max_bytes_with_attachment": 200}),
    ("too-large-without-attachment", [], {"max_bytes": 1000}),
    ("form-not-supported", [("2025/06/25/13775", "2023/06/29/12648"), ("FA (3)", "FA (2)")], {}),
    ("form-header-mismatch", [("FA (3)", "FA (2)")], {}),
    ("form-header-mismatch", [("<WariantFormularza>3", "<WariantFormularza>2")], {}),
    ("attachment-not-allowed", [("</Fa>\n", f"</Fa>{ATTACHMENT}")], {"attachments_allowed": False}),
    ("nip-checksum", [("5213814999", "5213814998")], {}),
    (
        "internal-id-checksum",
        [("  <Fa>", THIRD.format(id="5213814998-00001", role=2) + "<Fa>")],
        {},
    ),
    ("seller-not-tenant", [], {"tenant_nip": "5260250274"}),
    ("issue-date-in-future", [], {"today": date(2026, 11, 21)}),
    ("will-be-offline", [], {"today": date(2026, 11, 23)}),
    ("creation-time-without-offset", [("08:00:00Z", "08:00:00")], {}),
    ("total-mismatch", [("<P_15>123.00", "<P_15>132.00")], {}),
    ("xsd-missing-element", [("<P_2>FV/1</P_2>", "")], {}),
    ("xsd-missing-element", [("<GV>2</GV>", "")], {}),
    ("xsd-unexpected-element", [(ROW, ROW + "<Extra/>")], {}),
    ("xsd-foreign-namespace", [(ROW, ROW + '<UU_ID xmlns="urn:x">1</UU_ID>')], {}),
    ("xsd-bad-value", [("<P_15>123.00", "<P_15>123,00")], {}),
    ("xsd-value-not-allowed", [("PLN", "ZLO")], {}),
    ("xsd-pattern", [("<P_15>123.00", "<P_15>0123.00")], {}),
    ("xsd-empty-value", [("FV/1", "")], {}),
    ("xsd-too-long", [("FV/1", "F" * 257)], {}),
    ("xsd-out-of-range", [("2026-11-22T08", "2024-11-22T08")], {}),
    ("xsd-too-many-digits", [("<P_15>123.00", "<P_15>123.001")], {}),
    ("xsd-missing-attribute", [(' wersjaSchemy="1-0E"', "")], {}),
    ("xsd-unexpected-attribute", [("<Fa>", '<Fa id="1">')], {}),
    ("xsd-unexpected-text", [("<Fa>", "<Fa>text")], {}),
    ("xsd-unexpected-child", [("FV/1", "FV/1<b/>")], {}),
    (
        "xsd-instruction",
        [("<P_2>", '<P_2 xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:nil="true">')],
        {},
    ),
]


@pytest.mark.parametrize(("rule", "pairs", "changes"), BREAKING)
def test_a_document_that_breaks_one_rule_gets_exactly_that_finding(
    rule: str, pairs: Pairs, changes: dict[str, Any], check: Check, edited: Edit
) -> None:
    result = check(edited(*pairs), **changes)
    assert [finding.rule for finding in result.findings] == [rule]
    (finding,) = result.findings
    assert result.valid == (RULES[rule].severity is Severity.WARNING)
    assert "{" not in finding.message + finding.message_pl
    assert finding.message != finding.message_pl


def test_every_rule_has_a_document_that_breaks_it() -> None:
    # xsd-other is for what libxml2 may say one day: test_fa3_schema_mutations finds nothing that it says today.
    elsewhere = {"empty-document", "too-many-findings", "too-many-attributes", "xsd-other"}
    # No element of FA(3) has a minimum length above one that is not also bound to a pattern, except in accounts.
    elsewhere.add("xsd-too-short")
    assert {rule for rule, _, _ in BREAKING} | elsewhere == set(RULES)


def test_a_valid_invoice_has_no_findings_and_its_facts(check: Check, invoice: bytes) -> None:
    result = check(invoice)
    assert result.valid
    assert result.findings == ()
    assert result.facts == InvoiceFacts("5265877635", "VAT", "FV/1", date(2026, 11, 22), "FA (3)", False, "PLN")


@pytest.mark.parametrize("text", ["", " \n\t"])
def test_an_empty_document_is_reported_as_such(text: str, check: Check) -> None:
    assert [finding.rule for finding in check(text.encode()).findings] == ["empty-document"]


def test_a_short_bank_account_is_too_short(check: Check, edited: Edit) -> None:
    account = "<Platnosc><RachunekBankowy><NrRB>123</NrRB></RachunekBankowy></Platnosc></Fa>"
    assert [finding.rule for finding in check(edited(("</Fa>\n", account))).findings] == ["xsd-too-short"]


def test_all_faults_are_reported_not_only_the_first_of_a_group(check: Check, edited: Edit) -> None:
    document = edited(
        ("<P_2>FV/1</P_2>", ""), ("<P_15>123.00", "<P_15>x"), (ROW, ROW + "<Extra/>"), ("<P_12>23", "<P_12>99")
    )
    found = {(finding.rule, finding.path) for finding in check(document).findings}
    assert found == {
        ("xsd-missing-element", "/Faktura/Fa"),
        ("xsd-bad-value", "/Faktura/Fa/P_15"),
        ("xsd-unexpected-element", "/Faktura/Fa/FaWiersz/Extra"),
        ("xsd-value-not-allowed", "/Faktura/Fa/FaWiersz/P_12"),
    }


def test_a_finding_names_line_path_and_the_words_of_the_validator(check: Check, edited: Edit) -> None:
    document = edited(("  </Fa>", f"{ROW}<P_9A>1,5</P_9A></FaWiersz>\n  </Fa>"))
    (finding,) = check(document).findings
    assert finding.path == "/Faktura/Fa/FaWiersz[2]/P_9A"
    assert finding.line == document.count(b"\n", 0, document.index(b"<P_9A>")) + 1
    assert finding.raw is not None
    assert "TKwotowy2" in finding.raw
    assert "net unit price" in finding.message
    assert "cena jednostkowa netto" in finding.message_pl


def test_the_list_of_findings_is_bounded_and_says_so(check: Check, edited: Edit) -> None:
    rows = "".join(
        f"<FaWiersz><NrWierszaFa>{number}</NrWierszaFa><P_8B>x</P_8B></FaWiersz>" for number in range(1, 300)
    )
    result = check(edited(("  </Fa>", rows + "</Fa>")))
    assert len(result.findings) == MAX_FINDINGS + 1
    assert result.findings[-1].rule == "too-many-findings"
    assert not result.valid


@pytest.mark.parametrize(
    "text",
    [
        "<![CDATA[&#x81; <?no instruction?> <!DOCTYPE no>]]>",
        "Nabywca<!-- &#x81; <?no?> <!no> -->",
        "Nabywca\x85",
        "A?!",
    ],
)
def test_markup_inside_comments_and_cdata_is_plain_text(text: str, check: Check, edited: Edit) -> None:
    assert check(edited(("Nabywca", text))).findings == ()


def test_a_document_without_xml_declaration_is_fine(check: Check, invoice: bytes) -> None:
    assert check(invoice.partition(b"\n")[2]).findings == ()


def test_facts_of_an_invalid_document_are_given_when_they_can_be_read(check: Check, edited: Edit) -> None:
    result = check(edited(("<P_15>123.00", "<P_15>x")))
    assert not result.valid
    assert result.facts is not None
    assert result.facts.number == "FV/1"


def test_facts_have_blanks_collapsed_like_the_schema_does(check: Check, edited: Edit) -> None:
    result = check(edited(("FV/1", "\n FV  1 ")))
    assert result.facts is not None
    assert result.facts.number == "FV 1"


@pytest.mark.parametrize(
    "pairs",
    [
        [("<P_17>2", "<P_17>1"), ("5213814999", "5260250274")],
        [("  <Fa>", THIRD.format(id="5260250274-00001", role=9) + "<Fa>")],
        [("<P_17>2", "<P_17>1"), ("  <Fa>", THIRD.format(id="5260250274-00001", role=4) + "<Fa>")],
        [
            (
                "  <Fa>",
                AUTHORISED,
            )
        ],
    ],
)
def test_another_seller_is_let_through_when_the_invoice_shows_why(pairs: Pairs, check: Check, edited: Edit) -> None:
    assert check(edited(*pairs), tenant_nip="5260250274").findings == ()


def test_a_buyer_without_self_billing_may_not_issue_the_invoice(check: Check, invoice: bytes) -> None:
    result = check(invoice, tenant_nip="5213814999")
    assert [finding.rule for finding in result.findings] == ["seller-not-tenant"]


def test_checksums_are_not_looked_at_unless_asked(check: Check, edited: Edit) -> None:
    assert check(edited(("5213814999", "5213814998")), check_nip_checksums=False).findings == ()


def test_an_attachment_is_let_through_while_the_permission_is_unknown(check: Check, edited: Edit) -> None:
    result = check(edited(("</Fa>\n", f"</Fa>{ATTACHMENT}")), attachments_allowed=None)
    assert result.findings == ()
    assert result.facts is not None
    assert result.facts.has_attachment


@pytest.mark.parametrize("kind", ["ROZ", "UPR", "ZAL"])
def test_the_total_of_other_kinds_is_not_judged(kind: str, check: Check, edited: Edit) -> None:
    document = edited(("<P_15>123.00", "<P_15>999.00"), ("<RodzajFaktury>VAT", f"<RodzajFaktury>{kind}"))
    assert check(document).findings == ()
