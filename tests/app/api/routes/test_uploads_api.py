"""Uploads over real HTTP: what is acknowledged is stored, what is refused leaves nothing behind."""

import base64
import hashlib
import tracemalloc
from collections.abc import AsyncIterator
from datetime import timedelta

import anyio
import httpx
import pytest

from app.settings import Settings
from app.store.store import Store
from tests.app.api.conftest import Caller, MovableClock, blobs_of, eventually, eventually_no_blobs

BODY = b"PK\x03\x04 not read before the acknowledgement"
ZIP = {"Content-Type": "application/zip"}


def digest_header(body: bytes) -> dict[str, str]:
    return {"Content-Digest": f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"}


async def spooled(store: Store) -> int:
    return (await store.admission.usage()).total.spooled_bytes


async def test_an_upload_is_durable_when_it_is_acknowledged(alpha: Caller, store: Store) -> None:
    answer = await alpha.http.post(
        "/v1/uploads?offline=true&flush=true&atomic=true&reference=night-7",
        content=BODY,
        headers=ZIP | digest_header(BODY),
    )
    assert answer.status_code == 202
    document = answer.json()
    assert document["state"] == "received"
    assert document["bytes"] == len(BODY)
    assert document["sha256"] == hashlib.sha256(BODY).hexdigest()
    assert document["reference"] == "night-7"
    assert answer.headers["location"] == document["links"]["self"]
    (key,) = await blobs_of(store, "uploads")
    assert await store.blobs.read(key) == BODY
    row = await store.database.fetch_one("SELECT * FROM uploads")
    assert row is not None
    assert (row["blob_key"], row["kind"], row["offline_mode"], row["flush"], row["atomic"]) == (
        key,
        "zip",
        True,
        True,
        True,
    )
    jobs = await store.database.fetch_all("SELECT task_name, args FROM procrastinate_jobs")
    assert [job["task_name"] for job in jobs] == ["intake.read_upload"]
    shown = await alpha.http.get(document["links"]["self"])
    assert shown.json() == document


@pytest.mark.parametrize(
    ("content_type", "kind"),
    [
        ("application/gzip", "tar.gz"),
        ("application/x-tar", "tar"),
        ("application/x-ndjson", "ndjson"),
        ("application/xml; charset=utf-8", "xml"),
        ("multipart/form-data; boundary=xyz", "multipart"),
    ],
)
async def test_every_documented_kind_of_body_is_taken(
    alpha: Caller, store: Store, content_type: str, kind: str
) -> None:
    answer = await alpha.http.post("/v1/uploads", content=BODY, headers={"Content-Type": content_type})
    assert answer.status_code == 202
    row = await store.database.fetch_one("SELECT kind, boundary FROM uploads")
    assert row == {"kind": kind, "boundary": "xyz" if kind == "multipart" else None}


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Content-Type": "application/pdf"}, 415, "unsupported-content-type"),
        ({"Content-Type": "multipart/form-data"}, 415, "unsupported-content-type"),
        ({}, 415, "unsupported-content-type"),
        (ZIP | {"Content-Encoding": "gzip"}, 415, "unsupported-content-coding"),
        (ZIP | digest_header(b"other"), 400, "digest-mismatch"),
        (ZIP | {"Content-Digest": "sha-256=nonsense"}, 400, "digest-mismatch"),
        (ZIP | {"Content-Digest": "sha-256=:AAAA:"}, 400, "digest-mismatch"),
        (ZIP | {"Idempotency-Key": "x" * 256}, 400, "invalid-request"),
        (ZIP | {"Authorization": "Bearer ksefd_" + "0" * 32 + "_x"}, 401, "unauthorized"),
        (ZIP | {"Authorization": "Basic abc"}, 401, "unauthorized"),
    ],
)
async def test_a_refused_upload_leaves_no_row_and_no_blob(
    alpha: Caller, store: Store, headers: dict[str, str], status: int, code: str
) -> None:
    answer = await alpha.http.post("/v1/uploads", content=BODY, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    await eventually_no_blobs(store, "uploads")
    assert await store.database.fetch_all("SELECT id FROM uploads") == []


async def test_a_digest_of_another_algorithm_is_passed_over(alpha: Caller) -> None:
    headers = ZIP | {"Content-Digest": "md5=:AAAA:, " + digest_header(BODY)["Content-Digest"]}
    assert (await alpha.http.post("/v1/uploads", content=BODY, headers=headers)).status_code == 202


@pytest.mark.parametrize("content", [b"", None])
async def test_an_empty_upload_is_refused(alpha: Caller, content: bytes | None) -> None:
    answer = await alpha.http.post("/v1/uploads", content=content, headers=ZIP)
    assert (answer.status_code, answer.json()["code"]) == (400, "empty-body")


async def test_an_empty_chunked_upload_is_refused(alpha: Caller, store: Store) -> None:
    answer = await alpha.http.post("/v1/uploads", content=_pieces(b"", 1), headers=ZIP)
    assert (answer.status_code, answer.json()["code"]) == (400, "empty-body")
    await eventually_no_blobs(store, "uploads")


async def _pieces(piece: bytes, times: int) -> AsyncIterator[bytes]:
    for _ in range(times):
        yield piece


class TestLimits:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"max_upload_bytes": 1_000_000, "spool_limit_bytes": 1_500_000})

    async def test_a_body_over_the_limit_is_refused_by_its_length(self, alpha: Caller, store: Store) -> None:
        answer = await alpha.http.post("/v1/uploads", content=b"x" * 1_000_001, headers=ZIP)
        assert (answer.status_code, answer.json()["code"]) == (413, "body-too-large")
        assert await blobs_of(store, "uploads") == set()

    async def test_a_body_of_unknown_length_is_refused_when_it_passes_the_limit(
        self, alpha: Caller, store: Store
    ) -> None:
        answer = await alpha.http.post("/v1/uploads", content=_pieces(b"x" * 65_536, 40), headers=ZIP)
        assert (answer.status_code, answer.json()["code"]) == (413, "body-too-large")
        await eventually_no_blobs(store, "uploads")

    async def test_a_body_at_the_limit_is_taken(self, alpha: Caller) -> None:
        answer = await alpha.http.post("/v1/uploads", content=b"x" * 1_000_000, headers=ZIP)
        assert answer.status_code == 202

    async def test_a_full_spool_puts_uploads_off(self, alpha: Caller, store: Store) -> None:
        assert (await alpha.http.post("/v1/uploads", content=b"x" * 900_000, headers=ZIP)).status_code == 202
        for content in (b"x" * 700_000, _pieces(b"x" * 70_000, 10)):
            answer = await alpha.http.post("/v1/uploads", content=content, headers=ZIP)
            assert (answer.status_code, answer.json()["code"]) == (503, "spool-full")
            assert int(answer.headers["retry-after"]) > 0
        assert await spooled(store) == 900_000
        assert (await alpha.http.post("/v1/uploads", content=b"x" * 500_000, headers=ZIP)).status_code == 202
        assert (await alpha.http.get("/v1/me")).json()["accepts_uploads"] is True
        assert (await alpha.http.post("/v1/uploads", content=b"x" * 100_000, headers=ZIP)).status_code == 202
        assert (await alpha.http.get("/v1/me")).json()["accepts_uploads"] is False


async def test_the_same_key_and_body_give_the_first_answer_again(alpha: Caller, store: Store) -> None:
    headers = ZIP | {"Idempotency-Key": "night-2026-11-22"}
    first = await alpha.http.post("/v1/uploads", content=BODY, headers=headers)
    again = await alpha.http.post("/v1/uploads", content=BODY, headers=headers)
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json() == first.json()
    assert len(await blobs_of(store, "uploads")) == 1
    assert await store.database.fetch_one("SELECT count(*) AS n FROM procrastinate_jobs") == {"n": 1}


async def test_a_key_used_for_another_body_is_refused(alpha: Caller, beta: Caller, store: Store) -> None:
    headers = ZIP | {"Idempotency-Key": "k"}
    await alpha.http.post("/v1/uploads", content=BODY, headers=headers)
    other = await alpha.http.post("/v1/uploads", content=BODY + b"!", headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")
    assert len(await blobs_of(store, "uploads")) == 1
    # Another tenant's keys are its own.
    assert (await beta.http.post("/v1/uploads", content=BODY + b"!", headers=headers)).status_code == 202


async def test_two_requests_with_one_key_at_the_same_moment_become_one_upload(alpha: Caller, store: Store) -> None:
    answers: list[httpx.Response] = []

    async def post() -> None:
        answers.append(await alpha.http.post("/v1/uploads", content=BODY, headers=ZIP | {"Idempotency-Key": "once"}))

    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(post)
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(await blobs_of(store, "uploads")) == 1


async def test_a_disconnect_in_the_middle_leaves_no_row_and_no_blob(
    alpha: Caller, running_api: str, store: Store
) -> None:
    port = int(running_api.rpartition(":")[2])
    stream = await anyio.connect_tcp("127.0.0.1", port)
    await stream.send(
        b"POST /v1/uploads HTTP/1.1\r\nHost: x\r\nContent-Type: application/zip\r\nContent-Length: 5000000\r\n"
        b"Authorization: Bearer " + alpha.key.encode() + b"\r\n\r\n" + b"x" * 2_500_000
    )

    async def some() -> bool:
        return _any_file(store)

    async def none() -> bool:
        return not _any_file(store)

    await eventually(some)
    await stream.aclose()
    await eventually(none)
    assert await store.database.fetch_all("SELECT id FROM uploads") == []


def _any_file(store: Store) -> bool:
    # Partial files of the local store have no key yet, so the folder itself is looked at.
    folder = store.blobs.folder
    assert folder is not None
    return any(path.is_file() for path in folder.rglob("*") if "health" not in path.parts)


async def test_uploads_are_listed_newest_first_by_pages(alpha: Caller, beta: Caller, clock: MovableClock) -> None:
    made = []
    for number in range(5):
        clock.move(timedelta(milliseconds=10))
        answer = await alpha.http.post("/v1/uploads", content=BODY + bytes([number]), headers=ZIP)
        made.append(answer.json()["id"])
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(3):
        query = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = (await alpha.http.get("/v1/uploads", params=query)).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next"]
    assert seen == made[::-1]
    assert cursor is None
    assert (await beta.http.get("/v1/uploads")).json() == {"items": [], "next": None}


@pytest.mark.parametrize("query", ["cursor=%21%21", "cursor=AAAA", "cursor=zz%00"])
async def test_a_bad_cursor_is_refused(alpha: Caller, query: str) -> None:
    answer = await alpha.http.get(f"/v1/uploads?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "bad-cursor")


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x"])
async def test_a_bad_limit_is_refused(alpha: Caller, query: str) -> None:
    answer = await alpha.http.get(f"/v1/uploads?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-request")


async def test_the_memory_does_not_grow_with_an_upload(alpha: Caller, store: Store) -> None:
    """The server runs in this process; what both sides hold of 64 MB must stay a small part of it."""
    tracemalloc.start()
    try:
        answer = await alpha.http.post("/v1/uploads", content=_pieces(b"x" * 65_536, 1024), headers=ZIP)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert answer.status_code == 202
    assert peak < 24_000_000
    assert (await alpha.http.get("/v1/me")).status_code == 200


async def test_another_tenant_does_not_find_an_upload(alpha: Caller, beta: Caller) -> None:
    links = (await alpha.http.post("/v1/uploads", content=BODY, headers=ZIP)).json()["links"]
    for address in links.values():
        assert (await alpha.http.get(address)).status_code == 200
        answer = await beta.http.get(address)
        assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
