"""Invoices that KSeF calls duplicates, over real HTTP: resolved by hand, with their receipts and history."""

import hashlib
import json
from datetime import timedelta
from typing import Any

import pytest

from app.domain.ids import parse_public_id
from app.domain.ksef_number import make_ksef_number
from app.store.sessions.duplicate_findings import NotCompared
from app.store.sessions.duplicates import Evidence
from app.store.sessions.invoice_receipts import StoredReceipt
from app.store.sessions.settlements import Accepted
from app.store.store import Store
from tests.app.api.conftest import Caller, MovableClock
from tests.app.api.filled_store import SELLER, Filled, fill

ELSEWHERE = "20261122-SB-AAAAAAAAAA-AAAAAAAAAA-AA"
MINUTE = timedelta(minutes=1)


def number(clock: MovableClock, technical: bytes = b"\x01" * 6) -> str:
    return make_ksef_number(SELLER, clock().date(), technical)


async def suspected(store: Store, caller: Caller, clock: MovableClock, *, compared: bool = True) -> Filled:
    """A session that has ended and in which KSeF called the first invoice a duplicate."""
    filled = await fill(store, caller.tenant, clock())
    first = parse_public_id("inv", filled.invoices[0])
    await store.database.execute(
        "UPDATE invoices SET state = 'sent', ksef_number = NULL, acquired_at = NULL, upo_page = NULL, finished_at = NULL"
        " WHERE id = %(id)s",
        {"id": first},
    )
    await store.database.execute(
        "UPDATE uploads SET sent = 1, accepted = accepted - 1, completed_at = NULL, state = 'in_progress'"
    )
    async with store.database.transaction() as connection:
        found = [(first, "Duplikat faktury", number(clock), ELSEWHERE)]
        await store.duplicates.suspect_for_job(connection, filled.session_id, found, now=clock())
    if compared:
        due = await store.duplicates.due(caller.tenant.id, settled=False, now=clock(), limit=10)
        reasons = {one.invoice_id: NotCompared.NO_PERMISSION for one in due}
        await store.duplicates.leave_open(caller.tenant.id, reasons, {one.invoice_id: one for one in due}, now=clock())
    return filled


async def events(caller: Caller, kind: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = (await caller.http.get("/v1/events", params={"types": kind})).json()["items"]
    return items


async def test_an_unresolved_invoice_is_accepted_by_hand_once(
    alpha: Caller, beta: Caller, store: Store, clock: MovableClock
) -> None:
    filled = await suspected(store, alpha, clock)
    path = f"/v1/invoices/{filled.invoices[0]}"
    before = (await alpha.http.get(path)).json()
    assert (before["state"], [one["rule"] for one in before["findings"]]) == ("sent", ["not-compared"])
    assert before["findings"][0]["ksef_number"] == number(clock)
    assert (await beta.http.post(f"{path}/resolve", json={"outcome": "accepted"})).status_code == 404
    other = number(clock, b"\x02" * 6)
    done = await alpha.http.post(f"{path}/resolve", json={"outcome": "accepted", "ksef_number": other})
    assert done.status_code == 200, done.text
    assert (done.json()["state"], done.json()["ksef_number"]) == ("accepted", other)
    assert [one["rule"] for one in done.json()["findings"]] == ["accepted-earlier", "receipt-missing"]
    steps = [(step["action"], step["outcome"]) for step in done.json()["history"]]
    assert steps[-3:] == [("duplicates", "suspected"), ("resolve", "accepted"), ("verdict", "accepted")]
    assert done.json()["history"][-2]["detail"]["evidence"] == "operator"
    again = await alpha.http.post(f"{path}/resolve", json={"outcome": "rejected"})
    assert (again.status_code, again.json()["code"]) == (409, "not-unresolved")
    (event,) = await events(alpha, "invoices.accepted")
    assert [one["id"] for one in event["data"]["invoices"]] == [filled.invoices[0]]
    assert (await alpha.http.get(f"/v1/uploads/{filled.upload}")).json()["state"] == "completed"
    audit = await store.database.fetch_one(
        "SELECT actor_kind, act, object, details FROM audit_rows ORDER BY number DESC"
    )
    assert audit is not None
    assert (audit["actor_kind"], audit["act"], audit["object"]) == ("key", "invoice.resolved", filled.invoices[0])
    assert json.loads(audit["details"]) == {"outcome": "accepted", "ksef_number": other}


async def test_an_unresolved_invoice_is_rejected_by_hand_and_its_number_is_free(
    alpha: Caller, store: Store, clock: MovableClock
) -> None:
    filled = await suspected(store, alpha, clock)
    done = await alpha.http.post(f"/v1/invoices/{filled.invoices[0]}/resolve", json={"outcome": "rejected"})
    assert done.status_code == 200
    (finding,) = done.json()["findings"]
    assert (done.json()["state"], finding["rule"]) == ("rejected", "duplicate-other")
    assert (finding["ksef_number"], finding["session_reference"]) == (number(clock), ELSEWHERE)
    assert len(await events(alpha, "invoices.rejected")) == 1


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"outcome": "perhaps"}, 400, "invalid-request"),
        ({}, 400, "invalid-request"),
        ({"outcome": "accepted", "ksef_number": "5260250274-20261122-010101010101-00"}, 400, "invalid-request"),
        ({"outcome": "accepted", "ksef_number": "1"}, 400, "invalid-request"),
        ({"outcome": "accepted", "more": 1}, 400, "invalid-request"),
    ],
)
async def test_a_resolution_that_cannot_be_right_is_refused(
    alpha: Caller, store: Store, clock: MovableClock, body: dict[str, Any], status: int, code: str
) -> None:
    filled = await suspected(store, alpha, clock)
    answer = await alpha.http.post(f"/v1/invoices/{filled.invoices[0]}/resolve", json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert (await alpha.http.get(f"/v1/invoices/{filled.invoices[0]}")).json()["state"] == "sent"


@pytest.mark.parametrize("position", [1, 2])
async def test_an_invoice_that_is_not_a_suspected_duplicate_cannot_be_resolved(
    alpha: Caller, store: Store, clock: MovableClock, position: int
) -> None:
    filled = await suspected(store, alpha, clock)
    answer = await alpha.http.post(f"/v1/invoices/{filled.invoices[position]}/resolve", json={"outcome": "accepted"})
    assert (answer.status_code, answer.json()["code"]) == (409, "not-unresolved")


async def test_a_suspected_duplicate_that_is_still_searched_for_cannot_be_resolved(
    alpha: Caller, store: Store, clock: MovableClock
) -> None:
    filled = await suspected(store, alpha, clock, compared=False)
    answer = await alpha.http.post(f"/v1/invoices/{filled.invoices[0]}/resolve", json={"outcome": "accepted"})
    assert (answer.status_code, answer.json()["code"]) == (409, "not-unresolved")


async def test_an_invoice_that_was_accepted_earlier_gives_its_own_receipt(
    alpha: Caller, store: Store, clock: MovableClock
) -> None:
    filled = await suspected(store, alpha, clock)
    path = f"/v1/invoices/{filled.invoices[0]}/upo"
    assert (await alpha.http.get(path)).json()["code"] == "upo-not-available"
    content = b"<Potwierdzenie>own</Potwierdzenie>"
    await store.blobs.put("upo/invoices/own.xml", content)
    receipt = StoredReceipt(ELSEWHERE, "upo/invoices/own.xml", len(content), hashlib.sha256(content).digest())
    first = parse_public_id("inv", filled.invoices[0])
    one = Accepted(first, Evidence.RECEIPT, number(clock), ELSEWHERE, clock(), "Online", receipt)
    assert await store.settlements.accept(alpha.tenant.id, [one], now=clock()) == 1
    assert await store.settlements.accept(alpha.tenant.id, [one], now=clock()) == 0, "a repeat changes nothing"
    answer = await alpha.http.get(path)
    assert (answer.status_code, answer.content) == (200, content)
    assert (await alpha.http.get(f"/v1/invoices/{filled.invoices[1]}/upo")).content == filled.upo
    assert await store.uploads.unknown_blobs_for_job(["upo/invoices/own.xml"]) == []


async def test_unresolved_invoices_are_counted_for_the_alert(alpha: Caller, store: Store, clock: MovableClock) -> None:
    await suspected(store, alpha, clock)
    assert "ksefd_unresolved_invoices 0.0" in (await alpha.http.get("/metrics")).text
    await store.database.execute("UPDATE suspected_duplicates SET notified_at = suspected_at")
    clock.move(MINUTE)
    assert "ksefd_unresolved_invoices 1.0" in (await alpha.http.get("/metrics")).text
