"""Each rule has a document that breaks exactly it."""

from collections.abc import Callable
from datetime import date

import pytest

from app.domain.findings import Severity
from app.forms.fields import InvoiceFacts
from app.forms.form import CheckedInvoice
from app.forms.full_check import MAX_FINDINGS
from app.forms.rules import RULES
from tests.app.forms.fa3.breaking import ATTACHMENT, BREAKING, ROW, THIRD, Breaking

Check = Callable[..., CheckedInvoice]
Edit = Callable[..., bytes]

AUTHORISED = (
    "<PodmiotUpowazniony><DaneIdentyfikacyjne><NIP>5260250274</NIP><Nazwa>K</Nazwa></DaneIdentyfikacyjne>"
    "<Adres><KodKraju>PL</KodKraju><AdresL1>A</AdresL1></Adres><RolaPU>2</RolaPU></PodmiotUpowazniony><Fa>"
)

Pairs = list[tuple[str | bytes, str | bytes]]


@pytest.mark.parametrize("case", BREAKING, ids=lambda case: case.name)
def test_a_document_that_breaks_a_rule_gets_exactly_that_finding_in_its_place(case: Breaking, check: Check) -> None:
    result = check(case.document, **case.context)
    assert tuple((finding.rule, finding.line, finding.path) for finding in result.findings) == case.found
    assert result.valid == all(RULES[rule].severity is Severity.WARNING for rule, _, _ in case.found)
    for finding in result.findings:
        assert "{" not in finding.message + finding.message_pl
        assert finding.message != finding.message_pl


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_has_a_document_that_breaks_it(rule: str) -> None:
    # xsd-other is for what libxml2 may say one day: test_fa3_schema_mutations finds nothing that it says today.
    # key-fields-missing is for the day when the schema no longer asks for what identifies an invoice.
    # form-not-installed and buyer-not-tenant are rules of other forms: tests/app/forms/fa_rr1 breaks them.
    elsewhere = {"too-many-findings", "too-many-attributes", "xsd-other", "key-fields-missing"}
    elsewhere |= {"form-not-installed", "buyer-not-tenant"}
    assert rule in elsewhere or any(rule in {found for found, _, _ in case.found} for case in BREAKING)


@pytest.mark.parametrize(
    ("case", "told"),
    [
        ("FA (2)", "Issue it as FA(3)"),
        ("FA_RR", "schema 1-1E"),
        ("FA_RR as it was", "schema 1-1E"),
        ("PEF", "PEF broker"),
        ("PEF_KOR", "PEF broker"),
    ],
)
def test_a_form_that_is_not_sent_is_named_with_what_to_do(case: str, told: str, check: Check) -> None:
    (finding,) = check(next(one.document for one in BREAKING if one.name == case)).findings
    assert case.partition(" ")[0] in finding.message
    assert case.partition(" ")[0] in finding.message_pl
    assert told in finding.message


@pytest.mark.parametrize(
    "pairs",
    [
        # Tax from gross values, line by line, and in whole zloty.
        [("<P_14_1>23.00", "<P_14_1>23.90"), ("<P_15>123.00", "<P_15>123.90")],
        # The rate of 22% has the same field.
        [("<P_14_1>23.00", "<P_14_1>21.05"), ("<P_15>123.00", "<P_15>121.05")],
        [("<P_13_1>100.00", "<P_13_1>-100.00"), ("<P_14_1>23.00", "<P_14_1>-23.00"), ("<P_15>123", "<P_15>-123")],
        # A correction speaks of differences.
        [("<P_14_1>23.00", "<P_14_1>99.00"), ("<RodzajFaktury>VAT", "<RodzajFaktury>KOR")],
        # Delivered on the day, before it, in a period of one day.
        [("<P_13_1>", "<P_6>2026-11-22</P_6><P_13_1>")],
        [("<P_13_1>", "<P_6>2022-11-22</P_6><P_13_1>")],
        [("<P_13_1>", "<OkresFa><P_6_Od>2026-11-22</P_6_Od><P_6_Do>2026-11-22</P_6_Do></OkresFa><P_13_1>")],
        # A subscription for a year ahead.
        [("<P_13_1>", "<OkresFa><P_6_Od>2026-11-22</P_6_Od><P_6_Do>2027-11-21</P_6_Do></OkresFa><P_13_1>")],
        # The offset makes it tomorrow in a far east that is no other day.
        [("2026-11-22T08:00:00Z", "2026-11-23T01:00:00+14:00")],
    ],
)
def test_what_is_unusual_but_lawful_gives_no_warning(pairs: Pairs, check: Check, edited: Edit) -> None:
    assert check(edited(*pairs)).findings == ()


def test_a_valid_invoice_has_no_findings_and_its_facts(check: Check, invoice: bytes) -> None:
    result = check(invoice)
    assert result.valid
    assert result.findings == ()
    assert result.facts == InvoiceFacts("5265877635", "VAT", "FV/1", date(2026, 11, 22), "FA (3)", False, "PLN")


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


def test_a_document_that_only_lacks_what_identifies_it_is_not_valid(
    check: Check, invoice: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.forms.fa3.key_fields.make_facts", lambda **_elements: None)
    result = check(invoice)
    assert [finding.rule for finding in result.findings] == ["key-fields-missing"]
    assert not result.valid


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
