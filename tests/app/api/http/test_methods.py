"""Methods, parameters, caches and limits as HTTP clients know them."""

import re
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute

from app.api.http.conditional import _TAG
from app.api.http.parameters import nearest
from app.api.http.rate_limits import RateLimit, limit_headers
from app.api.routes import (
    account,
    deliveries,
    documents,
    events,
    health,
    invoices,
    resumable,
    sessions,
    uploads,
    upo_links,
    webhooks,
)  # fmt: skip
from app.store.store import Store
from tests.app.api.conftest import Caller, MovableClock
from tests.app.api.filled_store import fill

ROUTERS = (
    account, deliveries, documents, events, health, invoices, resumable, sessions, uploads, upo_links, webhooks,
)  # fmt: skip
GETS = sorted(
    {
        route.path
        for module in ROUTERS
        for route in module.router.routes
        if isinstance(route, APIRoute) and "GET" in (route.methods or ())
    }
    # Its own HEAD is the protocol's: it gives the offset.
    - {"/v1/uploads/resumable/{upload_id}"}
)
OF_ONE_ANSWER = {"date", "x-request-id", "transfer-encoding"}
XML = {"Content-Type": "application/xml"}
ZIP = {"Content-Type": "application/zip"}


async def addresses(alpha: Caller, store: Store, clock: MovableClock) -> dict[str, str]:
    """Return the values of every path parameter, of objects that exist."""
    filled = await fill(store, alpha.tenant, clock())
    hook = (await alpha.http.post("/v1/webhooks", json={"url": "https://erp.example/hook"})).json()["id"]
    delivery = (await alpha.http.post(f"/v1/webhooks/{hook}/test")).json()["id"]
    replay = (await alpha.http.post(f"/v1/webhooks/{hook}/replay", json={"since": "2026-11-01T00:00:00Z"})).json()["id"]
    return {
        "upload_id": filled.upload, "invoice_id": filled.invoices[0], "session_id": filled.session, "page": "1",
        "webhook_id": hook, "delivery_id": delivery, "replay_id": replay, "event_type": "webhook.test", "name": "start.js",
    }  # fmt: skip


async def test_head_of_every_get_has_its_headers_and_no_body(
    alpha: Caller, store: Store, clock: MovableClock, running_api: str
) -> None:
    values = await addresses(alpha, store, clock)
    seen = set()
    for template in GETS:
        path = re.sub(r"\{(\w+)(:\w+)?\}", lambda found: values[found[1]], template)
        head = await alpha.http.head(path)
        assert head.content == b""
        if template == "/v1/events/stream":
            assert (head.status_code, head.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
            continue
        got = await alpha.http.get(path)
        assert head.status_code == got.status_code, template
        both = [
            {name: value for name, value in one.headers.items() if name not in OF_ONE_ANSWER} for one in (head, got)
        ]
        if template == "/metrics":
            both[0]["content-length"] = both[1]["content-length"]
        assert both[0] == both[1], template
        seen.add(got.status_code)
    # A signed link needs its token.
    assert seen == {200, 400}
    # The connection serves on: no byte of a body was left on it.
    assert (await alpha.http.get("/livez")).status_code == 200
    assert (await alpha.http.head("/v1/nothing")).status_code == 404
    assert (await alpha.http.head("/v1/flush")).status_code == 405


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/v1/me", "GET, HEAD, OPTIONS"),
        ("/v1/webhooks", "GET, HEAD, OPTIONS, POST"),
        ("/v1/webhooks/whk_1", "DELETE, GET, HEAD, OPTIONS, PATCH"),
        ("/v1/uploads/resumable", "GET, HEAD, OPTIONS, POST"),
        ("/v1/uploads/resumable/upl_1", "DELETE, GET, HEAD, OPTIONS, PATCH, POST"),
        ("/v1/invoices/inv_1/release", "OPTIONS, POST"),
        ("/livez", "GET, HEAD, OPTIONS"),
    ],
)
async def test_allow_names_every_method_of_an_address(running_api: str, path: str, allow: str) -> None:
    async with httpx.AsyncClient(base_url=running_api, trust_env=False) as client:
        options = await client.options(path)
        assert (options.status_code, options.headers["allow"], options.content) == (204, allow, b"")
        for method in {"DELETE", "PUT", "TRACE", "PROPFIND"} - set(allow.split(", ")):
            answer = await client.request(method, path)
            assert (answer.status_code, answer.headers["allow"]) == (405, allow), method
        assert (await client.options("/v1/nothing")).status_code == 404


@pytest.mark.parametrize(
    ("path", "unknown", "like"),
    [
        ("/v1/invoices?nummber=1", "nummber", "number"),
        ("/v1/invoices?state=sent&ksefNumber=1", "ksefNumber", "ksef_number"),
        ("/v1/invoices?upload-id=1", "upload-id", "upload"),
        ("/v1/uploads?page=2&limit=1", "page", "limit"),
        ("/v1/events?type=webhook.test", "type", "types"),
        ("/v1/sessions?%73tatus=open", "status", "state"),
        ("/v1/me?x", "x", None),
        ("/v1/invoices/inv_1?limit=1", "limit", None),
    ],
)
async def test_an_unknown_parameter_is_refused_with_the_nearest_name(
    alpha: Caller, path: str, unknown: str, like: str | None
) -> None:
    answer = await alpha.http.get(path)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-request")
    (fault,) = answer.json()["errors"]
    assert fault["where"] == f"query.{unknown}"
    assert fault.get("nearest") == like
    # A client without a key learns nothing of it.
    assert (await alpha.http.get(path, headers={"Authorization": ""})).status_code == 401


async def test_unknown_parameters_of_posts_and_of_signed_links_are_refused_too(alpha: Caller) -> None:
    for method, path in (
        ("POST", "/v1/uploads?ofline=true"), ("POST", "/v1/invoices?ofline=true"), ("POST", "/v1/validate?strict=1"),
        ("POST", "/v1/flush?lane=1"), ("GET", "/v1/upo?tokken=x"),
    ):  # fmt: skip
        answer = await alpha.http.request(method, path, content=b"<a/>" if method == "POST" else None, headers=XML)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid-request"), path
    assert nearest("", ("number", "state")) in {"number", "state"}
    assert (await alpha.http.get("/readyz?probe=1")).status_code == 200


async def test_answers_with_data_are_not_kept_and_what_never_changes_is_kept_by_its_client_only(
    alpha: Caller, beta: Caller, store: Store, clock: MovableClock
) -> None:
    values = await addresses(alpha, store, clock)
    invoice, session = values["invoice_id"], values["session_id"]
    for path in (
        "/v1/me",
        "/v1/webhooks",
        f"/v1/invoices/{invoice}",
        "/v1/events",
        "/v1/nothing",
        "/livez",
        "/metrics",
    ):
        assert (await alpha.http.get(path)).headers["cache-control"] == "no-store", path
    assert (await alpha.http.post("/v1/webhooks", json={})).headers["cache-control"] == "no-store"
    for path in (f"/v1/invoices/{invoice}/xml", f"/v1/invoices/{invoice}/upo", f"/v1/sessions/{session}/upo",
                 f"/v1/sessions/{session}/upo/1"):  # fmt: skip
        first = await alpha.http.get(path)
        assert first.status_code == 200
        assert first.headers["cache-control"].startswith("private, ")
        assert first.headers["vary"] == "Authorization"
        tag = first.headers["etag"]
        for given in (tag, f"W/{tag}", f'"other", {tag}', "*"):
            again = await alpha.http.get(path, headers={"If-None-Match": given})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag), given
        for given in ('"other"', tag.strip('"'), "", f"{tag[:-1]}x"):
            assert (await alpha.http.get(path, headers={"If-None-Match": given})).content == first.content, given
        # The tag of another tenant's content proves nothing.
        assert (await beta.http.get(path, headers={"If-None-Match": tag})).status_code == 404


def test_tags_are_read_with_commas_inside() -> None:
    assert _TAG.findall('"a,b", W/"c" , "d') == ['"a,b"', '"c"']


async def test_a_replayed_answer_says_so(alpha: Caller) -> None:
    for path, headers in (("/v1/uploads", ZIP), ("/v1/invoices", XML)):
        for replayed in (None, "true"):
            answer = await alpha.http.post(path, content=b"<a/>", headers=headers | {"Idempotency-Key": "k1"})
            assert (answer.status_code, answer.headers.get("idempotency-replayed")) == (202, replayed)
    tus = {
        "Tus-Resumable": "1.0.0",
        "Upload-Length": "9",
        "Upload-Metadata": "filename YS56aXA=",
        "Idempotency-Key": "k2",
    }
    for replayed in (None, "true"):
        answer = await alpha.http.post("/v1/uploads/resumable", headers=tus)
        assert (answer.status_code, answer.headers.get("idempotency-replayed")) == (201, replayed)


async def test_tus_answers_401_before_412(alpha: Caller) -> None:
    for method, path in (
        ("POST", "/v1/uploads/resumable"),
        ("HEAD", "/v1/uploads/resumable/upl_1"),
        ("PATCH", "/v1/uploads/resumable/upl_1"),
    ):
        for key in ("", "Bearer ksefd_wrong"):
            answer = await alpha.http.request(method, path, headers={"Authorization": key})
            assert (answer.status_code, answer.headers["tus-resumable"]) == (401, "1.0.0")
            assert answer.headers["www-authenticate"] == "Bearer"
        assert (await alpha.http.request(method, path)).status_code == 412


@pytest.mark.parametrize(
    ("body", "line", "column"),
    [
        (b'{"url": }', 1, 9),
        (b'{\n "url": "x",\n}', 3, 1),
        ('{"description": "zażółć", url}'.encode(), 1, 27),
        (b'{"url": "\xff"}', 1, 10),
        (b'{\n"url": "\xc5\xbc\xff"}', 2, 10),
        (b"", 1, 1),
    ],
)
async def test_a_json_syntax_error_has_its_line_and_column(alpha: Caller, body: bytes, line: int, column: int) -> None:
    answer = await alpha.http.post("/v1/webhooks", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-request"), answer.text
    if body:
        (fault,) = answer.json()["errors"]
        assert (fault["where"], fault["line"], fault["column"]) == ("body", line, column)
        assert f"line {line}, column {column}" in answer.json()["detail"]


async def test_a_wrong_field_has_its_path(alpha: Caller) -> None:
    body: dict[str, Any] = {
        "url": "https://erp.example/h",
        "headers": {"A/~": 5},
        "events": ["webhook.test", "x"],
        "more": 1,
    }
    answer = await alpha.http.post("/v1/webhooks", json=body)
    pointers = {fault["pointer"] for fault in answer.json()["errors"]}
    assert pointers == {"#/headers/A~1~0", "#/events/1", "#/more"}
    deep = await alpha.http.post("/v1/webhooks", content=b"[" * 60_000, headers={"Content-Type": "application/json"})
    assert deep.status_code == 400


async def test_limits_are_named_with_what_is_left_of_them(alpha: Caller) -> None:
    answer = await alpha.http.post("/v1/invoices", content=b"<a/>", headers=XML)
    assert answer.headers["ratelimit-policy"] == '"waiting-invoices";q=5000000'
    assert re.fullmatch(r'"waiting-invoices";r=49999\d\d', answer.headers["ratelimit"])
    answer = await alpha.http.post("/v1/uploads", content=b"PK", headers=ZIP)
    assert answer.headers["ratelimit-policy"].split(", ")[:2] == [
        '"concurrent-uploads";q=8;qu="concurrent-requests"', '"unread-uploads";q=5000'
    ]  # fmt: skip
    assert answer.headers["ratelimit"].split(", ")[1] == '"unread-uploads";r=4999'


async def test_a_refusal_names_the_limit_that_is_reached_and_when_there_is_more(
    alpha: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.api.intake.admission.UNREAD_UPLOADS_OF_A_TENANT", 0)
    answer = await alpha.http.post("/v1/uploads", content=b"PK", headers=ZIP)
    assert answer.status_code == 429
    assert answer.headers["ratelimit"] == f'"unread-uploads";r=0;t={answer.headers["retry-after"]}'
    assert limit_headers([RateLimit("failed-keys", 20, 21, window=60)], seconds=3) == {
        "RateLimit-Policy": '"failed-keys";q=20;w=60', "RateLimit": '"failed-keys";r=0;t=3'
    }  # fmt: skip
