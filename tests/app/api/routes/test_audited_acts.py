"""Acts of API keys: in the audit with the key's label and the request's id; uploads and posts are not in it."""

from datetime import timedelta

from app.domain.ids import parse_public_id, public_id
from app.store.audit.store import AuditFilter
from app.store.store import Store
from tests.app.api.conftest import Caller, MovableClock


async def _acts(store: Store, alpha: Caller) -> list[tuple[str, str, str | None]]:
    rows = await store.audit.after(AuditFilter(tenant_id=alpha.tenant.id), number=0)
    return [(row["act"], row["actor"], row["request_id"]) for row in rows if row["actor_kind"] == "key"]


async def test_each_change_of_a_webhook_is_an_act_of_the_key(alpha: Caller, store: Store, clock: MovableClock) -> None:
    named = {"X-Request-Id": "erp-7"}
    made = await alpha.http.post("/v1/webhooks", json={"url": "https://erp.example/k?token=s3cret"}, headers=named)
    webhook = made.json()["id"]
    assert (
        await alpha.http.patch(f"/v1/webhooks/{webhook}", json={"max_concurrency": 3}, headers=named)
    ).status_code == 200
    assert (await alpha.http.post(f"/v1/webhooks/{webhook}/rotate-secret", headers=named)).status_code == 200
    since = (clock() - timedelta(hours=1)).isoformat()
    assert (
        await alpha.http.post(f"/v1/webhooks/{webhook}/replay", json={"since": since}, headers=named)
    ).status_code == 202
    assert (await alpha.http.delete(f"/v1/webhooks/{webhook}", headers=named)).status_code == 204
    assert await _acts(store, alpha) == [
        (act, "test", "erp-7")
        for act in ("webhook.created", "webhook.changed", "webhook.rotated", "webhook.replayed", "webhook.deleted")
    ]
    rows = await store.audit.after(AuditFilter(), number=0)
    assert all("s3cret" not in row["details"] for row in rows)
    assert {row["object"] for row in rows if row["act"].startswith("webhook")} == {webhook}
    assert (await store.audit.check()).fault is None


async def test_a_refused_change_is_no_act(alpha: Caller, store: Store) -> None:
    missing = public_id("whk", parse_public_id("key", "key_" + "0" * 32))
    assert (await alpha.http.delete(f"/v1/webhooks/{missing}")).status_code == 404
    assert await _acts(store, alpha) == []


async def test_a_flush_is_an_act_and_an_upload_is_none(alpha: Caller, store: Store) -> None:
    await alpha.http.post("/v1/uploads?flush=true", content=b"<x/>", headers={"Content-Type": "application/xml"})
    await alpha.http.post("/v1/invoices", content=b"<x/>", headers={"Content-Type": "application/xml"})
    assert await _acts(store, alpha) == []
    assert (await alpha.http.post("/v1/flush")).status_code == 202
    assert [act for act, _, _ in await _acts(store, alpha)] == ["invoices.flushed"]
