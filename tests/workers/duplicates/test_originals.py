"""Invoices that KSeF calls duplicates (440): the truth about each is found by evidence, against the sandbox."""

import base64
import hashlib
import io
import json
import zipfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from app.domain.states import InvoiceState, SessionState
from app.store.sessions import settlements
from app.store.tenants.tenants import Tenant
from app.store.uploads.invoices import InvoiceFilter
from app.store.uploads.uploads import Upload
from invoicegen.invoices import GeneratedInvoice
from tests.support.ksef_by_hand import HandClient, Package, auth_request, seal_certificate, sign, zip_package
from tests.support.road import NIP, add_tenant, add_upload, invoices, read, zip_of
from tests.support.timed_road import Road
from workers.duplicates import originals, search
from workers.duplicates.originals import find_originals

pytestmark = pytest.mark.slow

SAME_TWICE = Path(__file__).resolve().parents[3].parent / "shared" / "cases" / "64-same-twice.zip"
RECEIPT = {"method": "GET", "path": "/invoices/ksef/.*/upo$"}
DOCUMENT = {"method": "GET", "path": "^/invoices/ksef/"}


def sent_elsewhere(road: Road, documents: dict[str, bytes], *, subject: str = NIP, nip: str = NIP) -> str:
    """Another installation, or a person, sends documents; gives the session's reference number."""
    client = HandClient(road.sandbox.base_url, nip)
    document = auth_request(client.challenge()["challenge"], nip)
    client.finish_login(client.post_signed(sign(document, *seal_certificate(subject))))
    reference, final = client.send(Package(zip_package(documents)))
    assert final["successfulInvoiceCount"] == len(documents)
    client.close()
    return reference


def xml_of(documents: list[GeneratedInvoice]) -> dict[str, bytes]:
    return {one.name: one.xml for one in documents}


async def send(road: Road, documents: list[GeneratedInvoice], *, tenant: Tenant | None = None) -> tuple[Tenant, Upload]:
    owner = tenant or await add_tenant(road.context.store)
    upload = await add_upload(road.context.store, owner, zip_of(documents), now=road.clocks())
    return owner, await read(road.context, upload)


async def finish(road: Road, tenant: Tenant, upload: Upload) -> list[dict[str, Any]]:
    """Run the stages until each invoice has its last state; give the invoices."""
    await road.finish(tenant, upload)
    return await rows(road, tenant)


async def rows(road: Road, tenant: Tenant) -> list[dict[str, Any]]:
    return [row for _, row in await road.context.store.invoices.page(tenant.id, InvoiceFilter(), limit=100)]


def rules(row: dict[str, Any]) -> list[str]:
    return [finding["rule"] for finding in row["findings"]]


def numbers(road: Road) -> dict[str, str]:
    """The KSeF number of each document that KSeF has, by the hex of its hash."""
    lines = httpx.get(f"{road.sandbox.control_url}/ledger", params={"full": 1}).raise_for_status().text.splitlines()
    listed = [json.loads(line) for line in lines]
    return {base64.b64decode(line["invoice_hash"]).hex(): line["ksef_number"] for line in listed}


async def events(road: Road, kind: str) -> list[dict[str, Any]]:
    found = await road.context.store.database.fetch_all(
        "SELECT data::jsonb AS data FROM events WHERE type = %(type)s ORDER BY sequence", {"type": kind}
    )
    return [row["data"] for row in found]


async def prove_accepted(road: Road, tenant: Tenant, found: list[dict[str, Any]], *, earlier: int) -> None:
    """Each invoice has KSeF's own number; those accepted earlier say so and have their own receipts."""
    known = numbers(road)
    assert {row["sha256"]: row["ksef_number"] for row in found} == {
        row["sha256"]: known[row["sha256"]] for row in found
    }
    marked = [row for row in found if "accepted-earlier" in rules(row)]
    assert len(marked) == earlier
    for row in marked:
        assert rules(row) == ["accepted-earlier"]
        assert row["findings"][0]["ksef_number"] == row["ksef_number"]
        assert row["acquired_at"] is not None
        receipt = await road.context.store.database.fetch_one(
            "SELECT * FROM invoice_receipts WHERE 'inv_' || replace(invoice_id::text, '-', '') = %(id)s",
            {"id": row["id"]},
        )
        assert receipt is not None
        stored = await road.context.store.blobs.read(receipt["blob_key"])
        assert row["ksef_number"].encode() in stored
        assert hashlib.sha256(stored).digest() == bytes(receipt["sha256"])
    told = [one["id"] for event in await events(road, "invoices.accepted") for one in event["invoices"]]
    assert sorted(told) == sorted(row["id"] for row in found), "each acceptance is reported once"


def requests(road: Road, group: str) -> int:
    return sum(road.ledger()["requests"].get(group, {}).values())


async def test_three_of_forty_that_another_installation_sent_are_accepted_with_their_receipts(timed_road: Road) -> None:
    documents = invoices(40)
    reference = sent_elsewhere(timed_road, xml_of(documents[7:10]))
    tenant, upload = await send(timed_road, documents)
    found = await finish(timed_road, tenant, upload)
    assert [row["state"] for row in found] == ["accepted"] * 40
    await prove_accepted(timed_road, tenant, found, earlier=3)
    assert {row["findings"][0]["session_reference"] for row in found if row["findings"]} == {reference}
    (session,) = await timed_road.context.store.sessions.page(tenant.id, before=None, state=None, limit=10)
    assert (session.state, session.accepted) == (SessionState.COMPLETED, 40)
    assert requests(timed_road, "invoiceMetadata") + requests(timed_road, "invoiceDownload") == 0


async def test_all_invoices_that_another_installation_sent_are_accepted_from_one_list(timed_road: Road) -> None:
    documents = invoices(25)
    sent_elsewhere(timed_road, xml_of(documents))
    before = requests(timed_road, "sessionMisc")
    tenant, upload = await send(timed_road, documents)
    found = await finish(timed_road, tenant, upload)
    await prove_accepted(timed_road, tenant, found, earlier=25)
    # One list of the refused, one of the original session. The receipts come by links that KSeF does not count.
    assert requests(timed_road, "sessionInvoiceList") == 2
    assert requests(timed_road, "sessionMisc") - before < 10


@pytest.mark.parametrize("cases", [SAME_TWICE] if SAME_TWICE.is_file() else [], ids=lambda path: path.name)
async def test_the_same_archive_sent_here_after_another_installation_is_accepted_whole(
    timed_road: Road, cases: Path
) -> None:
    body = await anyio.Path(cases).read_bytes()
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        documents = {name: archive.read(name) for name in archive.namelist()}
    seller = "9999999999"
    sent_elsewhere(timed_road, documents, subject=seller, nip=seller)
    tenant = await add_tenant(timed_road.context.store, nip=seller)
    upload = await add_upload(timed_road.context.store, tenant, body, now=timed_road.clocks())
    found = await finish(timed_road, tenant, await read(timed_road.context, upload))
    assert [row["state"] for row in found] == ["accepted", "accepted"]
    assert len({row["ksef_number"] for row in found}) == 2
    for row in found:
        assert "accepted-earlier" in rules(row)


async def test_a_database_restored_without_our_receipts_finds_them_again(timed_road: Road) -> None:
    documents = invoices(4)
    tenant, upload = await send(timed_road, documents)
    await finish(timed_road, tenant, upload)
    database = timed_road.context.store.database
    # As of a backup that was made before the session was sealed.
    await database.execute(
        "UPDATE invoices SET state = 'queued', session_id = NULL, ksef_number = NULL, acquired_at = NULL"
    )
    await database.execute("UPDATE chunks SET queued = 4")
    await database.execute("UPDATE uploads SET queued = 4, accepted = 0, completed_at = NULL, state = 'in_progress'")
    for table in ("ksef_numbers", "events", "session_chunks", "upo_pages", "parts", "session_history", "sessions"):
        await database.execute(f"DELETE FROM {table}")
    found = await finish(timed_road, tenant, upload)
    await prove_accepted(timed_road, tenant, found, earlier=4)


async def test_a_document_that_ksef_took_and_called_a_duplicate_is_accepted_by_its_receipt(timed_road: Road) -> None:
    timed_road.fault(on="invoice", status=440, number="0000002$", has_receipt=True)
    tenant, upload = await send(timed_road, invoices(3))
    await prove_accepted(timed_road, tenant, await finish(timed_road, tenant, upload), earlier=1)


async def test_a_phantom_with_the_wrong_session_is_proved_by_the_document_and_its_receipt_asked_for_daily(
    timed_road: Road,
) -> None:
    timed_road.fault(on="invoice", status=440, number="0000002$")
    tenant, upload = await send(timed_road, invoices(3))
    found = await finish(timed_road, tenant, upload)
    (phantom,) = [row for row in found if row["findings"]]
    assert (phantom["state"], rules(phantom)) == ("accepted", ["accepted-earlier", "receipt-missing"])
    assert phantom["ksef_number"] == numbers(timed_road)[phantom["sha256"]]
    assert requests(timed_road, "invoiceDownload") == 1
    asked = requests(timed_road, "sessionMisc")
    for _ in range(9):
        await timed_road.clocks.advance(timedelta(days=1, minutes=1).total_seconds())
        await timed_road.settle(tenant)
    assert requests(timed_road, "sessionMisc") - asked == 7


async def test_a_receipt_that_comes_later_is_kept_and_its_finding_taken_back(timed_road: Road) -> None:
    timed_road.fault(**RECEIPT, error=21178, times=1)
    documents = invoices(2)
    sent_elsewhere(timed_road, xml_of(documents[:1]))
    tenant, upload = await send(timed_road, documents)
    found = await finish(timed_road, tenant, upload)
    assert rules(found[0]) == ["accepted-earlier", "receipt-missing"]
    await timed_road.clocks.advance(timedelta(days=1, minutes=1).total_seconds())
    await timed_road.settle(tenant)
    (late, _) = await rows(timed_road, tenant)
    assert rules(late) == ["accepted-earlier"]
    assert await timed_road.context.store.database.fetch_one("SELECT * FROM invoice_receipts") is not None


async def test_many_phantoms_are_proved_by_pages_of_metadata(timed_road: Road) -> None:
    timed_road.fault(on="invoice", status=440)
    documents = invoices(search.FEW + 2)
    tenant, upload = await send(timed_road, documents)
    found = await finish(timed_road, tenant, upload)
    known = numbers(timed_road)
    assert {row["ksef_number"] for row in found} == {known[row["sha256"]] for row in found}
    assert {tuple(rules(row)) for row in found} == {("accepted-earlier", "receipt-missing")}
    # One to find the moment of their session, one page of it.
    assert requests(timed_road, "invoiceMetadata") == 2
    assert requests(timed_road, "invoiceDownload") == 0


async def test_another_document_with_the_number_is_a_rejection_that_names_it(timed_road: Road) -> None:
    documents = invoices(3)
    other = {"a.xml": documents[1].xml.replace(b"</Faktura>", b" </Faktura>")}
    reference = sent_elsewhere(timed_road, other)
    tenant, upload = await send(timed_road, documents)
    found = await finish(timed_road, tenant, upload)
    assert [row["state"] for row in found] == ["accepted", "rejected", "accepted"]
    (finding,) = found[1]["findings"]
    assert (finding["rule"], finding["severity"]) == ("duplicate-other", "error")
    (number,) = [
        number for digest, number in numbers(timed_road).items() if digest not in {row["sha256"] for row in found}
    ]
    assert (finding["ksef_number"], finding["session_reference"]) == (number, reference)
    assert found[1]["ksef_number"] is None
    row = await timed_road.context.store.database.fetch_one("SELECT count(*) AS n FROM claims")
    assert row == {"n": 2}, "the number is free for a corrected invoice"
    (session,) = await timed_road.context.store.sessions.page(tenant.id, before=None, state=None, limit=10)
    assert (session.accepted, session.rejected) == (2, 1)


@pytest.mark.parametrize("code", [21164, 21165])
async def test_an_invoice_that_ksef_does_not_give_out_yet_is_asked_for_again(timed_road: Road, code: int) -> None:
    timed_road.fault(on="invoice", status=440, number="0000001$")
    timed_road.fault(**DOCUMENT, error=code, times=3)
    tenant, upload = await send(timed_road, invoices(2))
    began = timed_road.clocks()
    found = await finish(timed_road, tenant, upload)
    assert [row["state"] for row in found] == ["accepted", "accepted"]
    assert rules(found[0]) == ["accepted-earlier", "receipt-missing"]
    assert timed_road.clocks() - began > timedelta(minutes=1 + 2 + 4)
    assert requests(timed_road, "invoiceDownload") == 4


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(RECEIPT | {"cut": "after", "times": 2}, id="the receipt is cut"),
        pytest.param(RECEIPT | {"status": 500, "times": 2}, id="the receipt answers 500"),
        pytest.param(RECEIPT | {"spoil": "json", "times": 1}, id="the receipt is cut in half"),
        pytest.param(RECEIPT | {"page": "waf", "times": 2}, id="the receipt is a web page"),
        pytest.param(RECEIPT | {"page": "too-many-requests", "retry_after": 30, "times": 1}, id="the receipt is 429"),
    ],
)
async def test_lost_answers_change_no_verdict(timed_road: Road, fault: dict[str, Any]) -> None:
    documents = invoices(4)
    sent_elsewhere(timed_road, xml_of(documents[:2]))
    timed_road.fault(**fault)
    tenant, upload = await send(timed_road, documents)
    await prove_accepted(timed_road, tenant, await finish(timed_road, tenant, upload), earlier=2)


async def test_without_permission_it_stays_sent_is_reported_after_an_hour_and_resolved_when_granted(
    timed_road: Road,
) -> None:
    """The other sender is another subject, and our login may neither see its sessions nor read invoices."""
    control, other = timed_road.sandbox.control_url, "5213814999"
    grant = {"nip": NIP, "subject_type": "Nip", "subject": other, "permissions": ["InvoiceWrite"]}
    httpx.post(f"{control}/grants", json=grant).raise_for_status()
    documents = invoices(2)
    sent_elsewhere(timed_road, xml_of(documents[:1]), subject=other)
    store = timed_road.context.store
    token = httpx.post(f"{control}/tokens", json={"nip": NIP, "permissions": ["InvoiceWrite"]}).json()["token"]
    tenant = await store.tenants.add(
        nip=NIP, name="Spółka", credential_kind="ksef_token", credential={"token": token}, compression="zip",
        now=timed_road.clocks(),
    )  # fmt: skip
    tenant, upload = await send(timed_road, documents, tenant=tenant)
    while not await events(timed_road, "session.completed"):
        with pytest.raises(AssertionError, match="no end"):
            await timed_road.finish(tenant, upload, rounds=1)
    await timed_road.settle(tenant)
    unresolved, accepted = await rows(timed_road, tenant)
    assert (unresolved["state"], accepted["state"]) == ("sent", "accepted")
    (finding,) = unresolved["findings"]
    assert finding["rule"] == "not-compared"
    assert "InvoiceRead" in finding["message"]
    assert "InvoiceRead" in finding["message_pl"]
    assert await events(timed_road, "invoices.unresolved") == []
    assert await store.duplicates.unresolved_count() == 0
    for _ in range(8):
        await timed_road.clocks.advance(600)
        await timed_road.settle(tenant)
    (event,) = await events(timed_road, "invoices.unresolved")
    assert [one["id"] for one in event["invoices"]] == [unresolved["id"]]
    assert await store.duplicates.unresolved_count() == 1
    asked = requests(timed_road, "invoiceDownload")
    assert asked <= 8, "the pauses grow"
    more = httpx.post(f"{control}/tokens", json={"nip": NIP, "permissions": ["InvoiceWrite", "InvoiceRead"]}).json()
    await store.tenants.set_credential(tenant, credential_kind="ksef_token", credential={"token": more["token"]})
    timed_road.context.ksef._clients.clear()
    found = await finish(timed_road, tenant, upload)
    assert rules(found[0]) == ["accepted-earlier", "receipt-missing"]
    assert await store.duplicates.unresolved_count() == 0


async def test_a_search_that_is_killed_between_two_proofs_goes_on_with_the_rest(
    timed_road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = invoices(5)
    sent_elsewhere(timed_road, xml_of(documents))
    tenant, upload = await send(timed_road, documents)
    accept = settlements.SettlementStore.accept
    left = 3

    async def dies(self: settlements.SettlementStore, *args: Any, **more: Any) -> int:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return await accept(self, *args, **more)

    monkeypatch.setattr(settlements.SettlementStore, "accept", dies)
    with pytest.raises(KeyboardInterrupt):
        await timed_road.finish(tenant, upload)
    assert len([row for row in await rows(timed_road, tenant) if row["state"] == "accepted"]) == 3
    monkeypatch.undo()
    await prove_accepted(timed_road, tenant, await finish(timed_road, tenant, upload), earlier=5)


async def test_while_ksef_is_away_nothing_is_asked(timed_road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    timed_road.fault(on="invoice", status=440, number="0000001$")
    monkeypatch.setattr(originals, "_is_available", _never)
    tenant, upload = await send(timed_road, invoices(1))
    while not await events(timed_road, "session.completed"):
        with pytest.raises(AssertionError, match="no end"):
            await timed_road.finish(tenant, upload, rounds=1)
    await find_originals(timed_road.context, tenant.id)
    (row,) = await rows(timed_road, tenant)
    assert (row["state"], rules(row)) == (InvoiceState.SENT.value, ["not-compared"])
    assert requests(timed_road, "invoiceDownload") == 0


async def _never(_context: object) -> bool:
    return False
