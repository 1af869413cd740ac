"""Online sessions: invoices one by one, technical corrections, the receipt."""

import base64
import secrets
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from lxml import etree

from tests.support.ksef_by_hand import (
    HandClient,
    Package,
    encrypt,
    encrypt_unpadded,
    invoice,
    random_nip,
    sha256,
    zip_package,
)
from tests.support.ksef_online_by_hand import OnlineSession, refusal
from tests.support.sandbox_process import SandboxHandle, running_sandbox

UPO = "{http://upo.schematy.mf.gov.pl/KSeF/v4-3}"
ATTACHMENT = (
    "<Zalacznik><BlokDanych><MetaDane><ZKlucz>a</ZKlucz><ZWartosc>b</ZWartosc></MetaDane></BlokDanych></Zalacznik>"
)


@pytest.fixture
def session(client: HandClient) -> OnlineSession:
    return OnlineSession(client).open()


def test_an_invoice_gets_its_number_and_its_session_a_receipt(session: OnlineSession) -> None:
    document = invoice("ON/1", session.client.nip)
    outcome = session.send(document)
    assert outcome["status"]["code"] == 200
    assert outcome["invoiceHash"] == sha256(document)
    assert outcome["invoicingMode"] == "Online"
    assert "invoiceFileName" not in outcome
    assert session.client.status(session.reference)["successfulInvoiceCount"] == 1
    final = session.finish()
    assert (final["status"]["code"], final["invoiceCount"], final["failedInvoiceCount"]) == (200, 1, 0)
    receipt = etree.fromstring(httpx.get(final["upo"]["pages"][0]["downloadUrl"]).content)
    assert [item.text for item in receipt.iter(f"{UPO}NumerKSeFDokumentu")] == [outcome["ksefNumber"]]
    listed = session.client.call("GET", "/sessions?sessionType=Online").json()["sessions"]
    assert [item["referenceNumber"] for item in listed] == [session.reference]
    assert session.client.call("GET", "/sessions?sessionType=Batch").json()["sessions"] == []


def test_an_accepted_invoice_is_read_back_and_has_a_receipt_while_its_session_is_open(session: OnlineSession) -> None:
    document = invoice("ON/2", session.client.nip)
    outcome = session.send(document)
    assert session.client.call("GET", f"/invoices/ksef/{outcome['ksefNumber']}").content == document
    paths = (
        f"/sessions/{session.reference}/invoices/{outcome['referenceNumber']}/upo",
        f"/sessions/{session.reference}/invoices/ksef/{outcome['ksefNumber']}/upo",
    )
    answers = [session.client.call("GET", path) for path in paths]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert all(sha256(answer.content) == answer.headers["x-ms-meta-hash"] for answer in answers)
    assert httpx.get(outcome["upoDownloadUrl"]).content == answers[0].content


def test_a_session_with_nothing_in_it_is_cancelled_and_one_with_nothing_good_fails(client: HandClient) -> None:
    empty = OnlineSession(client).open().finish()
    assert (empty["status"]["code"], empty["status"]["details"]) == (440, ["Nie przesłano faktur"])
    bad = OnlineSession(client).open()
    assert bad.send(b"<not-an-invoice/>")["status"]["code"] == 450
    final = bad.finish()
    assert (final["status"]["code"], final["failedInvoiceCount"]) == (445, 1)
    assert len(client.invoices(bad.reference, "/failed")) == 1


def test_a_key_that_cannot_be_read_shows_in_the_status_only(client: HandClient) -> None:
    session = OnlineSession(client)
    body = session.open_body()
    body["encryption"]["encryptedSymmetricKey"] = base64.b64encode(secrets.token_bytes(256)).decode()
    session.reference = client.call("POST", "/sessions/online", json=body).json()["referenceNumber"]
    assert client.status(session.reference)["status"]["code"] == 415
    assert refusal(session.post(b"<a/>")) == 21180
    assert refusal(session.close()) == 21180


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda body: body["formCode"].update(systemCode="FA (9)"), 21405),
        (lambda body: body["encryption"].update(initializationVector="AAAA"), 21405),
        (lambda body: body["encryption"].update(publicKeyId=sha256(b"unknown")), 21470),
        (lambda body: body.update(offlineMode=True), 21405),
        (lambda body: body.pop("encryption"), 21405),
    ],
    ids=["form", "vector", "key id", "unknown member", "missing member"],
)
def test_opening_against_the_contract_is_refused(
    client: HandClient, change: Callable[[dict[str, Any]], None], code: int
) -> None:
    body = OnlineSession(client).open_body()
    change(body)
    assert refusal(client.call("POST", "/sessions/online", json=body)) == code


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"encryptedInvoiceSize": 1}, 21402),
        ({"encryptedInvoiceHash": sha256(b"other")}, 21403),
        ({"invoiceHash": "short"}, 21405),
        ({"invoiceSize": 0}, 21405),
        ({"encryptedInvoiceContent": "***"}, 21405),
        ({"hashOfCorrectedInvoice": sha256(b"other")}, 21405),
        ({"hashOfCorrectedInvoice": sha256(b"never sent"), "offlineMode": True}, 21167),
    ],
)
def test_sending_against_the_contract_is_refused(session: OnlineSession, changes: dict[str, Any], code: int) -> None:
    assert refusal(session.post(invoice("X", session.client.nip), **changes)) == code
    assert session.client.invoices(session.reference) == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"invoiceHash": sha256(b"other")}, 430), ({"invoiceSize": 7}, 430)],
    ids=["hash", "size"],
)
def test_what_is_declared_of_the_plain_document_must_be_true(
    session: OnlineSession, changes: dict[str, Any], code: int
) -> None:
    assert session.send(invoice("X", session.client.nip), **changes)["status"]["code"] == code


def test_a_document_that_cannot_be_decrypted_is_435(session: OnlineSession) -> None:
    unpadded = encrypt_unpadded(session.key, session.iv)
    changes = {
        "encryptedInvoiceContent": base64.b64encode(unpadded).decode(),
        "encryptedInvoiceHash": sha256(unpadded),
        "encryptedInvoiceSize": len(unpadded),
    }
    assert session.send(invoice("X", session.client.nip), **changes)["status"]["code"] == 435


@pytest.mark.parametrize(
    ("document", "code"),
    [
        (lambda nip: invoice("D/1", random_nip()), 410),
        (lambda nip: invoice("D/2", nip, after=ATTACHMENT), 415),
        (lambda nip: b"\xef\xbb\xbf" + invoice("D/3", nip), 430),
        (lambda nip: invoice("D/4", nip, day="2099-01-01"), 450),
    ],
    ids=["foreign seller", "attachment", "byte order mark", "future"],
)
def test_a_refused_invoice_says_why(session: OnlineSession, document: Callable[[str], bytes], code: int) -> None:
    assert session.send(document(session.client.nip))["status"]["code"] == code


def test_a_number_used_in_a_package_is_used_up_online_too(client: HandClient) -> None:
    reference, _ = client.send_documents({"a.xml": invoice("DUP/1", client.nip)})
    number = client.invoices(reference)[0]["ksefNumber"]
    status = OnlineSession(client).open().send(invoice("DUP/1", client.nip, text="inaczej"))["status"]
    assert status["code"] == 440
    assert status["extensions"] == {"originalKsefNumber": number, "originalSessionReferenceNumber": reference}


def test_the_mode_is_offline_when_declared_or_dated_before_the_day_of_sending(session: OnlineSession) -> None:
    nip = session.client.nip
    assert session.send(invoice("M/1", nip), offlineMode=True)["invoicingMode"] == "Offline"
    assert session.send(invoice("M/2", nip, day="2026-02-02"))["invoicingMode"] == "Offline"


def test_a_refused_invoice_is_corrected_technically_and_only_once(session: OnlineSession) -> None:
    nip = session.client.nip
    broken = invoice("TC/1", nip, day="2026-02-02").replace(b"<KodWaluty>PLN</KodWaluty>", b"")
    assert session.send(broken, offlineMode=True)["status"]["code"] == 450
    good = invoice("TC/1", nip, day="2026-02-02")
    correction = {"offlineMode": True, "hashOfCorrectedInvoice": sha256(broken)}
    assert session.send(good, **correction)["status"]["code"] == 200
    assert refusal(session.post(good, **correction)) == 21166
    assert refusal(session.post(good, offlineMode=True, hashOfCorrectedInvoice=sha256(good))) == 21167


def test_an_invoice_refused_in_a_package_is_corrected_online_but_not_one_without_permission(
    client: HandClient,
) -> None:
    broken, foreign = invoice("TC/2", client.nip, day="2099-01-01"), invoice("TC/3", random_nip())
    client.send(Package(zip_package({"a.xml": broken, "b.xml": foreign})))
    session = OnlineSession(client).open()
    correction = {"offlineMode": True, "hashOfCorrectedInvoice": sha256(broken)}
    assert session.send(invoice("TC/2", client.nip), **correction)["status"]["code"] == 200
    assert refusal(session.post(foreign, offlineMode=True, hashOfCorrectedInvoice=sha256(foreign))) == 21167


def test_only_a_technical_correction_may_have_an_attachment_online(
    session: OnlineSession, shared_sandbox: SandboxHandle
) -> None:
    nip = session.client.nip
    httpx.post(f"{shared_sandbox.control_url}/attachments", json={"nip": nip}).raise_for_status()
    document = invoice("ATT/1", nip, after=ATTACHMENT)
    assert session.send(document, offlineMode=True)["status"]["code"] == 415
    correction = {"offlineMode": True, "hashOfCorrectedInvoice": sha256(document)}
    assert session.send(document, **correction)["status"]["code"] == 200


def test_a_closed_session_takes_nothing_and_is_closed_once(session: OnlineSession) -> None:
    session.send(invoice("C/1", session.client.nip))
    session.finish()
    assert refusal(session.post(invoice("C/2", session.client.nip))) == 21180
    assert refusal(session.close()) == 21180


def test_each_kind_of_session_has_its_own_paths(client: HandClient, session: OnlineSession) -> None:
    package = Package(zip_package({"a.xml": invoice("K/1", client.nip)}))
    batch = client.open(client.open_body(package))["referenceNumber"]
    assert refusal(client.close_session(session.reference)) == 21173
    assert refusal(client.call("POST", f"/sessions/online/{batch}/close")) == 21173
    assert refusal(client.call("POST", "/sessions/online/20260101-SO-0000000000-0000000000-00/close")) == 21173


def test_somebody_elses_session_is_closed_to_everybody(
    session: OnlineSession, another: Callable[[], HandClient]
) -> None:
    session.client = another().login()
    assert session.post(b"<a/>").status_code == 403
    assert session.close().status_code == 403


def test_a_large_invoice_travels_whole(session: OnlineSession) -> None:
    document = invoice("L/1", session.client.nip, text="x" * 480)
    padded = document + b"<!--" + b"x" * (990_000 - len(document)) + b"-->"
    assert session.send(padded)["status"]["code"] == 200
    outcome = session.send(invoice("L/2", session.client.nip) + b"<!--" + b"x" * 1_000_000 + b"-->")
    assert outcome["status"]["code"] == 430


def test_a_session_holds_as_many_invoices_as_its_context_may_send(session: OnlineSession) -> None:
    client = session.client
    limits = {"maxInvoices": 1, "maxInvoiceSizeInMB": 1, "maxInvoiceWithAttachmentSizeInMB": 3}
    wanted = {"onlineSession": limits, "batchSession": limits, "collectiveIdentifier": {"maxInvoices": 2}}
    assert client.call("POST", "/testdata/limits/context/session", json=wanted).status_code == 200
    session.send(invoice("F/1", client.nip))
    assert refusal(session.post(invoice("F/2", client.nip))) == 21155


def test_a_session_closes_itself_when_its_time_is_over_and_storage_takes_its_time() -> None:
    with running_sandbox(storage_delay=3600, validate="off") as handle, closing(HandClient(handle.base_url)) as client:
        session = OnlineSession(client.login()).open()
        outcome = session.send(invoice("T/1", client.nip))
        assert "permanentStorageDate" not in outcome
        assert refusal(client.call("GET", f"/invoices/ksef/{outcome['ksefNumber']}")) == 21165
        _advance(handle, hours=13)
        client.login()
        assert client.final_status(session.reference)["status"]["code"] == 200
        stored = session.outcome(outcome["referenceNumber"])["permanentStorageDate"]
        assert datetime.fromisoformat(stored) > datetime.now(UTC)
        assert client.call("GET", f"/invoices/ksef/{outcome['ksefNumber']}").status_code == 200


def test_closing_waits_for_invoices_that_are_still_being_judged() -> None:
    with (
        running_sandbox(processing_delay=600, validate="off") as handle,
        closing(HandClient(handle.base_url)) as client,
    ):
        session = OnlineSession(client.login()).open()
        sent = session.post(invoice("W/1", client.nip))
        path = f"/sessions/{session.reference}/invoices/{sent.json()['referenceNumber']}"
        assert client.call("GET", path).json()["status"]["code"] == 100
        assert session.close().status_code == 204
        assert client.status(session.reference)["status"]["code"] == 170
        _advance(handle, minutes=11)
        assert client.final_status(session.reference)["status"]["code"] == 200


def _advance(handle: SandboxHandle, **span: float) -> None:
    seconds = timedelta(**span).total_seconds()
    httpx.post(f"{handle.control_url}/clock", json={"advance_seconds": seconds}).raise_for_status()


def test_the_content_must_be_encrypted_with_the_sessions_own_key(session: OnlineSession) -> None:
    document = invoice("E/1", session.client.nip)
    foreign = encrypt(document, secrets.token_bytes(32), session.iv)
    outcome = session.send(
        document,
        encryptedInvoiceContent=base64.b64encode(foreign).decode(),
        encryptedInvoiceHash=sha256(foreign),
        encryptedInvoiceSize=len(foreign),
    )
    assert outcome["status"]["code"] in {430, 435}


@pytest.mark.parametrize("reference", ["short", "20260101-SO-0000000000-0000000000-0x", "2026" * 9])
def test_a_reference_number_of_another_form_is_21405(client: HandClient, reference: str) -> None:
    for path in (f"/sessions/online/{reference}/close", f"/sessions/batch/{reference}/close"):
        assert refusal(client.call("POST", path)) == 21405
    assert refusal(client.call("GET", f"/sessions/{reference}")) == 21405
