"""Held invoices over real HTTP: counted, listed, released, withdrawn."""

from datetime import date

from app.store.store import Store
from tests.app.api.conftest import Caller, MovableClock
from tests.app.api.filled_store import fill


async def _hold_three(store: Store, caller: Caller, clock: MovableClock) -> list[str]:
    """Three invoices of 22 November that were sealed on that day and could not be opened on it."""
    await store.tenants.set_late_invoices(caller.tenant.id, "hold")
    filled = await fill(store, caller.tenant, clock(), finish=False)
    await store.database.execute("UPDATE sessions SET state = 'failed' WHERE id = %(id)s", {"id": filled.session_id})
    async with store.database.transaction() as connection:
        assert await store.late_invoices.unseal_for_job(connection, filled.session_id, day=date(2026, 11, 23)) == 3
    return [filled.invoices[position] for position in (0, 1, 3)]


async def test_held_invoices_are_counted_and_listed(
    alpha: Caller, beta: Caller, store: Store, clock: MovableClock
) -> None:
    held = await _hold_three(store, alpha, clock)
    mine, others = (await alpha.http.get("/v1/me")).json(), (await beta.http.get("/v1/me")).json()
    assert (mine["held_invoices"], mine["tenant"]["late_invoices"]) == (3, "hold")
    assert (others["held_invoices"], others["tenant"]["late_invoices"]) == (0, "send")
    listed = (await alpha.http.get("/v1/invoices", params={"held": True})).json()["items"]
    assert [one["id"] for one in listed] == held
    assert {(one["state"], one["findings"][-1]["rule"]) for one in listed} == {("queued", "held-for-decision")}
    assert (await beta.http.get("/v1/invoices", params={"held": True})).json()["items"] == []


async def test_each_held_invoice_is_released_or_withdrawn_once_and_by_its_owner(
    alpha: Caller, beta: Caller, store: Store, clock: MovableClock
) -> None:
    first, second, third = await _hold_three(store, alpha, clock)
    for path in (f"/v1/invoices/{first}/release", f"/v1/invoices/{first}/withdraw"):
        assert (await beta.http.post(path)).status_code == 404
    released = await alpha.http.post(f"/v1/invoices/{first}/release")
    assert released.status_code == 202
    assert [one["rule"] for one in released.json()["findings"]] == ["released-after-midnight"]
    for verb in ("release", "withdraw"):
        again = await alpha.http.post(f"/v1/invoices/{first}/{verb}")
        assert (again.status_code, again.json()["code"]) == (409, "not-held")
    withdrawn = await alpha.http.post(f"/v1/invoices/{second}/withdraw")
    assert withdrawn.status_code == 200
    assert (withdrawn.json()["state"], withdrawn.json()["history"][-1]["outcome"]) == ("failed", "failed")
    assert (await beta.http.post("/v1/release")).json() == {"released": 0, "held_invoices": 0}
    everything = await alpha.http.post("/v1/release")
    assert (everything.status_code, everything.json()) == (202, {"released": 1, "held_invoices": 0})
    left = (await alpha.http.get(f"/v1/invoices/{third}")).json()
    assert [one["rule"] for one in left["findings"]] == ["released-after-midnight"]
    assert (await alpha.http.get("/v1/me")).json()["held_invoices"] == 0
    upload = (await alpha.http.get(f"/v1/uploads/{left['upload']}")).json()
    assert upload["counts"] == {"invalid": 1, "queued": 2, "failed": 1}
    (chunk,) = await store.database.fetch_all("SELECT queued, queued_bytes > 0 AS filled FROM chunks")
    assert chunk == {"queued": 2, "filled": True}, "sealing sees what was released, and nothing else"
