"""The whole way of a package, driven from outside over HTTP."""

import base64
import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from lxml import etree
from signxml.xades.xades import XAdESSignatureConfiguration, XAdESVerifier

from app.domain.ksef_number import is_valid_ksef_number
from tests.support.ksef_by_hand import (
    HandClient,
    Package,
    invoice,
    sha256,
    tar_package,
    today,
    zip_package,
)

UPO = "{http://upo.schematy.mf.gov.pl/KSeF/v4-3}"
DS = "{http://www.w3.org/2000/09/xmldsig#}"
UPO_SCHEMA = Path(__file__).resolve().parents[3].parent / "shared" / "ksef" / "schemas" / "upo-v4-3.xsd"


def documents(client: HandClient, count: int, prefix: str = "FV") -> dict[str, bytes]:
    return {f"{number}.xml": invoice(f"{prefix}/{number}", client.nip) for number in range(count)}


def test_every_good_invoice_gets_a_number_of_its_own_and_stands_on_the_receipt(client: HandClient) -> None:
    sent = documents(client, 30)
    reference, final = client.send_documents(sent)
    assert final["status"]["code"] == 200
    assert (final["invoiceCount"], final["successfulInvoiceCount"], final["failedInvoiceCount"]) == (30, 30, 0)
    listed = client.invoices(reference)
    assert {item["invoiceHash"] for item in listed} == {sha256(content) for content in sent.values()}
    assert all(is_valid_ksef_number(item["ksefNumber"]) for item in listed)
    assert len({item["ksefNumber"] for item in listed}) == 30
    assert {item["invoicingMode"] for item in listed} == {"Online"}
    (page,) = final["upo"]["pages"]
    receipt = httpx.get(page["downloadUrl"])
    assert receipt.status_code == 200
    assert receipt.headers["content-type"] == "application/xml"
    assert receipt.headers["x-ms-meta-hash"] == sha256(receipt.content)
    on_receipt = {
        item.findtext(f"{UPO}SkrotDokumentu"): item.findtext(f"{UPO}NumerKSeFDokumentu")
        for item in etree.fromstring(receipt.content).iter(f"{UPO}Dokument")
    }
    assert on_receipt == {item["invoiceHash"]: item["ksefNumber"] for item in listed}


def test_a_rejected_invoice_does_not_hold_back_its_package(client: HandClient) -> None:
    reference, final = client.send_documents({**documents(client, 3), "bad.xml": b"<nothing/>"})
    assert final["status"]["code"] == 200
    assert (final["successfulInvoiceCount"], final["failedInvoiceCount"]) == (3, 1)
    (failed,) = client.invoices(reference, "/failed")
    assert failed["invoiceFileName"] == "bad.xml"
    assert failed["status"]["code"] == 450
    assert "ksefNumber" not in failed
    assert "invoiceNumber" not in failed


def test_a_package_without_a_good_invoice_ends_445_and_has_no_receipt(client: HandClient) -> None:
    _, final = client.send_documents({"bad.xml": b"<nothing/>"})
    assert final["status"]["code"] == 445
    assert "upo" not in final


@pytest.mark.parametrize("part_bytes", [700, 10_000_000], ids=["several parts", "one part"])
@pytest.mark.parametrize("compression", ["Zip", "TarGz", None], ids=str)
def test_both_archives_arrive_in_any_number_of_parts(
    client: HandClient, compression: str | None, part_bytes: int
) -> None:
    sent = documents(client, 12)
    plain = tar_package(sent) if compression == "TarGz" else zip_package(sent)
    package = Package(plain, compression, part_bytes=part_bytes)
    _, final = client.send(package)
    assert final["status"]["code"] == 200, final
    assert final["successfulInvoiceCount"] == 12


def test_ordinal_numbers_do_not_follow_the_archive(client: HandClient) -> None:
    reference, _ = client.send_documents(documents(client, 20))
    by_ordinal = sorted(client.invoices(reference), key=lambda item: item["ordinalNumber"])
    assert [item["ordinalNumber"] for item in by_ordinal] == list(range(1, 21))
    assert [item["invoiceFileName"] for item in by_ordinal] != [f"{number}.xml" for number in range(20)]


def test_a_number_is_taken_once_and_the_second_sender_learns_who_has_it(client: HandClient) -> None:
    first, _ = client.send_documents({"a.xml": invoice("ONE", client.nip)})
    (original,) = client.invoices(first)
    second, final = client.send_documents({"b.xml": invoice("ONE", client.nip, text="inna treść")})
    assert final["status"]["code"] == 445
    (duplicate,) = client.invoices(second, "/failed")
    assert duplicate["status"]["code"] == 440
    assert duplicate["status"]["extensions"] == {
        "originalKsefNumber": original["ksefNumber"],
        "originalSessionReferenceNumber": first,
    }
    assert "ksefNumber" not in duplicate


def test_of_two_equal_invoices_in_a_package_one_is_accepted(client: HandClient) -> None:
    same = invoice("TWICE", client.nip)
    reference, final = client.send_documents({"a.xml": same, "b.xml": same})
    assert (final["successfulInvoiceCount"], final["failedInvoiceCount"]) == (1, 1)
    assert [item["status"]["code"] for item in client.invoices(reference, "/failed")] == [440]


def test_the_same_number_of_another_seller_is_another_invoice(
    client: HandClient, another: Callable[[], HandClient]
) -> None:
    client.send_documents({"a.xml": invoice("SHARED", client.nip)})
    other = another().login()
    _, final = other.send_documents({"a.xml": invoice("SHARED", other.nip)})
    assert final["status"]["code"] == 200


def test_an_invoice_of_yesterday_becomes_an_offline_one(client: HandClient) -> None:
    yesterday = (datetime.fromisoformat(today()) - timedelta(days=1)).date().isoformat()
    reference, _ = client.send_documents(
        {"old.xml": invoice("OLD", client.nip, day=yesterday), "new.xml": invoice("NEW", client.nip)}
    )
    modes = {item["invoiceNumber"]: item["invoicingMode"] for item in client.invoices(reference)}
    assert modes == {"OLD": "Offline", "NEW": "Online"}


def test_offline_mode_applies_to_every_invoice_of_a_session(client: HandClient) -> None:
    reference, _ = client.send(Package(zip_package(documents(client, 2))), lambda body: body.update(offlineMode=True))
    assert {item["invoicingMode"] for item in client.invoices(reference)} == {"Offline"}


def test_the_time_of_an_invoice_is_when_its_session_was_opened(client: HandClient) -> None:
    reference, final = client.send_documents(documents(client, 2))
    assert {item["invoicingDate"] for item in client.invoices(reference)} == {final["dateCreated"]}


def test_an_accepted_invoice_can_be_read_back_byte_for_byte(client: HandClient) -> None:
    for name, compression, build in (("z", "Zip", zip_package), ("t", "TarGz", tar_package)):
        content = invoice(f"BACK/{name}", client.nip)
        reference, _ = client.send(Package(build({f"{name}.xml": content, "other.xml": b"<x/>"}), compression))
        number = next(item["ksefNumber"] for item in client.invoices(reference) if "ksefNumber" in item)
        answer = client.call("GET", f"/invoices/ksef/{number}")
        assert answer.content == content
        assert answer.headers["x-ms-meta-hash"] == sha256(content)


def test_one_invoice_has_a_receipt_of_its_own_three_ways(client: HandClient) -> None:
    reference, _ = client.send_documents(documents(client, 2))
    item = client.invoices(reference)[0]
    answers = [
        httpx.get(item["upoDownloadUrl"]),
        client.call("GET", f"/sessions/{reference}/invoices/{item['referenceNumber']}/upo"),
        client.call("GET", f"/sessions/{reference}/invoices/ksef/{item['ksefNumber']}/upo"),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert len({answer.content for answer in answers}) == 1
    root = etree.fromstring(answers[0].content)
    assert [node.text for node in root.iter(f"{UPO}SkrotDokumentu")] == [item["invoiceHash"]]
    assert root.find(f"{UPO}OpisPotwierdzenia") is None


def test_a_receipt_is_signed_and_names_the_login(client: HandClient) -> None:
    reference, final = client.send_documents(documents(client, 2))
    (page,) = final["upo"]["pages"]
    content = client.call("GET", f"/sessions/{reference}/upo/{page['referenceNumber']}").content
    root = etree.fromstring(content)
    certificate = x509.load_der_x509_certificate(base64.b64decode(root.findtext(f".//{DS}X509Certificate") or ""))
    XAdESVerifier().verify(
        content, x509_cert=certificate, expect_config=XAdESSignatureConfiguration(expect_references=True)
    )
    digest = root.findtext(f"{UPO}Uwierzytelnienie/{UPO}SkrotDokumentuUwierzytelniajacego")
    assert digest is not None
    assert len(base64.b64decode(digest)) == hashlib.sha256().digest_size
    with pytest.raises(Exception, match="igest"):
        XAdESVerifier().verify(
            content.replace(b"FV/1", b"FV/9"),
            x509_cert=certificate,
            expect_config=XAdESSignatureConfiguration(expect_references=True),
        )


@pytest.mark.parametrize("schema", [UPO_SCHEMA] if UPO_SCHEMA.is_file() else [])
def test_a_receipt_is_valid_once_its_signature_is_taken_off(client: HandClient, schema: Path) -> None:
    reference, final = client.send_documents(documents(client, 3))
    item = client.invoices(reference)[0]
    compiled = etree.XMLSchema(etree.parse(str(schema)))
    for url in (final["upo"]["pages"][0]["downloadUrl"], item["upoDownloadUrl"]):
        root = etree.fromstring(httpx.get(url).content)
        signature = root.find(f"{DS}Signature")
        assert signature is not None
        root.remove(signature)
        compiled.assertValid(root)


def test_a_session_of_somebody_else_is_not_shown(client: HandClient, another: Callable[[], HandClient]) -> None:
    reference, _ = client.send_documents(documents(client, 1))
    other = another().login()
    answer = other.call("GET", f"/sessions/{reference}")
    assert answer.status_code == 403
    assert answer.json()["reasonCode"] == "insufficient-resource-access"


def test_lists_come_in_pages_and_foreign_continuation_tokens_are_refused(client: HandClient) -> None:
    reference, _ = client.send_documents(documents(client, 25))
    path = f"/sessions/{reference}/invoices"
    first = client.call("GET", path).json()
    assert len(first["invoices"]) == 10
    seen = first["invoices"]
    token = first["continuationToken"]
    while token:
        body = client.call("GET", path, headers={"x-continuation-token": token}).json()
        seen += body["invoices"]
        last, token = token, body.get("continuationToken")
    assert [item["ordinalNumber"] for item in seen] == list(range(1, 26))
    for wrong in ("nonsense", "AAAA", last[:-4] + "AAAA"):
        answer = client.call("GET", path, headers={"x-continuation-token": wrong})
        assert answer.json()["exception"]["exceptionDetailList"][0]["exceptionCode"] == 21418
    answer = client.call("GET", f"{path}/failed", headers={"x-continuation-token": last})
    assert answer.status_code == 400


@pytest.mark.parametrize("size", ["9", "1001", "x", "-10", ""])
def test_page_sizes_outside_the_contract_are_refused(client: HandClient, size: str) -> None:
    opened = client.open(client.open_body(Package(zip_package(documents(client, 1)))))
    answer = client.call("GET", f"/sessions/{opened['referenceNumber']}/invoices", params={"pageSize": size})
    assert answer.json()["exception"]["exceptionDetailList"][0]["exceptionCode"] == 21405


def test_sessions_are_listed_newest_first_and_filtered(client: HandClient) -> None:
    done, _ = client.send_documents(documents(client, 1))
    open_one = client.open(client.open_body(Package(b"not sent")))["referenceNumber"]
    listed = client.call("GET", "/sessions", params={"sessionType": "Batch"}).json()["sessions"]
    assert [item["referenceNumber"] for item in listed] == [open_one, done]
    for statuses, expected in (("Succeeded", [done]), ("InProgress", [open_one]), ("Failed", [])):
        query = {"sessionType": "Batch", "statuses": statuses}
        found = client.call("GET", "/sessions", params=query).json()["sessions"]
        assert [item["referenceNumber"] for item in found] == expected
    future = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    query = {"sessionType": "Batch", "dateCreatedFrom": future}
    assert client.call("GET", "/sessions", params=query).json()["sessions"] == []
    assert client.call("GET", "/sessions").status_code == 400


def test_a_session_is_open_until_it_is_closed(client: HandClient) -> None:
    opened = client.open(client.open_body(Package(zip_package(documents(client, 1)))))
    status = client.status(opened["referenceNumber"])
    assert status["status"]["code"] == 100
    assert datetime.fromisoformat(status["validUntil"]) - datetime.fromisoformat(status["dateCreated"]) == timedelta(
        hours=12
    )
    assert "invoiceCount" not in status
    assert client.invoices(opened["referenceNumber"]) == []
