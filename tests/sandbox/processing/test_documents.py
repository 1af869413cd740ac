"""Single documents: what is refused, with which status, in an otherwise good package."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import httpx
import pytest

from tests.support.ksef_by_hand import HandClient, invoice, random_nip, today
from tests.support.sandbox_process import SandboxHandle, running_sandbox

TOMORROW = (datetime.fromisoformat(today()) + timedelta(days=1)).date().isoformat()
ATTACHMENT = (
    "<Zalacznik><BlokDanych><MetaDane><ZKlucz>a</ZKlucz><ZWartosc>b</ZWartosc></MetaDane></BlokDanych></Zalacznik>"
)
BAD_NIP = "5517035945"


def verdict(client: HandClient, content: bytes, **more: dict[str, str]) -> dict[str, object]:
    reference, _ = client.send_documents({"a.xml": content}, **more)
    (item,) = client.invoices(reference)
    status: dict[str, object] = item["status"]
    return status


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        pytest.param(lambda c: b"\xef\xbb\xbf" + c, 430, id="byte order mark"),
        pytest.param(lambda _: b"", 430, id="empty"),
        pytest.param(lambda _: b"not xml", 450, id="not XML"),
        pytest.param(lambda c: c[:-20], 450, id="cut"),
        pytest.param(lambda c: c.replace("ł".encode(), b"\xb3"), 450, id="Latin 2 bytes in UTF-8"),
        pytest.param(lambda c: c.decode().replace("UTF-8", "UTF-16").encode("utf-16"), 450, id="UTF-16"),
        pytest.param(lambda c: c.replace(b"UTF-8", b"ISO-8859-2"), 450, id="other encoding declared"),
        pytest.param(lambda c: c.replace(b"<Fa>", b"<?do it?><Fa>"), 450, id="processing instruction inside"),
        pytest.param(lambda c: c.replace(b"?>\n", b'?>\n<?xml-stylesheet href="a"?>\n', 1), 450, id="stylesheet before"),
        pytest.param(lambda c: c + b"<?end?>", 450, id="processing instruction behind"),
        pytest.param(lambda c: c.replace(b"?>\n", b"?><!DOCTYPE Faktura>", 1), 450, id="document type"),
        pytest.param(
            lambda c: c.replace(b"?>\n", b'?><!DOCTYPE Faktura [<!ENTITY e "x">]>', 1), 450, id="entity"
        ),
        pytest.param(lambda c: c.replace(b"usl", "us\x86".encode()), 200, id="nothing spoilt"),
        pytest.param(lambda c: c.replace("usługa".encode(), "us\x86".encode()), 450, id="discouraged character"),
        pytest.param(lambda c: c.replace("usługa".encode(), b"us&#x7F;"), 450, id="discouraged reference"),
        pytest.param(lambda c: c.replace("usługa".encode(), "us\U0001fffe".encode()), 450, id="noncharacter"),
        pytest.param(lambda c: c.replace("usługa".encode(), "us\x85".encode()), 200, id="next line is allowed"),
        pytest.param(lambda c: c.replace(b"<P_15>123.00</P_15>", b""), 450, id="element missing"),
        pytest.param(lambda c: c.replace(b"<RodzajFaktury>VAT", b"<RodzajFaktury>XXX"), 450, id="kind unknown"),
        pytest.param(lambda c: c.replace(b"13775", b"12648"), 450, id="FA(2) namespace"),
        pytest.param(lambda c: c.replace(b'"FA (3)"', b'"FA (2)"'), 450, id="FA(2) code"),
        pytest.param(lambda c: c.replace(today().encode(), TOMORROW.encode()), 450, id="dated tomorrow"),
        pytest.param(lambda c: c.replace(b"</Faktura>", ATTACHMENT.encode() + b"</Faktura>"), 415, id="attachment"),
        pytest.param(lambda c: c.replace(b'version="1.0"', b'version="1.1"'), 450, id="XML 1.1"),
        pytest.param(lambda c: c.decode().encode("utf-16-le", "xmlcharrefreplace"), 450, id="UTF-16 without a mark"),
        pytest.param(lambda c: c.replace(b"<P_2>A<", b"<P_2><!-- no. -->A<![CDATA[/1]]><"), 200, id="number with a comment"),
        pytest.param(lambda c: c.replace(b"<P_2>A<", "<P_2>\xa0<".encode()), 200, id="number of a no-break space"),
        pytest.param(lambda c: c.replace(b">3</War", b">03</War"), 200, id="variant with a zero"),
        pytest.param(lambda c: c.replace(b"<DataWytworzeniaFa>", b"<DataWytworzeniaFa>\n"), 200, id="moment after a line end"),
        pytest.param(lambda c: c.replace(b"<Fa>", b"<!--" + b"x" * 1_000_000 + b"--><Fa>"), 430, id="above 1 MB"),
        pytest.param(lambda c: c.replace(b"<Fa>", b"<!--" + b"x" * 990_000 + b"--><Fa>"), 200, id="below 1 MB"),
    ],
)  # fmt: skip
def test_a_document_gets_the_status_of_what_is_wrong_with_it(client: HandClient, spoil, code: int) -> None:  # type: ignore[no-untyped-def]  # lambdas of bytes
    status = verdict(client, spoil(invoice("A", client.nip)))
    assert status["code"] == code, status
    assert code == 200 or status["details"]


def test_an_invoice_of_another_seller_is_410_and_keeps_its_number_in_the_answer(client: HandClient) -> None:
    reference, _ = client.send_documents({"a.xml": invoice("FOREIGN", random_nip())})
    (item,) = client.invoices(reference)
    assert item["status"]["code"] == 410
    assert item["invoiceNumber"] == "FOREIGN"


def test_self_invoicing_needs_the_sellers_consent(client: HandClient, shared_sandbox: SandboxHandle) -> None:
    seller = random_nip()

    def send(number: str) -> object:
        return verdict(client, invoice(number, seller, buyer=client.nip, self_invoicing="1"))["code"]

    assert send("S1") == 410
    consent = {"seller_nip": seller, "nip": client.nip, "kind": "SelfInvoicing"}
    assert httpx.post(f"{shared_sandbox.control_url}/authorizations", json=consent).status_code == 204
    assert send("S2") == 200
    assert verdict(client, invoice("S3", seller, buyer=client.nip))["code"] == 410


def test_attachments_are_taken_with_consent_up_to_3_mb(client: HandClient, shared_sandbox: SandboxHandle) -> None:
    def large(number: str, size: int) -> bytes:
        comment = f"<!--{'x' * size}-->"
        return invoice(number, client.nip, after=f"{comment}{ATTACHMENT}")

    assert client.call("GET", "/permissions/attachments/status").json() == {"isAttachmentAllowed": False}
    assert verdict(client, large("L0", 10))["code"] == 415
    httpx.post(f"{shared_sandbox.control_url}/attachments", json={"nip": client.nip})
    assert client.call("GET", "/permissions/attachments/status").json() == {"isAttachmentAllowed": True}
    assert verdict(client, large("L1", 10))["code"] == 200
    assert verdict(client, large("L2", 2_000_000))["code"] == 200
    assert verdict(client, large("L3", 3_000_000))["code"] == 430


def test_checksums_of_nips_are_checked_only_on_request(client: HandClient) -> None:
    assert verdict(client, invoice("N1", client.nip, buyer=BAD_NIP))["code"] == 200
    feature = {"X-KSeF-Feature": "subject-identifier-validation"}
    assert verdict(client, invoice("N2", client.nip, buyer=BAD_NIP), headers=feature)["code"] == 450
    assert verdict(client, invoice("N3", client.nip), headers=feature)["code"] == 200
    both = {"X-KSeF-Feature": "upo-v4-3, subject-identifier-validation"}
    assert verdict(client, invoice("N4", client.nip, buyer=BAD_NIP), headers=both)["code"] == 200


@pytest.fixture(scope="module")
def lenient_sandbox() -> Iterator[SandboxHandle]:
    with running_sandbox(validate="off", enforce_identifiers=True) as handle:
        yield handle


def test_without_the_schema_every_other_rule_still_holds(lenient_sandbox: SandboxHandle) -> None:
    client = HandClient(lenient_sandbox.base_url).login()
    good = invoice("A", client.nip)
    assert verdict(client, good.replace(b"<P_15>123.00</P_15>", b""))["code"] == 200
    assert verdict(client, good.replace(b"<P_2>A</P_2>", b""))["code"] == 450
    assert verdict(client, good.replace(today().encode(), TOMORROW.encode()))["code"] == 450
    assert verdict(client, invoice("B", client.nip, buyer=BAD_NIP))["code"] == 450
    assert verdict(client, b"\xef\xbb\xbf" + good)["code"] == 430
    client.close()


def test_a_correction_may_quote_the_wrong_nip_that_a_party_had(client: HandClient) -> None:
    """The check digits are looked at in Podmiot1, 2, 3 and PodmiotUpowazniony only."""
    feature = {"headers": {"X-KSeF-Feature": "subject-identifier-validation"}}
    corrected = (
        "<DaneFaKorygowanej><DataWystFaKorygowanej>2026-02-02</DataWystFaKorygowanej>"
        "<NrFaKorygowanej>1</NrFaKorygowanej><NrKSeFN>1</NrKSeFN></DaneFaKorygowanej>"
        f"<Podmiot2K><DaneIdentyfikacyjne><NIP>{BAD_NIP}</NIP></DaneIdentyfikacyjne></Podmiot2K>"
    )
    content = invoice("K", client.nip).replace(
        b"Faktury>VAT</RodzajFaktury>", b"Faktury>KOR</RodzajFaktury>" + corrected.encode()
    )
    assert verdict(client, content, **feature)["code"] == 200
    wrong = content.replace(b"<NIP>1111111111</NIP>", f"<NIP> {BAD_NIP}</NIP>".replace(" ", "<!-- -->").encode())
    assert verdict(client, wrong, **feature)["code"] == 450


def test_digits_of_another_script_make_no_nip(client: HandClient) -> None:
    """The pattern of the XSD takes them."""
    foreign = client.nip[:3] + client.nip[3:].translate({ord("0") + n: 0x660 + n for n in range(10)})
    assert verdict(client, invoice("D", foreign))["code"] == 410
