"""Sessions, their receipts, and the results of an upload, over real HTTP."""

import csv
import io
import json
from datetime import timedelta
from typing import Any, LiteralString

import pytest

from app.api.routes.uploads import CSV_COLUMNS
from app.store.database import Database
from app.store.store import Store
from tests.app.api.conftest import Caller, MovableClock
from tests.app.api.filled_store import fill, ksef_number


async def test_a_session_tells_its_counts_receipts_and_history(
    alpha: Caller, store: Store, clock: MovableClock
) -> None:
    filled = await fill(store, alpha.tenant, clock())
    shown = (await alpha.http.get(f"/v1/sessions/{filled.session}")).json()
    assert (shown["state"], shown["invoices"], shown["parts"], shown["bytes"]) == ("completed", 3, 1, 9)
    assert shown["counts"]["accepted"] == 3
    assert [page["page"] for page in shown["upo"]] == [1]
    assert [step["action"] for step in shown["history"]][:3] == ["seal", "pack", "open"]
    assert (await alpha.http.get(shown["upo"][0]["href"])).content == filled.upo
    invoices = (await alpha.http.get(shown["links"]["invoices"])).json()["items"]
    assert [item["ksef_number"] for item in invoices] == [ksef_number(0), ksef_number(1), ksef_number(3)]


async def test_a_upo_of_one_page_is_given_itself_and_of_several_as_a_list(
    alpha: Caller, store: Store, clock: MovableClock
) -> None:
    single = await fill(store, alpha.tenant, clock())
    answer = await alpha.http.get(f"/v1/sessions/{single.session}/upo")
    assert answer.headers["content-type"] == "application/xml"
    assert answer.content == single.upo
    clock.move(timedelta(seconds=1))
    several = await fill(store, alpha.tenant, clock(), count=2, pages=3)
    listed = (await alpha.http.get(f"/v1/sessions/{several.session}/upo")).json()["items"]
    assert [page["page"] for page in listed] == [1, 2, 3]
    third = await alpha.http.get(f"/v1/sessions/{several.session}/upo/3")
    assert third.content == several.upo + b"<!-- 3 -->"
    missing = await alpha.http.get(f"/v1/sessions/{several.session}/upo/4")
    assert (missing.status_code, missing.json()["code"]) == (404, "upo-not-available")
    wrong = await alpha.http.get(f"/v1/sessions/{several.session}/upo/0")
    assert (wrong.status_code, wrong.json()["code"]) == (400, "invalid-request")


async def test_before_ksef_is_done_there_is_no_upo(alpha: Caller, store: Store, clock: MovableClock) -> None:
    filled = await fill(store, alpha.tenant, clock(), finish=False)
    for address in (f"/v1/sessions/{filled.session}/upo", f"/v1/invoices/{filled.invoices[0]}/upo"):
        answer = await alpha.http.get(address)
        assert (answer.status_code, answer.json()["code"]) == (404, "upo-not-available")


async def test_sessions_are_listed_newest_first_and_by_state(alpha: Caller, store: Store, clock: MovableClock) -> None:
    made = []
    for finish in (True, True, False):
        clock.move(timedelta(seconds=1))
        made.append((await fill(store, alpha.tenant, clock(), count=1, finish=finish)).session)
    first = (await alpha.http.get("/v1/sessions?limit=2")).json()
    rest = (await alpha.http.get("/v1/sessions", params={"limit": "2", "cursor": first["next"]})).json()
    assert [item["id"] for item in first["items"] + rest["items"]] == made[::-1]
    assert rest["next"] is None
    sealed = (await alpha.http.get("/v1/sessions?state=sealed")).json()["items"]
    assert [item["id"] for item in sealed] == [made[2]]


async def test_a_page_of_sessions_costs_as_many_queries_as_one_session_and_each_gets_its_own_parts_and_pages(
    alpha: Caller, store: Store, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    for pages in (1, 3, 0):
        clock.move(timedelta(seconds=1))
        filled = await fill(store, alpha.tenant, clock(), count=2, pages=pages, finish=pages > 0)
        made.append((filled.session, 1 if pages else 0, list(range(1, pages + 1))))
    asked: list[str] = []
    fetch_all = Database.fetch_all

    async def counting(database: Database, query: LiteralString, parameters: Any = None) -> Any:
        asked.append(query)
        return await fetch_all(database, query, parameters)

    monkeypatch.setattr(Database, "fetch_all", counting)
    queries = []
    # The key is looked up before, since it is remembered.
    await alpha.http.get("/v1/me")
    for limit in (1, 100):
        asked.clear()
        items = (await alpha.http.get("/v1/sessions", params={"limit": limit})).json()["items"]
        queries.append(list(asked))
    shown = [(item["id"], item["parts"], [page["page"] for page in item["upo"]]) for item in items]
    assert shown == made[::-1]
    assert queries[0] == queries[1]
    assert any("FROM upo_pages" in query for query in queries[0]), "what counts the queries does not see them"


async def test_another_tenant_finds_nothing_of_a_session(
    alpha: Caller, beta: Caller, store: Store, clock: MovableClock
) -> None:
    filled = await fill(store, alpha.tenant, clock())
    for tail in ("", "/upo", "/upo/1"):
        assert (await alpha.http.get(f"/v1/sessions/{filled.session}{tail}")).status_code == 200
        answer = await beta.http.get(f"/v1/sessions/{filled.session}{tail}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
    assert (await beta.http.get("/v1/sessions")).json() == {"items": [], "next": None}
    for tail in ("", "/invoices", "/results"):
        assert (await beta.http.get(f"/v1/uploads/{filled.upload}{tail}")).status_code == 404


async def test_results_stream_as_ndjson_in_the_order_of_the_upload(
    alpha: Caller, store: Store, clock: MovableClock
) -> None:
    filled = await fill(store, alpha.tenant, clock(), count=2_345)
    answer = await alpha.http.get(f"/v1/uploads/{filled.upload}/results")
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.headers.get("transfer-encoding") == "chunked"
    lines = [json.loads(line) for line in answer.content.splitlines()]
    assert [line["id"] for line in lines] == filled.invoices
    assert (lines[5]["state"], lines[5]["ksef_number"]) == ("accepted", ksef_number(5))
    only = await alpha.http.get(f"/v1/uploads/{filled.upload}/results?state=invalid")
    assert [json.loads(line)["id"] for line in only.content.splitlines()] == [filled.invoices[2]]


async def test_results_stream_as_csv_that_a_spreadsheet_reads(alpha: Caller, store: Store, clock: MovableClock) -> None:
    filled = await fill(store, alpha.tenant, clock())
    answer = await alpha.http.get(f"/v1/uploads/{filled.upload}/results", headers={"Accept": "text/csv"})
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert tuple(rows[0]) == CSV_COLUMNS
    assert [row["id"] for row in rows] == filled.invoices
    assert rows[0]["name"] == "faktura, 0.xml"
    assert (rows[2]["rules"], rows[2]["message"]) == ("xsd-bad-value", 'bad; "quoted"')
    assert rows[2]["ksef_number"] == ""


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("*/*", "application/x-ndjson"),
        ("text/csv;q=0.9, application/x-ndjson;q=0.1", "text/csv; charset=utf-8; header=present"),
        ("text/*", "text/csv; charset=utf-8; header=present"),
        ("application/x-ndjson;q=0, */*", "text/csv; charset=utf-8; header=present"),
        ("application/pdf", "application/problem+json"),
    ],
)
async def test_the_form_of_results_follows_the_accept_header(
    alpha: Caller, store: Store, clock: MovableClock, accept: str, expected: str
) -> None:
    filled = await fill(store, alpha.tenant, clock(), count=1)
    answer = await alpha.http.get(f"/v1/uploads/{filled.upload}/results", headers={"Accept": accept})
    assert answer.headers["content-type"] == expected


async def test_a_flush_concerns_only_the_tenants_own_lanes(
    alpha: Caller, beta: Caller, store: Store, clock: MovableClock
) -> None:
    await fill(store, alpha.tenant, clock(), finish=False)
    await store.tenants.ensure_lane(beta.tenant, form_code="FA (3)", offline_mode=False)
    clock.move(timedelta(seconds=5))
    answer = await alpha.http.post("/v1/flush")
    assert (answer.status_code, answer.json()) == (202, {"lanes": 1, "queued": 0})
    lanes = await store.database.fetch_all("SELECT tenant_id, flush_requested_at FROM lanes ORDER BY tenant_id")
    assert [(lane["tenant_id"], lane["flush_requested_at"]) for lane in lanes] == [
        (alpha.tenant.id, clock()),
        (beta.tenant.id, None),
    ]
