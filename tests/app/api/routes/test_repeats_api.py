"""The same request again, with a key and without: over HTTP, at the same moment, and with other parameters."""

from datetime import timedelta

import anyio
import httpx
import pytest

from app.store.store import Store
from tests.app.api.conftest import Caller, MovableClock

BODY = b"PK\x03\x04 the night of the million"
ZIP = {"Content-Type": "application/zip"}
XML = {"Content-Type": "application/xml"}
KEY = {"Idempotency-Key": "night"}


@pytest.mark.parametrize("query", ["?offline=true", "?flush=true", "?atomic=true"])
async def test_a_key_stands_for_its_parameters_too(alpha: Caller, store: Store, query: str) -> None:
    first = await alpha.http.post("/v1/uploads?reference=one", content=BODY, headers=ZIP | KEY)
    other = await alpha.http.post(f"/v1/uploads{query}", content=BODY, headers=ZIP | KEY)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")
    tar = await alpha.http.post("/v1/uploads", content=BODY, headers={"Content-Type": "application/x-tar"} | KEY)
    assert tar.status_code == 422
    # A reference is a label: the one that came first stays.
    again = await alpha.http.post("/v1/uploads?reference=two", content=BODY, headers=ZIP | KEY)
    assert again.json() == first.json()


async def test_without_a_key_the_same_body_is_taken_and_called_a_repeat_at_once(
    alpha: Caller, beta: Caller, clock: MovableClock
) -> None:
    first = (await alpha.http.post("/v1/uploads", content=BODY, headers=ZIP)).json()
    clock.move(timedelta(days=6))
    again = (await alpha.http.post("/v1/uploads", content=BODY, headers=ZIP)).json()
    clock.move(timedelta(seconds=1))
    keyed = (await alpha.http.post("/v1/uploads", content=BODY, headers=ZIP | KEY)).json()
    assert first["repeat_of"] is None
    assert (again["repeat_of"], keyed["repeat_of"]) == (first["id"], first["id"])
    assert len({first["id"], again["id"], keyed["id"]}) == 3
    assert (await alpha.http.get(again["links"]["self"])).json()["repeat_of"] == first["id"]
    assert (await beta.http.post("/v1/uploads", content=BODY, headers=ZIP)).json()["repeat_of"] is None
    offline = await alpha.http.post("/v1/uploads?offline=true", content=BODY, headers=ZIP)
    assert offline.json()["repeat_of"] is None
    clock.move(timedelta(days=2))
    assert (await alpha.http.post("/v1/uploads", content=BODY, headers=ZIP)).json()["repeat_of"] == again["id"]
    clock.move(timedelta(days=8))
    assert (await alpha.http.post("/v1/uploads", content=BODY, headers=ZIP)).json()["repeat_of"] is None


async def test_of_the_same_body_at_the_same_moment_all_but_one_are_repeats_of_it(alpha: Caller) -> None:
    found: list[dict[str, str | None]] = []

    async def post() -> None:
        found.append((await alpha.http.post("/v1/uploads", content=BODY, headers=ZIP)).json())

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(post)
    first = [one["id"] for one in found if one["repeat_of"] is None]
    assert len(first) == 1
    assert {one["repeat_of"] for one in found} == {None, first[0]}


async def _single(caller: Caller, document: bytes, key: str | None, query: str = "") -> httpx.Response:
    headers = XML | ({"Idempotency-Key": key} if key else {})
    return await caller.http.post(f"/v1/invoices{query}", content=document, headers=headers)


async def test_a_single_post_with_a_key_is_one_invoice(
    alpha: Caller, beta: Caller, store: Store, clock: MovableClock
) -> None:
    first = await _single(alpha, b"<one/>", "k")
    again = await _single(alpha, b"<one/>", "k")
    assert (again.status_code, again.json()) == (202, first.json())
    assert (await alpha.http.get(again.headers["location"])).status_code == 200
    for other in (await _single(alpha, b"<two/>", "k"), await _single(alpha, b"<one/>", "k", "?offline=true")):
        assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")
    assert (await _single(beta, b"<two/>", "k")).status_code == 202
    assert (await _single(alpha, b"<one/>", None)).json()["id"] != first.json()["id"]
    clock.move(timedelta(days=8))
    await store.singles.forget_single_keys_for_job(before=clock() - timedelta(days=7))
    assert (await _single(alpha, b"<two/>", "k")).json()["id"] != first.json()["id"]


async def test_single_posts_with_one_key_at_the_same_moment_are_one_invoice(alpha: Caller, store: Store) -> None:
    answers: list[httpx.Response] = []

    async def post(document: bytes, key: str | None) -> None:
        answers.append(await _single(alpha, document, key))

    async with anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(post, b"<same/>", "k")
            tasks.start_soon(post, b"<other%d/>" % number, None)
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 9
    rows = await store.database.fetch_all("SELECT id FROM invoices")
    assert len(rows) == 9
    counted = await store.database.fetch_one("SELECT sum(received) AS n FROM uploads")
    assert counted == {"n": 9}


async def test_two_processes_that_take_one_key_at_the_same_moment_store_one_invoice(
    alpha: Caller, store: Store
) -> None:
    """Two groups of two processes, each with the same keys in another order, are committed at the same time."""
    from app.domain.ids import chunk_id
    from app.store.uploads.singles import NewSingle

    lane = await store.tenants.ensure_lane(alpha.tenant, form_code="FA (3)", offline_mode=False)
    moment = (await store.database.fetch_one("SELECT now() AS at") or {})["at"]
    left: dict[int, set[int]] = {}

    async def commit(number: int) -> None:
        names = ["a", "b", "c"] if number % 2 else ["c", "b", "a"]
        singles = [NewSingle("x.xml", name.encode() * 32, 4, 4 * at, name) for at, name in enumerate(names)]
        chunk = chunk_id(1_000 + number, bytes([number]) * 10)
        left[number] = await store.singles.add_singles(
            tenant_id=alpha.tenant.id, lane_id=lane, upload_id=chunk, chunk_id=chunk, blob_key=f"singles/{number}",
            singles=singles, offline_mode=False, group_sha256=bytes(32), now=moment,
        )  # fmt: skip

    async with anyio.create_task_group() as tasks:
        for number in range(4):
            tasks.start_soon(commit, number)
    assert sorted(len(one) for one in left.values()) == [0, 3, 3, 3]
    assert len(await store.database.fetch_all("SELECT id FROM invoices")) == 3
    for name in ("a", "b", "c"):
        kept = await store.singles.single_with_key(alpha.tenant.id, name)
        assert kept is not None
        assert await store.database.fetch_one("SELECT id FROM invoices WHERE id = %(id)s", {"id": kept.invoice_id})
