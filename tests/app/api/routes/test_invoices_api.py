"""Single invoices over real HTTP: posting, checking, and everything that can be read about one."""

import hashlib
import re
from datetime import timedelta

import anyio
import httpx
import pytest

from app.domain.ids import parse_public_id
from app.store.store import Store
from invoicegen.invoices import generate_invoices
from tests.app.api.conftest import Caller, MovableClock, blobs_of
from tests.app.api.filled_store import SELLER, fill, ksef_number

XML = {"Content-Type": "application/xml"}
DOCUMENT = "<Faktura>zażółć</Faktura>".encode()


async def post(caller: Caller, document: bytes, query: str = "", **headers: str) -> httpx.Response:
    return await caller.http.post(f"/v1/invoices{query}", content=document, headers=XML | headers)


async def test_a_single_invoice_is_durable_when_it_is_acknowledged(alpha: Caller, store: Store) -> None:
    answer = await post(alpha, DOCUMENT, "?name=a.xml&offline=true")
    assert answer.status_code == 202
    receipt = answer.json()
    assert receipt["sha256"] == hashlib.sha256(DOCUMENT).hexdigest()
    assert answer.headers["location"] == receipt["links"]["self"]
    shown = (await alpha.http.get(receipt["links"]["self"])).json()
    assert (shown["state"], shown["name"], shown["size"]) == ("received", "a.xml", len(DOCUMENT))
    assert [step["outcome"] for step in shown["history"]] == ["received"]
    xml = await alpha.http.get(receipt["links"]["xml"])
    assert xml.content == DOCUMENT
    job = await store.database.fetch_one("SELECT task_name FROM procrastinate_jobs")
    assert job == {"task_name": "intake.check_singles"}


async def test_posts_of_the_same_moment_share_a_blob_and_keep_their_own_bytes(
    alpha: Caller, beta: Caller, store: Store
) -> None:
    documents = {number: f"<Faktura>{number}</Faktura>".encode() * (number + 1) for number in range(30)}
    receipts: dict[int, dict[str, str]] = {}

    async def one(number: int, document: bytes) -> None:
        answer = await post(beta if number % 10 == 0 else alpha, document)
        assert answer.status_code == 202
        receipts[number] = answer.json()

    async with anyio.create_task_group() as tasks:
        for number, document in documents.items():
            tasks.start_soon(one, number, document)
    assert len({receipt["id"] for receipt in receipts.values()}) == 30
    assert len(await blobs_of(store, "singles")) < 30
    for number, document in documents.items():
        caller = beta if number % 10 == 0 else alpha
        address = f"/v1/invoices/{receipts[number]['id']}/xml"
        assert (await caller.http.get(address)).content == document
        assert (await (alpha if caller is beta else beta).http.get(address)).status_code == 404
    counted = await store.database.fetch_one("SELECT sum(received)::int AS n FROM uploads WHERE kind = 'invoices'")
    assert counted == {"n": 30}


async def test_nobody_of_a_group_is_acknowledged_when_its_blob_cannot_be_written(alpha: Caller, store: Store) -> None:
    folder = store.blobs.folder
    assert folder is not None
    (folder / "singles").write_bytes(b"a file where the folder should be")
    answers: list[httpx.Response] = []

    async def one() -> None:
        answers.append(await post(alpha, DOCUMENT))

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(one)
    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(503, "blob-store-unavailable")}
    assert all("retry-after" in answer.headers for answer in answers)
    assert await store.database.fetch_all("SELECT id FROM invoices") == []
    (folder / "singles").unlink()
    assert (await post(alpha, DOCUMENT)).status_code == 202


@pytest.mark.parametrize(
    ("document", "headers", "status", "code"),
    [
        (b"", {}, 400, "empty-body"),
        (b"x" * 3_000_001, {}, 413, "body-too-large"),
        (DOCUMENT, {"Content-Type": "application/zip"}, 415, "unsupported-content-type"),
        (DOCUMENT, {"Content-Type": "application/json"}, 415, "unsupported-content-type"),
        (DOCUMENT, {"Content-Digest": "sha-256=:" + "A" * 43 + "=:"}, 400, "digest-mismatch"),
        (DOCUMENT, {"Authorization": "Bearer nonsense"}, 401, "unauthorized"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/invoices", "/v1/validate"])
async def test_a_refused_post_leaves_nothing(
    alpha: Caller, store: Store, path: str, document: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    answer = await alpha.http.post(path, content=document, headers=XML | headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert await store.database.fetch_all("SELECT id FROM invoices") == []
    assert await blobs_of(store, "singles") == set()


async def test_a_strict_post_of_an_invalid_invoice_is_refused_with_every_finding(alpha: Caller, store: Store) -> None:
    answer = await post(alpha, b"<Faktura>", Prefer="handling=strict")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-invoice")
    findings = answer.json()["errors"]
    assert findings
    assert {"rule", "severity", "message", "message_pl", "line", "path"} <= set(findings[0])
    assert await store.database.fetch_all("SELECT id FROM invoices") == []


async def test_a_strict_post_of_a_valid_invoice_is_taken(alpha: Caller, clock: MovableClock) -> None:
    document = valid_invoice(clock)
    answer = await post(alpha, document, Prefer="respond-async, handling=strict")
    assert answer.status_code == 202, answer.text
    assert answer.headers["preference-applied"] == "handling=strict"
    assert (await alpha.http.get(answer.json()["links"]["xml"])).content == document


async def test_a_dry_run_tells_findings_and_stores_nothing(alpha: Caller, store: Store, clock: MovableClock) -> None:
    good = await alpha.http.post("/v1/validate", content=valid_invoice(clock), headers=XML)
    assert (good.status_code, good.json()["valid"]) == (200, True), good.text
    bad = (await alpha.http.post("/v1/validate", content=b"<a/>", headers=XML)).json()
    assert bad["valid"] is False
    assert all(finding["message_pl"] for finding in bad["findings"])
    assert await store.database.fetch_all("SELECT id FROM uploads") == []


def valid_invoice(clock: MovableClock) -> bytes:
    (made,) = generate_invoices(1, seller_nip=SELLER, issue_date=clock().date())
    return made.xml


async def test_an_accepted_invoice_tells_its_way(alpha: Caller, store: Store, clock: MovableClock) -> None:
    filled = await fill(store, alpha.tenant, clock())
    shown = (await alpha.http.get(f"/v1/invoices/{filled.invoices[0]}")).json()
    assert shown["state"] == "accepted"
    assert shown["ksef_number"] == ksef_number(0)
    assert (shown["upload"], shown["session"]) == (filled.upload, filled.session)
    actions = [(step["action"], step["outcome"]) for step in shown["history"]]
    assert actions[:3] == [("receive", "received"), ("check", "queued"), ("seal", "sealed")]
    assert actions[-1] == ("verdict", "accepted")
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", step["at"]) for step in shown["history"])
    invalid = (await alpha.http.get(f"/v1/invoices/{filled.invoices[2]}")).json()
    assert [step["outcome"] for step in invalid["history"]] == ["received", "invalid"]
    assert invalid["findings"][0]["rule"] == "xsd-bad-value"


async def test_the_xml_of_a_checked_invoice_is_given_byte_for_byte(
    alpha: Caller, store: Store, clock: MovableClock
) -> None:
    filled = await fill(store, alpha.tenant, clock())
    for position in (0, 1, 3):
        answer = await alpha.http.get(f"/v1/invoices/{filled.invoices[position]}/xml")
        assert answer.content == filled.documents[position]
    gone = await alpha.http.get(f"/v1/invoices/{filled.invoices[2]}/xml")
    assert (gone.status_code, gone.json()["code"]) == (404, "xml-not-kept")


async def test_bytes_that_retention_removed_are_said_to_be_gone(
    alpha: Caller, store: Store, clock: MovableClock
) -> None:
    filled = await fill(store, alpha.tenant, clock())
    await store.blobs.delete([key async for key in store.blobs.list_keys("chunks")])
    lost = await alpha.http.get(f"/v1/invoices/{filled.invoices[0]}/xml")
    assert (lost.status_code, lost.json()["code"]) == (500, "blob-missing")
    assert "chunks/" not in lost.text
    clock.move(timedelta(days=91))
    gone = await alpha.http.get(f"/v1/invoices/{filled.invoices[0]}/xml")
    assert (gone.status_code, gone.json()["code"]) == (404, "xml-not-kept")


async def test_damaged_bytes_are_never_given_out(alpha: Caller, store: Store, clock: MovableClock) -> None:
    filled = await fill(store, alpha.tenant, clock())
    await store.database.execute("UPDATE invoices SET sha256 = sha256('other')")
    answer = await alpha.http.get(f"/v1/invoices/{filled.invoices[0]}/xml")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert filled.documents[0] not in answer.content


async def test_the_upo_is_there_once_the_invoice_is_accepted(alpha: Caller, store: Store, clock: MovableClock) -> None:
    filled = await fill(store, alpha.tenant, clock())
    answer = await alpha.http.get(f"/v1/invoices/{filled.invoices[0]}/upo")
    assert (answer.status_code, answer.content) == (200, filled.upo)
    none = await alpha.http.get(f"/v1/invoices/{filled.invoices[2]}/upo")
    assert (none.status_code, none.json()["code"]) == (404, "upo-not-available")


async def test_the_qr_code_has_the_link_of_the_ministry(alpha: Caller, store: Store, clock: MovableClock) -> None:
    filled = await fill(store, alpha.tenant, clock())
    address = f"/v1/invoices/{filled.invoices[0]}/qr"
    link = (await alpha.http.get(address, headers={"Accept": "application/json"})).json()
    assert re.fullmatch(
        rf"https://qr-test\.ksef\.mf\.gov\.pl/invoice/{SELLER}/22-11-2026/[A-Za-z0-9_-]{{43}}", link["link"]
    )
    assert link["label"] == ksef_number(0)
    svg = await alpha.http.get(address)
    assert svg.headers["content-type"] == "image/svg+xml"
    assert b"<svg" in svg.content
    png = await alpha.http.get(address, headers={"Accept": "image/png"})
    assert png.content.startswith(b"\x89PNG")
    refused = await alpha.http.get(address, headers={"Accept": "image/gif"})
    assert (refused.status_code, refused.json()["code"]) == (406, "not-acceptable")
    single = (await post(alpha, DOCUMENT)).json()
    none = await alpha.http.get(single["links"]["qr"])
    assert (none.status_code, none.json()["code"]) == (404, "qr-not-available")


async def test_filters_of_the_list_hold_together(alpha: Caller, store: Store, clock: MovableClock) -> None:
    filled = await fill(store, alpha.tenant, clock())

    async def found(**query: str) -> list[str]:
        answer = await alpha.http.get("/v1/invoices", params=query)
        assert answer.status_code == 200, answer.text
        return [item["id"] for item in answer.json()["items"]]

    assert await found() == filled.invoices
    assert await found(number="FV/1") == [filled.invoices[1]]
    # Blanks as the stored number has them; a no-break space is part of a number.
    assert await found(number=" \tFV/1\r\n ") == [filled.invoices[1]]
    assert await found(number="FV/1\u00a0") == await found(number=" ") == []
    assert await found(ksef_number=ksef_number(3)) == [filled.invoices[3]]
    assert await found(sha256=hashlib.sha256(filled.documents[1]).hexdigest().upper()) == [filled.invoices[1]]
    assert await found(upload=filled.upload, state="invalid") == [filled.invoices[2]]
    assert await found(session=filled.session) == [filled.invoices[i] for i in (0, 1, 3)]
    assert await found(session=filled.session, upload=filled.upload, number="FV/0") == [filled.invoices[0]]
    assert await found(number="FV/1", state="invalid") == []
    several = await alpha.http.get("/v1/invoices?state=invalid&state=accepted")
    assert len(several.json()["items"]) == 4


@pytest.mark.parametrize(
    "query", ["sha256=ab", "upload=inv_1", "session=x", "state=lost", "number=%00", "number=" + "x" * 257]
)
async def test_a_bad_filter_is_refused(alpha: Caller, query: str) -> None:
    answer = await alpha.http.get(f"/v1/invoices?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-request")
    assert answer.json()["errors"][0]["where"] == f"query.{query.partition('=')[0]}" or "state" in query


async def test_the_invoices_of_an_upload_come_by_pages_in_its_order(
    alpha: Caller, store: Store, clock: MovableClock
) -> None:
    filled = await fill(store, alpha.tenant, clock(), count=7)
    for base in (f"/v1/uploads/{filled.upload}/invoices", "/v1/invoices"):
        seen: list[str] = []
        cursor: str | None = None
        while True:
            page = (await alpha.http.get(base, params={"limit": "3"} | ({"cursor": cursor} if cursor else {}))).json()
            seen += [item["id"] for item in page["items"]]
            cursor = page["next"]
            if cursor is None:
                break
        assert seen == filled.invoices


async def test_another_tenant_finds_nothing_of_an_invoice(
    alpha: Caller, beta: Caller, store: Store, clock: MovableClock
) -> None:
    filled = await fill(store, alpha.tenant, clock())
    for tail in ("", "/xml", "/upo", "/qr"):
        assert (await alpha.http.get(f"/v1/invoices/{filled.invoices[0]}{tail}")).status_code == 200
        answer = await beta.http.get(f"/v1/invoices/{filled.invoices[0]}{tail}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
    for query in (
        {},
        {"number": "FV/0"},
        {"ksef_number": ksef_number(0)},
        {"sha256": hashlib.sha256(filled.documents[0]).hexdigest()},
        {"upload": filled.upload},
        {"session": filled.session},
        {"state": "accepted"},
    ):
        assert (await beta.http.get("/v1/invoices", params=query)).json() == {"items": [], "next": None}
    parse_public_id("inv", filled.invoices[0])


@pytest.mark.parametrize(
    "path", ["/v1/invoices/inv_x", "/v1/uploads/upl_0", "/v1/sessions/nonsense", "/v1/invoices/%00"]
)
async def test_an_id_that_cannot_be_one_is_not_found(alpha: Caller, path: str) -> None:
    answer = await alpha.http.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
