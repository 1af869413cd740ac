"""Metadata of accepted invoices, and invoices that are taken and reported as duplicates of themselves."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.support.ksef_by_hand import HandClient, invoice, sha256
from tests.support.ksef_online_by_hand import OnlineSession
from tests.support.sandbox_process import SandboxHandle

DAY = timedelta(days=1)


def query(client: HandClient, *, size: int = 10, page: int = 0, **filters: Any) -> httpx.Response:
    now = datetime.now(UTC)
    wanted = {"dateType": "Invoicing", "from": (now - DAY).isoformat(), "to": (now + DAY).isoformat()}
    body = {"subjectType": "Subject1", "dateRange": wanted} | filters
    return client.call("POST", f"/invoices/query/metadata?pageSize={size}&pageOffset={page}", json=body)


def test_metadata_has_the_hash_and_the_number_of_each_invoice(client: HandClient) -> None:
    documents = {f"{n}.xml": invoice(f"M/{n}", client.nip) for n in range(12)}
    reference, _ = client.send_documents(documents)
    rows = {row["invoiceHash"]: row["ksefNumber"] for row in client.invoices(reference)}
    first, second = query(client).json(), query(client, page=1).json()
    assert (first["hasMore"], second["hasMore"], len(first["invoices"]), len(second["invoices"])) == (
        True,
        False,
        10,
        2,
    )
    listed = {row["invoiceHash"]: row["ksefNumber"] for row in first["invoices"] + second["invoices"]}
    assert listed == rows
    (one,) = query(client, ksefNumber=next(iter(rows.values()))).json()["invoices"]
    assert one["invoiceHash"] == next(iter(rows))
    assert query(client, sellerNip="5265877635").json()["invoices"] == []
    assert query(client, invoiceNumber="M/3").json()["invoices"][0]["invoiceNumber"] == "M/3"
    assert query(client, subjectType="Subject2").json()["invoices"] == []


def party(tag: str, identifier: str, role: str) -> str:
    address = "<Adres><KodKraju>PL</KodKraju><AdresL1>ul. Boczna 3</AdresL1></Adres>"
    return f"<{tag}><DaneIdentyfikacyjne>{identifier}<Nazwa>Inny</Nazwa></DaneIdentyfikacyjne>{address}{role}</{tag}>"


def test_metadata_names_third_parties_and_the_authorised_entity_and_lists_to_them(
    client: HandClient, another: Callable[[], HandClient]
) -> None:
    third, bailiff = another().login(), another().login()
    parties = (
        party("Podmiot3", f"<NIP>{third.nip}</NIP>", "<Rola>2</Rola>"),
        party("Podmiot3", f"<IDWew>{client.nip}-12345</IDWew>", "<Rola>8</Rola>"),
        party("Podmiot3", "<KodUE>DE</KodUE><NrVatUE>123456789</NrVatUE>", "<Rola>4</Rola><Udzial>50</Udzial>"),
        party("Podmiot3", "<BrakID>1</BrakID>", "<RolaInna>1</RolaInna><OpisRoli>płatnik</OpisRoli>"),
        party("PodmiotUpowazniony", f"<NIP>{bailiff.nip}</NIP>", "<RolaPU>2</RolaPU>"),
    )
    client.send_documents({
        "1.xml": invoice("T/1", client.nip, third="".join(parties)), "2.xml": invoice("T/2", client.nip)
    })  # fmt: skip
    (row,) = query(client, invoiceNumber="T/1").json()["invoices"]
    assert row["thirdSubjects"] == [
        {"identifier": {"type": kind, "value": value}, "name": "Inny", "role": role}
        for kind, value, role in (
            ("Nip", third.nip, 2),
            ("InternalId", f"{client.nip}-12345", 8),
            ("VatUe", "123456789", 4),
            ("None", None, 0),
        )
    ]
    assert row["authorizedSubject"] == {"nip": bailiff.nip, "name": "Inny", "role": 2}
    (plain,) = query(client, invoiceNumber="T/2").json()["invoices"]
    assert (plain["thirdSubjects"], plain["authorizedSubject"], plain["hashOfCorrectedInvoice"]) == (None, None, None)
    for reader, kind in ((third, "Subject3"), (bailiff, "SubjectAuthorized")):
        listed = query(reader, subjectType=kind).json()["invoices"]
        assert [one["invoiceNumber"] for one in listed] == ["T/1"], kind


def test_metadata_of_a_technical_correction_has_the_hash_of_the_rejected_document(client: HandClient) -> None:
    broken = invoice("C/1", client.nip, day="2099-01-01")
    session = OnlineSession(client).open()
    session.send(broken, offlineMode=True)
    session.send(invoice("C/1", client.nip), offlineMode=True, hashOfCorrectedInvoice=sha256(broken))
    (row,) = query(client).json()["invoices"]
    assert row["hashOfCorrectedInvoice"] == sha256(broken)


@pytest.mark.parametrize(
    "change",
    [
        {"subjectType": "Subject9"},
        {"dateRange": {"dateType": "Invoicing", "from": "2026-01-01T00:00:00Z", "to": "2026-08-01T00:00:00Z"}},
        {"dateRange": {"dateType": "Invoicing", "from": "2026-01-01"}},
        {"ksefNumber": "1"},
        {"surplus": True},
    ],
)
def test_wrong_filters_are_refused(client: HandClient, change: dict[str, Any]) -> None:
    refused = query(client, **change)
    assert refused.status_code == 400
    assert refused.json()["exception"]["exceptionDetailList"][0]["exceptionCode"] == 21405


def test_metadata_needs_the_permission_to_read(
    shared_sandbox: SandboxHandle, another: Callable[[], HandClient]
) -> None:
    client = another()
    made = httpx.post(
        f"{shared_sandbox.control_url}/tokens", json={"nip": client.nip, "permissions": ["InvoiceWrite"]}
    ).json()
    client.finish_login(client.post_token(made["token"]))
    refused = query(client)
    assert (refused.status_code, refused.json()["reasonCode"]) == (403, "missing-permissions")


@pytest.mark.parametrize("has_receipt", [True, False])
def test_an_invoice_can_be_taken_and_reported_as_its_own_duplicate(
    shared_sandbox: SandboxHandle, client: HandClient, has_receipt: bool
) -> None:
    rule = {"on": "invoice", "status": 440, "nip": client.nip, "number": "^P/1$", "has_receipt": has_receipt}
    assert httpx.post(f"{shared_sandbox.control_url}/faults", json=rule).status_code == 201
    reference, final = client.send_documents({f"{n}.xml": invoice(f"P/{n}", client.nip) for n in (1, 2)})
    assert (final["successfulInvoiceCount"], final["failedInvoiceCount"]) == (1, 1)
    (row,) = client.invoices(reference, "/failed")
    extensions = row["status"]["extensions"]
    assert (row["status"]["code"], extensions["originalSessionReferenceNumber"]) == (440, reference)
    number = extensions["originalKsefNumber"]
    receipt = client.call("GET", f"/sessions/{reference}/invoices/ksef/{number}/upo")
    assert receipt.status_code == (200 if has_receipt else 400)
    assert client.call("GET", f"/invoices/ksef/{number}").status_code == 200
    (listed,) = query(client, ksefNumber=number).json()["invoices"]
    assert listed["invoiceHash"] == row["invoiceHash"]
