"""A database of the last release, with its key and blobs, under the present service: what was there is served, and work goes on."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from app.cli.demo.receiver import Receiver, listening
from app.store.migrate import migrate
from tests.support.last_release import (
    CERTIFICATE,
    DISABLED,
    FACTS,
    LATE,
    MAIN,
    STOPPED,
    database_of_the_last_release,
    load_files,
)
from tests.support.sandbox_process import SandboxHandle
from tests.support.service_process import ApiClient, running_service, wait_for


class Installation:
    """The service of today on the data of the last release, and the tenants' clients."""

    def __init__(self, base_url: str) -> None:
        self.clients = {nip: ApiClient(base_url, "", nip, key) for nip, key in FACTS["api_keys"].items()}

    def client(self, nip: str) -> ApiClient:
        return self.clients[nip]

    def close(self) -> None:
        for client in self.clients.values():
            client.close()


@pytest.fixture(scope="module")
def installation(
    sandbox_of_the_run: SandboxHandle, postgres_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("last-release")
    load_files(folder / "var")
    with database_of_the_last_release(postgres_url) as url:
        migrate(url)
        settings: dict[str, Any] = {
            "database_url": url,
            "webhook_allow_http": True,
            "webhook_allow_private": True,
            # The data grows older with each day; nothing of it is to be removed.
            "retention_days": 36_500,
        }
        with running_service(folder, sandbox_of_the_run, **settings) as service:
            made = Installation(service.base_url)
            yield made
            made.close()


def items(client: ApiClient, path: str, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = client.get(path, **query, **cursor)
        found += page["items"]
        if page["next"] is None:
            return found
        cursor = {"cursor": page["next"]}


def test_the_api_serves_every_old_upload_session_and_invoice_with_a_verdict(installation: Installation) -> None:
    final = {"accepted", "rejected", "invalid", "duplicate", "failed"}
    seen: Counter[str] = Counter()
    for nip in FACTS["api_keys"].keys() - {DISABLED}:
        client = installation.client(nip)
        for upload in items(client, "/v1/uploads"):
            assert client.get(f"/v1/uploads/{upload['id']}")["id"] == upload["id"]
        for session in items(client, "/v1/sessions"):
            assert client.get(f"/v1/sessions/{session['id']}")["history"]
        seen.update(invoice["state"] for invoice in items(client, "/v1/invoices") if invoice["state"] in final)
    for state in final:
        assert seen[state] >= FACTS["states"]["invoices"][state]


def test_an_accepted_invoice_has_its_bytes_its_receipt_and_its_event(installation: Installation) -> None:
    client = installation.client(MAIN)
    [invoice] = client.get("/v1/invoices", number="FV/1", state="accepted")["items"]
    detail = client.get(f"/v1/invoices/{invoice['id']}")
    assert detail["history"]
    xml = client.request("GET", f"/v1/invoices/{invoice['id']}/xml")
    assert hashlib.sha256(xml.content).hexdigest() == invoice["sha256"]
    receipt = client.request("GET", f"/v1/invoices/{invoice['id']}/upo")
    assert invoice["ksef_number"].encode() in receipt.content
    events = items_of_events(client)
    told = [
        one["ksef_number"]
        for event in events
        if event["type"] == "invoices.accepted"
        for one in event["data"]["invoices"]
    ]
    assert invoice["ksef_number"] in told


def items_of_events(client: ApiClient) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    query: dict[str, Any] = {"since": "2026-01-01T00:00:00Z"}
    while True:
        page = client.get("/v1/events", **query)
        found += page["items"]
        if page["next"] is None:
            return found
        query = {"cursor": page["next"]}


def test_an_old_event_is_delivered_again_and_signed(installation: Installation) -> None:
    client = installation.client(MAIN)
    [hook] = [one for one in client.get("/v1/webhooks")["items"] if one["url"].endswith("/good")]
    receiver = Receiver()
    with listening(receiver) as url:
        secret = client.request("POST", f"/v1/webhooks/{hook['id']}/rotate-secret").json()["secret"]
        receiver.expect(secret)
        assert client.request("PATCH", f"/v1/webhooks/{hook['id']}", json={"url": url}).is_success
        replay = {"since": "2026-01-01T00:00:00Z", "types": ["session.completed"], "all": True}
        assert client.request("POST", f"/v1/webhooks/{hook['id']}/replay", json=replay).is_success
        wait_for(lambda: receiver.types["session.completed"] >= 5, what="old events at a new address")
        assert receiver.refused == []


def test_what_waited_is_sent_and_accepted(installation: Installation) -> None:
    """Queued invoices, an upload that no worker had read, and single posts that none had checked."""
    client = installation.client(CERTIFICATE)
    client.request("POST", "/v1/flush")
    uploads = {one["reference"]: one for one in items(client, "/v1/uploads")}
    wait_for(
        lambda: all(
            client.get(f"/v1/uploads/{uploads[name]['id']}")["counts"] == {"accepted": count}
            for name, count in (("queued", 4), ("unread", 3))
        ),
        what="the verdicts on what waited",
    )
    numbers = [f"UNCHECKED/{one}" for one in range(2)]
    wait_for(
        lambda: [client.get("/v1/invoices", number=one)["items"][0]["state"] for one in numbers] == ["accepted"] * 2,
        what="the verdicts on single posts",
    )


def test_an_upload_that_was_being_read_is_read_to_its_end(installation: Installation) -> None:
    client = installation.client(STOPPED)
    [upload] = items(client, "/v1/uploads")
    wait_for(lambda: client.get(f"/v1/uploads/{upload['id']}")["counts"] == {"accepted": 60}, what="sixty verdicts")


def test_a_disabled_tenant_stays_disabled(installation: Installation) -> None:
    assert installation.client(DISABLED).request("GET", "/v1/me").status_code == 403


def test_held_invoices_still_wait_and_are_released(installation: Installation) -> None:
    client = installation.client(LATE)
    held = items(client, "/v1/invoices", held="true")
    assert len(held) == 4
    assert client.request("POST", "/v1/release").is_success
    client.request("POST", "/v1/flush")
    wait_for(
        lambda: all(client.get(f"/v1/invoices/{one['id']}")["state"] == "accepted" for one in held),
        what="the verdicts on released invoices",
    )
