"""Webhooks and events over HTTP."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from app.domain.ids import parse_public_id
from app.store.events.endpoints import MAX_ENDPOINTS, NewEndpoint
from app.store.events.outbox import EventType
from app.store.store import Store
from app.webhooks.addresses import AddressRules
from app.webhooks.event_schemas import Event
from app.webhooks.signing import SigningSecret
from tests.app.api.conftest import Caller, MovableClock
from tests.app.webhooks.receiver import answer, running_receiver
from tests.support.replays import replay_to_the_end
from tests.support.visible_events import events_are_visible
from workers.delivery.dispatcher import DeliveryContext, Dispatcher

URL = "https://erp.example.pl/ksef"
OPEN = AddressRules(allow_http=True, allow_private=True)


async def _register(caller: Caller, **body: Any) -> dict[str, Any]:
    response = await caller.http.post("/v1/webhooks", json={"url": URL} | body)
    assert response.status_code == 201, response.text
    shape: dict[str, Any] = response.json()
    return shape


async def _tell(store: Store, caller: Caller, now: datetime, event: EventType = EventType.UPLOAD_COMPLETED) -> None:
    async with store.database.transaction() as connection:
        await store.outbox.add(connection, event, tenant_id=caller.tenant.id, data={"words": "Żółć"}, now=now)


async def test_a_webhook_is_registered_and_its_secret_is_shown_once(alpha: Caller) -> None:
    response = await alpha.http.post(
        "/v1/webhooks", json={"url": URL, "events": ["invoices.accepted"], "description": "księgowość"}
    )
    assert response.status_code == 201
    made = response.json()
    assert made["id"].startswith("whk_")
    assert len(Webhook(made["secret"])._whsecret) == 32
    assert response.headers["location"] == f"/v1/webhooks/{made['id']}"
    shown = (await alpha.http.get(f"/v1/webhooks/{made['id']}")).json()
    assert shown == {name: value for name, value in made.items() if name not in {"secret", "public_key"}}
    assert (made["public_key"], shown["public_keys"]) == (None, [])
    assert (shown["signing"], shown["ordering"], shown["max_concurrency"], shown["headers"]) == ("hmac", "none", 10, {})
    assert (shown["url"], shown["events"], shown["description"]) == (URL, ["invoices.accepted"], "księgowość")
    listed = (await alpha.http.get("/v1/webhooks")).json()
    assert listed == {"items": [shown], "next": None}
    assert made["secret"].removeprefix("whsec_") not in json.dumps(listed)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"url": "https://169.254.169.254/"}, 422, "invalid-webhook-url"),
        ({"url": "https://2130706433/"}, 422, "invalid-webhook-url"),
        ({"url": "http://erp.example.pl/"}, 422, "invalid-webhook-url"),
        ({"url": "https://u:p@erp.example.pl/"}, 422, "invalid-webhook-url"),
        ({"url": ""}, 422, "invalid-webhook-url"),
        ({"url": None}, 400, "invalid-request"),
        ({}, 400, "invalid-request"),
        ({"url": URL, "events": []}, 400, "invalid-request"),
        ({"url": URL, "events": ["invoices.lost"]}, 400, "invalid-request"),
        ({"url": URL, "description": "a\0b"}, 400, "invalid-request"),
        ({"url": URL, "description": "x" * 501}, 400, "invalid-request"),
        ({"url": URL, "secret": "whsec_mine"}, 400, "invalid-request"),
        ({"url": URL, "signing": "rsa"}, 400, "invalid-request"),
        ({"url": URL, "ordering": "strict"}, 400, "invalid-request"),
        ({"url": URL, "max_concurrency": 51}, 400, "invalid-request"),
        ({"url": URL, "headers": {"webhook-id": "x"}}, 422, "invalid-webhook-headers"),
        ({"url": URL, "headers": {"X-A": "b\r\nX-C: d"}}, 422, "invalid-webhook-headers"),
    ],
)
async def test_a_webhook_that_cannot_be_is_refused(alpha: Caller, body: dict[str, Any], status: int, code: str) -> None:
    response = await alpha.http.post("/v1/webhooks", json=body)
    assert (response.status_code, response.json()["code"]) == (status, code), response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert (await alpha.http.get("/v1/webhooks")).json()["items"] == []


async def test_a_webhook_is_changed_only_where_asked(alpha: Caller) -> None:
    made = await _register(alpha, events=["upload.completed"], description="old")
    path = f"/v1/webhooks/{made['id']}"
    changed = (await alpha.http.patch(path, json={"description": "new"})).json()
    assert (changed["description"], changed["events"], changed["url"]) == ("new", ["upload.completed"], URL)
    changed = (await alpha.http.patch(path, json={"events": None, "url": URL + "/2"})).json()
    assert (changed["description"], changed["events"], changed["url"]) == ("new", None, URL + "/2")
    off = (await alpha.http.patch(path, json={"disabled": True})).json()
    assert off["disabled_reason"] == "asked"
    on = (await alpha.http.patch(path, json={"disabled": False})).json()
    assert (on["disabled_at"], on["disabled_reason"]) == (None, None)
    for bad in ({"url": None}, {"url": "https://10.0.0.1/"}, {"disabled": None}, {"nonsense": 1}):
        assert (await alpha.http.patch(path, json=bad)).status_code in {400, 422}
    assert (await alpha.http.get(path)).json() == on


async def test_a_deleted_webhook_is_gone(alpha: Caller, store: Store, clock: MovableClock) -> None:
    made = await _register(alpha)
    path = f"/v1/webhooks/{made['id']}"
    assert (await alpha.http.delete(path)).status_code == 204
    assert (await alpha.http.delete(path)).status_code == 404
    assert (await alpha.http.get(path)).status_code == 404
    assert (await alpha.http.post(f"{path}/test")).status_code == 404
    await _tell(store, alpha, clock())
    assert await store.database.fetch_all("SELECT 1 FROM deliveries") == []


async def test_a_tenant_has_a_bounded_number_of_webhooks(alpha: Caller, beta: Caller) -> None:
    for _ in range(MAX_ENDPOINTS):
        await _register(alpha)
    response = await alpha.http.post("/v1/webhooks", json={"url": URL})
    assert (response.status_code, response.json()["code"]) == (409, "conflict")
    await _register(beta)


async def test_a_rotated_secret_is_new(alpha: Caller) -> None:
    made = await _register(alpha)
    response = await alpha.http.post(f"/v1/webhooks/{made['id']}/rotate-secret")
    assert response.status_code == 200
    assert response.json()["secret"] != made["secret"]


async def test_a_test_goes_to_one_webhook_and_its_history_tells_of_it(
    alpha: Caller, store: Store, clock: MovableClock
) -> None:
    # Registered in the store: this installation takes only public addresses over HTTP.
    async with running_receiver() as receiver:
        endpoint, secret = await store.webhooks.add(
            alpha.tenant.id, NewEndpoint(receiver.url(), ("upload.completed",)), now=clock()
        )
        assert isinstance(secret, SigningSecret)
        await _register(alpha)
        path = f"/v1/webhooks/{endpoint.public_id}"
        response = await alpha.http.post(f"{path}/test")
        assert response.status_code == 202
        owed = response.json()
        assert (owed["state"], owed["attempts"], owed["type"]) == ("pending", [], "webhook.test")
        assert len(await store.database.fetch_all("SELECT 1 FROM deliveries")) == 1

        now = datetime.now(UTC)
        receiver.answers = [answer(500, b"not yet"), answer(200, b"thanks")]
        context = DeliveryContext(store, OPEN, clock=lambda: now, random=lambda: 0.5)
        await Dispatcher(context).drain()
        waiting = (await alpha.http.get(f"/v1/deliveries/{owed['id']}")).json()
        assert waiting["state"] == "pending"
        assert waiting["next_attempt_at"] is not None
        failing = (await alpha.http.get(path)).json()
        assert failing["failing_since"] is not None

        # The API's clock is behind the worker's here, so the delivery is not due for it.
        retried = await alpha.http.post(f"/v1/deliveries/{owed['id']}/retry")
        assert retried.status_code == 202
        await Dispatcher(context).drain()

    listed = (await alpha.http.get(f"{path}/deliveries")).json()
    assert listed["next"] is None
    (delivery,) = listed["items"]
    assert delivery["state"] == "succeeded"
    assert delivery["webhook"] == endpoint.public_id
    tries = [(item["number"], item["status"], item["outcome"], item["answer"]) for item in delivery["attempts"]]
    assert tries == [(1, 500, "refused", "not yet"), (2, 200, "delivered", "thanks")]
    assert all(item["milliseconds"] >= 0 and item["at"].endswith("Z") for item in delivery["attempts"])
    request = receiver.requests[1]
    event = Webhook(secret.text).verify(request.body, request.headers)
    assert event["id"] == delivery["event"]
    sent = delivery["attempts"][1]["request"]
    assert (sent["method"], sent["url"], sent["bytes"]) == ("POST", receiver.url(), len(request.body))
    masked = request.headers | {"webhook-signature": "***"}
    assert sent["headers"] == {name: masked[name] for name in sent["headers"]}
    assert set(request.headers) - set(sent["headers"]) == {"host", "content-length"}
    assert (await alpha.http.get(delivery["body"])).content == request.body
    assert event["tenant"] == alpha.tenant.public_id
    assert event["data"]["webhook"] == endpoint.public_id
    await events_are_visible(store)
    pulled = (await alpha.http.get("/v1/events")).json()["items"]
    assert pulled == [event]


async def test_a_disabled_webhook_takes_neither_tests_nor_retries(
    alpha: Caller, store: Store, clock: MovableClock
) -> None:
    made = await _register(alpha)
    await _tell(store, alpha, clock())
    (delivery,) = (await alpha.http.get(f"/v1/webhooks/{made['id']}/deliveries")).json()["items"]
    await alpha.http.patch(f"/v1/webhooks/{made['id']}", json={"disabled": True})
    for path in (f"/v1/webhooks/{made['id']}/test", f"/v1/deliveries/{delivery['id']}/retry"):
        response = await alpha.http.post(path)
        assert (response.status_code, response.json()["code"]) == (409, "conflict")


async def test_what_has_failed_is_due_again_when_asked_for(alpha: Caller, store: Store, clock: MovableClock) -> None:
    made = await _register(alpha)
    await _tell(store, alpha, clock())
    (delivery,) = (await alpha.http.get(f"/v1/webhooks/{made['id']}/deliveries")).json()["items"]
    endpoint_id = parse_public_id("whk", made["id"])
    assert await store.delivery_queue.give_up(endpoint_id, reason="exhausted", now=clock()) == 1
    for _ in range(5):
        response = await alpha.http.post(f"/v1/deliveries/{delivery['id']}/retry")
        assert (response.status_code, response.json()["state"], response.json()["reason"]) == (202, "pending", None)


async def test_a_webhook_with_a_key_pair_shows_its_public_keys_and_never_more(
    alpha: Caller, clock: MovableClock
) -> None:
    made = await _register(alpha, signing="ed25519")
    path = f"/v1/webhooks/{made['id']}"
    assert (made["secret"], made["signing"]) == (None, "ed25519")
    assert made["public_keys"] == [{"key": made["public_key"], "expires_at": None}]
    assert len(base64.b64decode(made["public_key"].removeprefix("whpk_"), validate=True)) == 32
    rotated = (await alpha.http.post(f"{path}/rotate-secret")).json()
    shown = (await alpha.http.get(path)).json()["public_keys"]
    assert [item["key"] for item in shown] == [rotated["public_key"], made["public_key"]]
    assert (shown[0]["expires_at"], shown[1]["expires_at"]) == (None, "2026-11-23T09:00:00.000Z")
    clock.move(timedelta(days=1))
    assert [item["key"] for item in (await alpha.http.get(path)).json()["public_keys"]] == [rotated["public_key"]]
    secret = (await alpha.http.post(f"{path}/rotate-secret", json={"signing": "hmac"})).json()
    assert secret["secret"].startswith("whsec_")
    shown = (await alpha.http.get(path)).json()
    assert (shown["signing"], [item["key"] for item in shown["public_keys"]]) == ("hmac", [rotated["public_key"]])


async def test_a_webhooks_own_headers_are_masked_and_kept_where_the_mask_comes_back(
    alpha: Caller, store: Store
) -> None:
    made = await _register(alpha, headers={"Authorization": "Bearer 7f6c", "X-Area": "north"})
    path = f"/v1/webhooks/{made['id']}"
    assert made["headers"] == {"Authorization": "***", "X-Area": "***"}
    changed = (await alpha.http.patch(path, json={"headers": {"authorization": "***", "X-New": "1"}})).json()
    assert changed["headers"] == {"authorization": "***", "X-New": "***"}
    endpoint_id = parse_public_id("whk", made["id"])
    target = (await store.delivery_queue.targets([endpoint_id]))[endpoint_id]
    assert target.headers.items == (("authorization", "Bearer 7f6c"), ("X-New", "1"))
    refused = await alpha.http.patch(path, json={"headers": {"X-Other": "***"}})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid-webhook-headers")
    assert (await alpha.http.patch(path, json={"headers": {}})).json()["headers"] == {}


async def test_order_and_concurrency_are_chosen_and_changed(alpha: Caller) -> None:
    made = await _register(alpha, ordering="session", max_concurrency=3)
    assert (made["ordering"], made["max_concurrency"]) == ("session", 3)
    path = f"/v1/webhooks/{made['id']}"
    changed = (await alpha.http.patch(path, json={"ordering": "none", "max_concurrency": 50})).json()
    assert (changed["ordering"], changed["max_concurrency"]) == ("none", 50)
    for bad in ({"max_concurrency": 51}, {"max_concurrency": 0}, {"ordering": "strict"}, {"ordering": None}):
        assert (await alpha.http.patch(path, json=bad)).status_code == 400


async def test_what_was_missed_while_disabled_is_replayed_and_shown(
    alpha: Caller, store: Store, clock: MovableClock
) -> None:
    made = await _register(alpha)
    path = f"/v1/webhooks/{made['id']}"
    await alpha.http.patch(path, json={"disabled": True})
    since = clock()
    for _ in range(3):
        clock.move(timedelta(hours=1))
        await _tell(store, alpha, clock())
    refused = await alpha.http.post(f"{path}/replay", json={"since": since.isoformat()})
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    await alpha.http.patch(path, json={"disabled": False})
    body = {"since": (since + timedelta(hours=2)).isoformat(), "types": ["upload.completed"]}
    started = await alpha.http.post(f"{path}/replay", json=body)
    assert started.status_code == 202
    replay = started.json()
    assert (replay["state"], replay["events"], replay["made"], replay["all"]) == ("running", 2, 0, False)
    assert started.headers["location"] == f"/v1/replays/{replay['id']}"
    # The same words again mean the same replay; other words have to wait.
    assert (await alpha.http.post(f"{path}/replay", json=body)).json() == replay
    other = await alpha.http.post(f"{path}/replay", json=body | {"all": True})
    assert (other.status_code, other.json()["code"]) == (409, "replay-running")
    await replay_to_the_end(store, clock, parse_public_id("rpl", replay["id"]))
    ended = (await alpha.http.get(f"/v1/replays/{replay['id']}")).json()
    assert (ended["state"], ended["made"]) == ("completed", 2)
    assert (await alpha.http.get(f"{path}/replays")).json() == {"items": [ended], "next": None}
    owed = (await alpha.http.get(f"{path}/deliveries")).json()["items"]
    assert [item["state"] for item in owed] == ["pending", "pending"]
    await events_are_visible(store)
    first = (await alpha.http.get("/v1/events")).json()["items"][0]["id"]
    rest = (await alpha.http.post(f"{path}/replay", json={"since": first})).json()
    assert (rest["since"], rest["events"]) == (first, 1)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, "invalid-request"),
        ({"since": "yesterday"}, 400, "invalid-request"),
        ({"since": "2026-11-21", "until": "soon"}, 400, "invalid-request"),
        ({"since": "2026-11-21", "types": ["invoices.lost"]}, 400, "invalid-request"),
        ({"since": "evt_" + "0" * 32}, 422, "unknown-event"),
        ({"since": "evt_x"}, 422, "unknown-event"),
    ],
)
async def test_a_replay_that_makes_no_sense_is_refused(
    alpha: Caller, body: dict[str, Any], status: int, code: str
) -> None:
    made = await _register(alpha)
    response = await alpha.http.post(f"/v1/webhooks/{made['id']}/replay", json=body)
    assert (response.status_code, response.json()["code"]) == (status, code), response.text


async def test_deliveries_are_paged_newest_first(alpha: Caller, store: Store, clock: MovableClock) -> None:
    made = await _register(alpha)
    for _ in range(5):
        clock.move(timedelta(seconds=1))
        await _tell(store, alpha, clock())
    seen, cursor = [], None
    while True:
        query = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = (await alpha.http.get(f"/v1/webhooks/{made['id']}/deliveries", params=query)).json()
        seen += [item["created_at"] for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert len(seen) == 5
    assert seen == sorted(seen, reverse=True)
    none = await alpha.http.get(f"/v1/webhooks/{made['id']}/deliveries", params={"state": "failed"})
    assert none.json()["items"] == []


async def test_only_the_types_that_a_webhook_wants_are_owed_to_it(
    alpha: Caller, store: Store, clock: MovableClock
) -> None:
    some, every = await _register(alpha, events=["session.failed"]), await _register(alpha)
    await _tell(store, alpha, clock())
    await _tell(store, alpha, clock(), EventType.SESSION_FAILED)

    async def types(webhook: dict[str, Any]) -> set[str]:
        page = (await alpha.http.get(f"/v1/webhooks/{webhook['id']}/deliveries")).json()
        return {item["type"] for item in page["items"]}

    assert await types(some) == {"session.failed"}
    assert await types(every) == {"session.failed", "upload.completed"}


async def test_events_are_pulled_in_pages_and_from_the_last_one_known(
    alpha: Caller, store: Store, clock: MovableClock
) -> None:
    for number in range(5):
        clock.move(timedelta(seconds=1))
        await _tell(store, alpha, clock(), EventType.SESSION_FAILED if number == 3 else EventType.UPLOAD_COMPLETED)
    await events_are_visible(store)
    first = (await alpha.http.get("/v1/events", params={"limit": 3})).json()
    assert len(first["items"]) == 3
    rest = (await alpha.http.get("/v1/events", params={"limit": 3, "cursor": first["next"]})).json()
    assert (len(rest["items"]), rest["next"]) == (2, None)
    items = first["items"] + rest["items"]
    assert len({item["id"] for item in items}) == 5
    assert [item["timestamp"] for item in items] == sorted(item["timestamp"] for item in items)
    for item in items:
        Event.model_validate(item)
        assert item["tenant"] == alpha.tenant.public_id
        assert item["data"] == {"words": "Żółć"}
    last = items[-1]["id"]
    empty = (await alpha.http.get("/v1/events", params={"cursor": last})).json()
    assert empty == {"items": [], "next": None, "cursor": last}
    await _tell(store, alpha, clock())
    await events_are_visible(store)
    assert len((await alpha.http.get("/v1/events", params={"cursor": last})).json()["items"]) == 1
    only = await alpha.http.get("/v1/events", params={"types": "session.failed,session.completed"})
    assert [item["type"] for item in only.json()["items"]] == ["session.failed"]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"cursor": "nonsense"}, "bad-cursor"),
        ({"cursor": "evt_" + "1" * 32}, "bad-cursor"),
        ({"types": "invoices.lost"}, "invalid-request"),
        ({"limit": "0"}, "invalid-request"),
        ({"limit": "1001"}, "invalid-request"),
    ],
)
async def test_a_pull_that_makes_no_sense_is_refused(alpha: Caller, query: dict[str, str], code: str) -> None:
    response = await alpha.http.get("/v1/events", params=query)
    assert (response.status_code, response.json()["code"]) == (400, code)


async def test_another_tenant_sees_and_changes_nothing(
    alpha: Caller, beta: Caller, store: Store, clock: MovableClock
) -> None:
    made = await _register(alpha)
    await _tell(store, alpha, clock())
    path = f"/v1/webhooks/{made['id']}"
    before = (await alpha.http.get(path)).json()
    (delivery,) = (await alpha.http.get(f"{path}/deliveries")).json()["items"]
    await events_are_visible(store)
    (event,) = (await alpha.http.get("/v1/events")).json()["items"]
    calls: list[tuple[str, str, dict[str, Any] | None]] = [
        ("GET", path, None),
        ("PATCH", path, {"disabled": True}),
        ("DELETE", path, None),
        ("POST", f"{path}/test", None),
        ("POST", f"{path}/rotate-secret", None),
        ("GET", f"{path}/deliveries", None),
        ("GET", f"/v1/deliveries/{delivery['id']}", None),
        ("POST", f"/v1/deliveries/{delivery['id']}/retry", None),
        ("GET", f"/v1/deliveries/{delivery['id']}/body", None),
        ("POST", f"{path}/replay", {"since": "2026-11-01"}),
        ("GET", f"{path}/replays", None),
    ]
    for method, address, body in calls:
        response = await beta.http.request(method, address, json=body)
        assert (response.status_code, response.json()["code"]) == (404, "not-found"), (method, address)
    assert (await beta.http.get("/v1/webhooks")).json()["items"] == []
    assert (await beta.http.get("/v1/events")).json()["items"] == []
    assert (await beta.http.get("/v1/events", params={"cursor": event["id"]})).json()["code"] == "bad-cursor"
    own = await _register(beta)
    borrowed = await beta.http.get(f"/v1/webhooks/{own['id']}/deliveries", params={"cursor": "AAAAAAAAQACAAAAAAAAAAA"})
    assert borrowed.json()["items"] == []
    await _tell(store, beta, clock())
    assert len((await alpha.http.get(f"{path}/deliveries")).json()["items"]) == 1
    assert (await alpha.http.get(path)).json() == before


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/webhooks"),
        ("GET", "/v1/webhooks"),
        ("GET", "/v1/webhooks/whk_" + "0" * 32),
        ("PATCH", "/v1/webhooks/whk_" + "0" * 32),
        ("DELETE", "/v1/webhooks/whk_" + "0" * 32),
        ("POST", "/v1/webhooks/whk_" + "0" * 32 + "/test"),
        ("POST", "/v1/webhooks/whk_" + "0" * 32 + "/rotate-secret"),
        ("GET", "/v1/webhooks/whk_" + "0" * 32 + "/deliveries"),
        ("GET", "/v1/deliveries/dlv_" + "0" * 32),
        ("POST", "/v1/deliveries/dlv_" + "0" * 32 + "/retry"),
        ("GET", "/v1/deliveries/dlv_" + "0" * 32 + "/body"),
        ("POST", "/v1/webhooks/whk_" + "0" * 32 + "/replay"),
        ("GET", "/v1/webhooks/whk_" + "0" * 32 + "/replays"),
        ("GET", "/v1/replays/rpl_" + "0" * 32),
        ("GET", "/v1/events"),
    ],
)
async def test_nothing_is_done_without_a_key(running_api: str, method: str, path: str) -> None:
    async with httpx.AsyncClient(base_url=running_api, trust_env=False) as client:
        response = await client.request(method, path, json={"url": URL} if method == "POST" else None)
    assert (response.status_code, response.json()["code"]) == (401, "unauthorized")


async def test_the_openapi_page_names_what_is_answered(running_api: str) -> None:
    async with httpx.AsyncClient(base_url=running_api, trust_env=False) as client:
        document = (await client.get("/openapi.json")).json()
    events = document["paths"]["/v1/events"]["get"]["responses"]
    assert events["200"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/EventPage"}
    assert "EventPage" in document["components"]["schemas"]
    assert {"201", "400", "401", "409", "422"} <= set(document["paths"]["/v1/webhooks"]["post"]["responses"])
