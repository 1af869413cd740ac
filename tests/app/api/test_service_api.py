"""What holds for every request: keys, ids, problems, health, metrics, and bounds on what strangers may send."""

import inspect
import logging
import pkgutil
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.api.application import create_app
from app.api.http.paging import read_cursor, write_cursor
from app.api.http.problems import PROBLEMS, problems_page
from app.domain.ids import parse_public_id
from app.errors import DispatchError, RequestError, TryLater
from app.observability.logs import configure_logging
from app.settings import Settings
from app.store.store import Store
from tests.app.api.conftest import Caller, MovableClock
from tests.app.api.filled_store import fill

ROOT = Path(__file__).resolve().parents[3]
OPEN_PATHS = {"/livez", "/readyz", "/metrics", "/openapi.json"}
LINK_PATHS = {"/v1/upo"}
"""What a signed link opens instead of a key."""
TOLD_TO_ANYBODY = {("OPTIONS", "/v1/uploads/resumable")}
"""What clients of tus ask before they have anything to say."""
SCHEMA_PATHS = {"/schemas/events/{event_type}.json"}


def operations(settings: Settings) -> list[tuple[str, str]]:
    document = create_app(settings).openapi()
    return [(method.upper(), path) for path, item in document["paths"].items() for method in item]


async def test_no_endpoint_but_the_watchers_answers_without_a_key(running_api: str, settings: Settings) -> None:
    # Clients of tus name its version first: who speaks another one is told so before anything else.
    headers = {"Tus-Resumable": "1.0.0"}
    async with httpx.AsyncClient(base_url=running_api, headers=headers, trust_env=False) as http:
        for method, path in operations(settings):
            address = re.sub(r"\{page\}", "1", path)
            answer = await http.request(method, re.sub(r"\{\w+\}", "inv_" + "0" * 32, address))
            if path in OPEN_PATHS:
                assert answer.status_code == 200, path
            elif (method, path) in TOLD_TO_ANYBODY:
                assert (answer.status_code, answer.content) == (204, b""), path
            elif path in SCHEMA_PATHS:
                assert answer.status_code == 404, path
            elif path in LINK_PATHS:
                assert answer.status_code == 400, path
                assert (await http.get(path, params={"token": "A" * 86})).status_code == 403
            else:
                # An answer to HEAD has no body.
                assert answer.status_code == 401, (method, path)
                assert method == "HEAD" or answer.json()["code"] == "unauthorized", path
                assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_revoked_key_is_refused_within_five_seconds(alpha: Caller, store: Store, clock: MovableClock) -> None:
    assert (await alpha.http.get("/v1/me")).status_code == 200
    (key,) = await store.tenants.keys(alpha.tenant.id)
    await store.tenants.revoke_key(alpha.tenant.id, parse_public_id("key", key.id), now=clock())
    clock.move(timedelta(seconds=3))
    assert (await alpha.http.get("/v1/me")).status_code == 401


async def test_me_tells_the_tenant_and_the_limits(alpha: Caller, beta: Caller, settings: Settings) -> None:
    mine, other = (await alpha.http.get("/v1/me")).json(), (await beta.http.get("/v1/me")).json()
    assert (mine["tenant"]["nip"], other["tenant"]["nip"]) == (alpha.tenant.nip, beta.tenant.nip)
    assert mine["limits"]["max_upload_bytes"] == settings.max_upload_bytes
    assert mine["limits"]["session_max_invoices"] == 10_000


async def test_the_request_id_is_echoed_or_made(alpha: Caller) -> None:
    kept = await alpha.http.get("/v1/me", headers={"X-Request-Id": "erp-1.2/3"})
    assert kept.headers["x-request-id"] == "erp-1.2/3"
    made = await alpha.http.get("/v1/nothing", headers={"X-Request-Id": "bad id\t<script>"})
    assert re.fullmatch(r"[0-9a-f]{32}", made.headers["x-request-id"])
    assert made.json()["request_id"] == made.headers["x-request-id"]


async def test_the_routers_own_refusals_are_problems(alpha: Caller) -> None:
    nothing = await alpha.http.get("/v2/else")
    assert (nothing.status_code, nothing.json()["code"]) == (404, "not-found")
    wrong = await alpha.http.delete("/v1/uploads")
    assert (wrong.status_code, wrong.json()["code"]) == (405, "method-not-allowed")
    assert wrong.headers["allow"]
    assert set(wrong.json()) == {"type", "title", "status", "detail", "code", "instance", "request_id"}
    assert wrong.json()["type"] == "/docs/problems#method-not-allowed"
    page = await alpha.http.get("/docs/problems")
    assert 'id="method-not-allowed"' in page.text


async def test_an_unforeseen_error_tells_nothing_and_is_logged(
    alpha: Caller, settings: Settings, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    # A test before this one may have sent all lines to an end that is captured no more.
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", list(root.handlers))
    configure_logging(settings)

    async def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr("app.store.uploads.uploads.UploadStore.page", broken)
    answer = await alpha.http.get("/v1/uploads", headers={"X-Request-Id": "find-me"})
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "secret detail" not in answer.text
    written = capfd.readouterr()
    lines = [line for line in (written.out + written.err).splitlines() if "request_crashed" in line]
    assert ["find-me" in line for line in lines] == [True]
    monkeypatch.undo()
    assert (await alpha.http.get("/v1/uploads")).status_code == 200


async def test_an_absent_database_is_a_503_with_retry_after(
    alpha: Caller, store: Store, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.store.database_errors import DatabaseUnavailable

    async def away(*_: Any, **__: Any) -> None:
        raise DatabaseUnavailable("the database does not answer")

    monkeypatch.setattr("app.store.database.Database.fetch_one", away)
    monkeypatch.setattr("app.store.database.Database.fetch_all", away)
    clock.move(timedelta(minutes=1))
    for path in ("/v1/uploads", "/v1/me"):
        answer = await alpha.http.get(path)
        assert (answer.status_code, answer.json()["code"]) == (503, "database-unavailable")
        assert int(answer.headers["retry-after"]) > 0
    assert (await alpha.http.get("/livez")).status_code == 200
    ready = await alpha.http.get("/readyz")
    assert (ready.status_code, ready.json()["code"]) == (503, "not-ready")
    assert [fault["part"] for fault in ready.json()["errors"]] == ["database"]
    scraped = await alpha.http.get("/metrics")
    assert scraped.status_code == 200
    assert "ksefd_upload_bytes_total" in scraped.text
    assert "ksefd_invoices_total" not in scraped.text


@pytest.mark.own_database
async def test_readiness_names_an_old_schema_and_a_broken_blob_store(alpha: Caller, store: Store) -> None:
    assert (await alpha.http.get("/readyz")).json()["status"] == "ready"
    await store.database.execute("UPDATE alembic_version SET version_num = '0000'")
    folder = store.blobs.folder
    assert folder is not None
    for path in (folder / "health").iterdir():
        path.unlink()
    (folder / "health").rmdir()
    (folder / "health").write_bytes(b"")
    faults = (await alpha.http.get("/readyz")).json()["errors"]
    assert [fault["part"] for fault in faults] == ["migrations", "blobs"]
    await store.database.execute("DROP TABLE alembic_version")
    faults = (await alpha.http.get("/readyz")).json()["errors"]
    assert faults[0] == {"part": "migrations", "message": "the database has no schema yet; run `ksefd migrate`"}


async def test_metrics_count_what_is_there(alpha: Caller, store: Store, clock: MovableClock) -> None:
    await fill(store, alpha.tenant, clock(), count=5)
    await alpha.http.post("/v1/uploads", content=b"PK", headers={"Content-Type": "application/zip"})
    answer = await alpha.http.get("/metrics")
    values = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert values["ksefd_invoices_total", "accepted"] == 4
    assert values["ksefd_invoices_total", "invalid"] == 1
    assert values["ksefd_invoices_total", "queued"] == 0
    assert values["ksefd_sessions", "completed"] == 1
    assert values["ksefd_sessions", "open"] == 0
    assert values["ksefd_oldest_queued_seconds",] == 0
    assert values["ksefd_upload_bytes_total",] >= 2
    assert values["ksefd_webhook_deliveries_total", "failed"] == 0
    assert values["ksefd_stage_seconds_count", "receive"] >= 1
    assert alpha.tenant.nip not in answer.text


async def test_a_request_head_without_end_is_cut_off(running_api: str) -> None:
    stream = await anyio.connect_tcp("127.0.0.1", int(running_api.rpartition(":")[2]))
    await stream.send(b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Long: ")
    sent = 0
    cut_off = False
    with anyio.fail_after(60):
        while sent < 10_000_000 and not cut_off:
            try:
                await stream.send(b"a" * 65_536)
                sent += 65_536
            except anyio.BrokenResourceError:
                cut_off = True
    assert cut_off
    await stream.aclose()


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_that_would_be_read_whole_is_small(alpha: Caller, chunked: bool) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b" " * 65_536

    content = pieces() if chunked else b" " * 2_000_000
    answer = await alpha.http.post("/v1/webhooks", content=content, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (413, "body-too-large")


async def test_no_log_line_carries_a_key(alpha: Caller, capfd: pytest.CaptureFixture[str]) -> None:
    await alpha.http.get("/v1/me?key=visible")
    await alpha.http.get("/v1/nothing")
    written = capfd.readouterr()
    assert alpha.key not in written.out + written.err


def test_a_cursor_is_read_back() -> None:
    value = parse_public_id("inv", "inv_" + "0198f2ab" * 4)
    assert read_cursor(write_cursor(value)) == value


def test_every_error_class_that_a_client_can_meet_is_listed_once() -> None:
    for package in ("app.api", "app.store", "app.webhooks"):
        for module in pkgutil.iter_modules(import_module(package).__path__, f"{package}."):
            import_module(module.name)
    known = {
        kind
        for kind in _descendants(DispatchError)
        if kind.__module__.startswith(("app.errors", "app.api", "app.store", "app.webhooks"))
    }
    told = {kind for kind in known if issubclass(kind, RequestError | TryLater)}
    assert told <= set(PROBLEMS), told - set(PROBLEMS)
    codes = [kind.code for kind in PROBLEMS]
    assert len(codes) == len(set(codes))
    assert all(inspect.getdoc(kind) for kind in PROBLEMS)


def _descendants(kind: type[DispatchError]) -> set[type[DispatchError]]:
    return {kind} | {found for child in kind.__subclasses__() for found in _descendants(child)}


def test_codes_of_problems_never_change() -> None:
    """Programs of others depend on these: add to the list, never take away."""
    assert {(kind.code, kind.status) for kind in PROBLEMS} >= {
        ("bad-request", 400), ("invalid-request", 400), ("bad-cursor", 400), ("empty-body", 400), ("digest-mismatch", 400),
        ("unauthorized", 401), ("forbidden", 403), ("not-found", 404), ("xml-not-kept", 404), ("upo-not-available", 404),
        ("qr-not-available", 404), ("method-not-allowed", 405), ("not-acceptable", 406), ("body-too-slow", 408),
        ("conflict", 409), ("not-held", 409), ("body-too-large", 413), ("unsupported-content-type", 415), ("idempotency-key-reused", 422),
        ("invalid-invoice", 422), ("unreadable-upload", 422), ("invalid-webhook-url", 422), ("internal", 500), ("blob-missing", 500), ("try-later", 503),
        ("busy", 503), ("spool-full", 503), ("not-ready", 503), ("database-unavailable", 503),
        ("blob-store-unavailable", 503),
    }  # fmt: skip


def test_the_page_of_problems_is_up_to_date() -> None:
    """Make it anew with `python -m app.api.http.problems --write`."""
    assert (ROOT / "docs" / "problems.md").read_text(encoding="utf-8") == problems_page("markdown")


def test_the_written_openapi_document_is_up_to_date() -> None:
    """Make it anew with `python -m app.api.openapi --write`."""
    from app.api.openapi import openapi_text

    assert (ROOT / "schemas" / "openapi.json").read_text(encoding="utf-8") == openapi_text()


def test_openapi_tells_the_truth_about_errors(settings: Settings) -> None:
    document = create_app(settings).openapi()
    text = str(document)
    assert "HTTPValidationError" not in text
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if (method.upper(), path) in TOLD_TO_ANYBODY:
                assert operation["security"] == [], path
                continue
            assert "500" in operation["responses"] or path in OPEN_PATHS
            if path in OPEN_PATHS | LINK_PATHS | SCHEMA_PATHS:
                assert operation["security"] == [], path
            else:
                assert operation["security"] == [{"apiKey": []}], path
                assert "401" in operation["responses"], path
            for reference in re.findall(r"#/components/schemas/(\w+)", str(operation)):
                assert reference in document["components"]["schemas"]
