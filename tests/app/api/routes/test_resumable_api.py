"""Resumable uploads over real HTTP: what was acknowledged stays, what breaks off goes on, and nobody sees another's."""

import base64
import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta

import anyio
import httpx
import pytest

from app.api.intake import segments as segments_module
from app.api.intake.segments import JOIN_SEGMENTS, SMALL_BYTES, to_join
from app.store.blob_files import Segment
from app.store.store import Store
from app.store.uploads import resumable as resumable_module
from tests.app.api.conftest import Caller, MovableClock, blobs_of, eventually, eventually_no_blobs
from tests.app.api.tus_client import ADDRESS, PIECE, TUS, ZIP, TusClient, metadata

BODY = bytes(range(256)) * 40


def upload_id(location: str) -> str:
    return location.rpartition("/")[2]


async def body_of(store: Store, location: str) -> bytes:
    """Read the segments as intake does."""
    from app.domain.ids import parse_public_id

    parts = await store.resumable.segments_for_job(parse_public_id("upl", upload_id(location)))
    file = store.blobs.open_joined_blocking(parts)
    found = b""
    while piece := file.read(1 << 20):
        found += piece
    file.close()
    return found


async def test_the_service_says_what_of_tus_it_speaks_without_a_key(running_api: str) -> None:
    async with httpx.AsyncClient(base_url=running_api, trust_env=False) as http:
        answer = await http.request("OPTIONS", ADDRESS)
    assert answer.status_code == 204
    assert answer.headers["tus-version"] == "1.0.0"
    assert set(answer.headers["tus-extension"].split(",")) == {
        "creation", "creation-with-upload", "creation-defer-length", "expiration", "checksum", "termination",
    }  # fmt: skip
    assert "sha1" in answer.headers["tus-checksum-algorithm"].split(",")
    assert int(answer.headers["tus-max-size"]) > 0


async def test_pieces_become_an_upload_with_the_same_id_and_its_job(alpha: Caller, store: Store) -> None:
    tus = TusClient(alpha.http)
    announced = metadata(filetype="application/zip", reference="night 7", offline="true", flush="1", atomic="true")
    created = await tus.create(len(BODY), announced)
    assert (created.status_code, created.content) == (201, b"")
    assert created.headers["tus-resumable"] == "1.0.0"
    assert created.headers["upload-offset"] == "0"
    assert created.headers["upload-expires"].endswith("GMT")
    first = await tus.patch(0, BODY[:5000])
    assert (first.status_code, first.headers["upload-offset"]) == (204, "5000")
    assert "link" not in first.headers
    asked = await tus.head()
    assert (asked.headers["upload-offset"], asked.headers["upload-length"]) == ("5000", str(len(BODY)))
    assert asked.headers["cache-control"] == "no-store"
    assert asked.headers["upload-metadata"] == announced["Upload-Metadata"]
    last = await tus.patch(5000, BODY[5000:])
    assert (last.status_code, last.headers["upload-offset"]) == (204, str(len(BODY)))
    own = f"/v1/uploads/{upload_id(tus.location)}"
    assert last.headers["link"] == f'<{own}>; rel="describedby"'

    document = (await alpha.http.get(own)).json()
    assert (document["state"], document["bytes"], document["reference"]) == ("received", len(BODY), "night 7")
    assert document["sha256"] is None
    row = await store.database.fetch_one("SELECT offline_mode, flush, atomic, segmented FROM uploads")
    assert row == {"offline_mode": True, "flush": True, "atomic": True, "segmented": True}
    jobs = await store.database.fetch_all("SELECT task_name, args FROM procrastinate_jobs")
    assert [job["task_name"] for job in jobs] == ["intake.read_upload"]
    assert await body_of(store, tus.location) == BODY
    assert await store.uploads.unknown_blobs_for_job(sorted(await blobs_of(store, "uploads"))) == []
    assert await store.database.fetch_all("SELECT id FROM resumable_uploads") == []
    # A client whose last answer was lost asks, and may send its last, empty request again.
    assert await tus.offset() == len(BODY)
    assert (await tus.patch(len(BODY), b"")).status_code == 204
    assert (await tus.patch(0, BODY)).json()["code"] == "wrong-offset"
    assert (await tus.delete()).status_code == 409
    assert (await alpha.http.get(tus.location)).json()["links"]["upload"] == own


async def test_an_unfinished_upload_is_no_upload_yet(alpha: Caller) -> None:
    tus = TusClient(alpha.http)
    await tus.create(len(BODY))
    await tus.patch(0, BODY[:10])
    own = f"/v1/uploads/{upload_id(tus.location)}"
    answer = await alpha.http.get(own)
    assert (answer.status_code, answer.json()["code"]) == (409, "upload-not-finished")
    assert tus.location in answer.json()["detail"]
    assert (await alpha.http.get("/v1/uploads")).json()["items"] == []
    (shown,) = (await alpha.http.get(ADDRESS)).json()["items"]
    assert (shown["offset"], shown["bytes"], shown["filename"], shown["complete"]) == (
        10,
        len(BODY),
        "night.zip",
        False,
    )
    assert (await alpha.http.get(tus.location)).json() == shown


async def test_bytes_may_come_with_the_announcement(alpha: Caller, store: Store) -> None:
    tus = TusClient(alpha.http)
    answer = await tus.create(len(BODY), ZIP | PIECE, content=BODY[:100])
    assert (answer.status_code, answer.headers["upload-offset"]) == (201, "100")
    assert (await tus.patch(100, BODY[100:])).status_code == 204
    assert await body_of(store, tus.location) == BODY
    whole = await tus.create(len(BODY), ZIP | PIECE, content=BODY)
    assert whole.headers["upload-offset"] == str(len(BODY))
    assert "link" in whole.headers


async def test_the_length_may_be_told_later(alpha: Caller, store: Store) -> None:
    tus = TusClient(alpha.http)
    assert (await tus.create(None)).headers["upload-defer-length"] == "1"
    await tus.patch(0, BODY[:100])
    assert (await tus.head()).headers["upload-defer-length"] == "1"
    too_short = await tus.patch(100, b"", Upload_Length="50")
    assert too_short.status_code == 400
    await tus.patch(100, BODY[100:])
    other = await tus.patch(len(BODY), b"", Upload_Length=str(len(BODY)))
    assert other.status_code == 204
    assert "link" in other.headers
    assert await body_of(store, tus.location) == BODY


async def test_a_length_that_was_told_cannot_be_changed(alpha: Caller) -> None:
    tus = TusClient(alpha.http)
    await tus.create(100)
    assert (await tus.patch(0, b"x" * 10, Upload_Length="99")).status_code == 400
    assert (await tus.patch(0, b"x" * 10, Upload_Length="100")).status_code == 204


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Upload-Length": "0"}, 400, "empty-body"),
        ({"Upload-Length": "-1"}, 400, None),
        ({"Upload-Length": "20000000001"}, 413, "body-too-large"),
        ({}, 400, "bad-request"),
        ({"Upload-Length": "5", "Upload-Defer-Length": "1"}, 400, "bad-request"),
        ({"Upload-Defer-Length": "2"}, 400, "bad-request"),
        ({"Upload-Length": "5", "Upload-Concat": "partial"}, 400, "bad-request"),
        ({"Upload-Length": "5", "Upload-Metadata": "filetype !!"}, 400, "bad-request"),
        ({"Upload-Length": "5", "Upload-Metadata": "a,a"}, 400, "bad-request"),
        ({"Upload-Length": "5", "Upload-Metadata": ""}, 415, "unsupported-content-type"),
        ({"Upload-Length": "5"} | metadata(filetype="application/pdf"), 415, "unsupported-content-type"),
        ({"Upload-Length": "5"} | metadata(filetype="multipart/form-data"), 415, "unsupported-content-type"),
        ({"Upload-Length": "5"} | metadata(filetype="application/zip", sha256="ab"), 400, "digest-mismatch"),
        ({"Upload-Length": "5"} | metadata(filetype="application/zip", flush="maybe"), 400, "bad-request"),
        ({"Upload-Length": "5"} | metadata(filetype="application/zip", reference="a\0"), 400, "bad-request"),
    ],
)
async def test_a_wrong_announcement_is_refused_and_leaves_nothing(
    alpha: Caller, store: Store, headers: dict[str, str], status: int, code: str | None
) -> None:
    answer = await alpha.http.post(ADDRESS, headers=TUS | ZIP | headers)
    assert answer.status_code == status
    assert code is None or answer.json()["code"] == code
    assert answer.headers["tus-resumable"] == "1.0.0"
    assert await store.database.fetch_all("SELECT id FROM resumable_uploads") == []


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        ({"filename": "a.tar.gz"}, "tar.gz"),
        ({"filename": "a.ndjson", "filetype": "application/octet-stream"}, "ndjson"),
        ({"name": "a.ZIP", "type": "binary/octet-stream"}, "zip"),
        ({"contentType": "multipart/form-data; boundary=xyz"}, "multipart"),
    ],
)
async def test_the_kind_is_told_by_content_type_or_name(
    alpha: Caller, store: Store, names: dict[str, str], kind: str
) -> None:
    assert (await TusClient(alpha.http).create(5, metadata(**names))).status_code == 201
    row = await store.database.fetch_one("SELECT kind, boundary FROM resumable_uploads")
    assert row == {"kind": kind, "boundary": "xyz" if kind == "multipart" else None}


async def test_another_version_of_tus_is_refused_with_ours(alpha: Caller) -> None:
    for headers in ({}, {"Tus-Resumable": "0.2.2"}):
        answer = await alpha.http.post(ADDRESS, headers=ZIP | {"Upload-Length": "5"} | headers)
        assert (answer.status_code, answer.json()["code"]) == (412, "unsupported-tus-version")
        assert (answer.headers["tus-version"], answer.headers["tus-resumable"]) == ("1.0.0", "1.0.0")


async def test_a_wrong_offset_or_too_many_bytes_change_nothing(alpha: Caller, store: Store) -> None:
    tus = TusClient(alpha.http)
    await tus.create(100)
    await tus.patch(0, b"a" * 40)
    wrong = await tus.patch(10, b"b" * 10)
    assert (wrong.status_code, wrong.json()["code"]) == (409, "wrong-offset")
    assert "40 bytes" in wrong.json()["detail"]
    assert (await tus.patch(40, b"b" * 61)).status_code == 413
    assert (await tus.patch(40, _slowly(b"b" * 30, 3))).status_code == 413
    other_type = await alpha.http.patch(tus.location, content=b"b", headers=TUS | {"Upload-Offset": "40"})
    assert other_type.status_code == 415
    coded = await tus.patch(40, b"b", Content_Encoding="gzip")
    assert coded.status_code == 415
    missing = await alpha.http.patch(tus.location, content=b"b", headers=PIECE)
    assert missing.status_code == 400
    assert await tus.offset() == 40
    assert await body_of(store, tus.location) == b"a" * 40
    assert len(await blobs_of(store, "uploads")) == 1


async def _slowly(piece: bytes, times: int, pause: anyio.Event | None = None) -> AsyncIterator[bytes]:
    for number in range(times):
        if pause is not None and number:
            await pause.wait()
        yield piece


@pytest.mark.parametrize("name", ["sha1", "sha256", "sha512"])
async def test_a_piece_with_a_wrong_checksum_is_not_kept(alpha: Caller, store: Store, name: str) -> None:
    tus = TusClient(alpha.http)
    await tus.create(len(BODY))
    right = f"{name} {base64.b64encode(hashlib.new(name, BODY[:100]).digest()).decode()}"
    wrong = await tus.patch(0, b"x" * 100, Upload_Checksum=right)
    assert (wrong.status_code, wrong.json()["code"]) == (460, "checksum-mismatch")
    assert await tus.offset() == 0
    await eventually_no_blobs(store, "uploads")
    assert (await tus.patch(0, BODY[:100], Upload_Checksum=right)).status_code == 204
    assert (await tus.patch(100, b"x", Upload_Checksum="md5 AAAA")).status_code == 400
    assert (await tus.patch(100, b"x", Upload_Checksum=f"{name} AAAA")).status_code == 400
    digest = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
    assert (await tus.patch(100, b"x", Content_Digest=f"sha-256=:{digest}:")).status_code == 460


async def _broken_request(running_api: str, key: str, location: str, head: str, content: bytes) -> None:
    """Send part of a request and let the connection go."""
    stream = await anyio.connect_tcp("127.0.0.1", int(running_api.rpartition(":")[2]))
    async with stream:
        await stream.send(
            f"PATCH {location} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nTus-Resumable: 1.0.0\r\n"
            f"Content-Type: application/offset+octet-stream\r\nContent-Length: 9000\r\n{head}\r\n".encode()
            + content
        )
        await anyio.sleep(0.05)


async def test_what_came_before_a_connection_broke_is_kept(alpha: Caller, running_api: str, store: Store) -> None:
    tus = TusClient(alpha.http)
    await tus.create(len(BODY))
    await _broken_request(running_api, alpha.key, tus.location, "Upload-Offset: 0\r\n", BODY[:3000])

    async def kept() -> bool:
        return await tus.offset() == 3000

    await eventually(kept)
    assert (await tus.patch(3000, BODY[3000:])).status_code == 204
    assert await body_of(store, tus.location) == BODY


async def test_what_came_of_a_request_with_a_checksum_that_broke_off_is_not_kept(
    alpha: Caller, running_api: str, store: Store
) -> None:
    tus = TusClient(alpha.http)
    await tus.create(len(BODY))
    checksum = base64.b64encode(hashlib.sha1(BODY[:9000], usedforsecurity=False).digest()).decode()
    head = f"Upload-Offset: 0\r\nUpload-Checksum: sha1 {checksum}\r\n"
    await _broken_request(running_api, alpha.key, tus.location, head, BODY[:3000])
    await eventually_no_blobs(store, "uploads")
    assert await tus.offset() == 0


async def test_a_long_request_is_committed_bit_by_bit(
    alpha: Caller, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments_module, "SEGMENT_BYTES", 2_000)
    tus = TusClient(alpha.http)
    go_on = anyio.Event()
    await tus.create(9_000)
    answers: list[httpx.Response] = []

    async def pieces() -> AsyncIterator[bytes]:
        yield b"a" * 3_000
        yield b"b" * 3_000
        await go_on.wait()
        yield b"c" * 3_000

    async def send() -> None:
        answers.append(await tus.patch(0, pieces()))

    async def some() -> bool:
        return await tus.offset() >= 3_000

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send)
        await eventually(some)
        go_on.set()
    assert answers[0].status_code == 204
    assert await body_of(store, tus.location) == b"a" * 3_000 + b"b" * 3_000 + b"c" * 3_000


async def test_a_new_request_takes_over_from_one_that_hangs(alpha: Caller, store: Store) -> None:
    tus = TusClient(alpha.http)
    await tus.create(len(BODY))
    go_on = anyio.Event()
    hung: list[httpx.Response] = []

    async def hang() -> None:
        hung.append(await tus.patch(0, _slowly(b"old", 2, go_on)))

    async def is_writer() -> bool:
        row = await store.database.fetch_one("SELECT writer FROM resumable_uploads")
        return row is not None and row["writer"] is not None

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hang)
        await eventually(is_writer)
        assert (await tus.patch(0, BODY[:100])).status_code == 204
        go_on.set()
    assert (hung[0].status_code, hung[0].json()["code"]) == (409, "wrong-offset")
    assert await tus.offset() == 100
    assert await body_of(store, tus.location) == BODY[:100]
    assert len(await blobs_of(store, "uploads")) == 1


async def test_of_many_requests_at_one_offset_exactly_one_goes_on(alpha: Caller, store: Store) -> None:
    tus = TusClient(alpha.http)
    await tus.create(6)
    answers: list[int] = []

    async def send(letter: bytes) -> None:
        answers.append((await tus.patch(0, letter * 6)).status_code)

    async with anyio.create_task_group() as tasks:
        for letter in (b"a", b"b", b"c", b"d"):
            tasks.start_soon(send, letter)
    assert sorted(answers) == [204, 409, 409, 409]
    assert await body_of(store, tus.location) in {letter * 6 for letter in (b"a", b"b", b"c", b"d")}
    assert len(await blobs_of(store, "uploads")) == 1


async def test_another_tenant_neither_sees_nor_touches_an_upload(alpha: Caller, beta: Caller) -> None:
    tus, stranger = TusClient(alpha.http), TusClient(beta.http)
    await tus.create(len(BODY), ZIP | {"Idempotency-Key": "k"})
    stranger.location = tus.location
    for answer in (
        await stranger.head(),
        await stranger.patch(0, b"x"),
        await stranger.delete(),
        await beta.http.get(tus.location),
        await beta.http.get(f"/v1/uploads/{upload_id(tus.location)}"),
    ):
        assert answer.status_code == 404
    assert (await beta.http.get(ADDRESS)).json()["items"] == []
    assert await tus.offset() == 0
    own = await stranger.create(len(BODY), ZIP | {"Idempotency-Key": "k"})
    assert own.status_code == 201
    assert stranger.location != tus.location
    async with httpx.AsyncClient(base_url=str(alpha.http.base_url), trust_env=False) as nobody:
        assert (await nobody.head(tus.location, headers=TUS)).status_code == 401


async def test_an_upload_can_be_ended(alpha: Caller, store: Store) -> None:
    tus = TusClient(alpha.http)
    await tus.create(len(BODY))
    await tus.patch(0, BODY[:100])
    assert (await tus.delete()).status_code == 204
    for answer in (await tus.head(), await tus.patch(100, b"x"), await tus.delete()):
        assert answer.status_code == 404
        assert "upload-offset" not in answer.headers
    rows = await store.database.fetch_all("SELECT task_name, args FROM procrastinate_jobs")
    assert [(row["task_name"], set(row["args"]["keys"])) for row in rows] == [
        ("maintenance.drop_blobs", await blobs_of(store, "uploads"))
    ]


async def test_methods_may_be_overridden(alpha: Caller) -> None:
    tus = TusClient(alpha.http)
    await tus.create(len(BODY))
    override = {"X-HTTP-Method-Override": "PATCH", "Upload-Offset": "0"}
    added = await alpha.http.post(tus.location, content=BODY[:7], headers=PIECE | override)
    assert (added.status_code, added.headers["upload-offset"]) == (204, "7")
    ended = await alpha.http.post(tus.location, headers=TUS | {"X-HTTP-Method-Override": "DELETE"})
    assert ended.status_code == 204
    assert (await alpha.http.post(tus.location, headers=TUS)).status_code == 405


async def test_one_key_announces_one_upload(alpha: Caller, store: Store) -> None:
    tus = TusClient(alpha.http)
    key = {"Idempotency-Key": "night"}
    await tus.create(len(BODY), ZIP | key)
    first = tus.location
    await tus.patch(0, BODY[:100])
    again = await tus.create(len(BODY), ZIP | key)
    assert (again.status_code, again.headers["upload-offset"], tus.location) == (201, "100", first)
    for other in (
        await tus.create(len(BODY) + 1, ZIP | key),
        await tus.create(len(BODY), ZIP | key, query="?offline=true"),
        await tus.create(len(BODY), metadata(filetype="application/x-tar") | key),
        await tus.create(len(BODY), metadata(filetype="application/zip", sha256="0" * 64) | key),
        await alpha.http.post("/v1/uploads", content=BODY, headers={"Content-Type": "application/zip"} | key),
    ):
        assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")
    tus.location = first
    await tus.patch(100, BODY[100:])
    finished = await tus.create(len(BODY), ZIP | key)
    assert (finished.headers["upload-offset"], tus.location) == (str(len(BODY)), first)
    assert "link" in finished.headers
    # Its hash is not known yet, so nobody can tell whether this is the same body.
    unknown = await alpha.http.post("/v1/uploads", content=BODY, headers={"Content-Type": "application/zip"} | key)
    assert (unknown.status_code, unknown.json()["code"]) == (503, "try-later")
    assert len(await store.database.fetch_all("SELECT id FROM uploads")) == 1


async def test_many_announcements_with_one_key_at_the_same_moment_are_one_upload(alpha: Caller) -> None:
    places: list[str] = []

    async def announce() -> None:
        tus = TusClient(alpha.http)
        await tus.create(5, ZIP | {"Idempotency-Key": "once"})
        places.append(tus.location)

    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(announce)
    assert len(set(places)) == 1


async def test_a_tenant_has_so_many_unfinished_uploads_at_most(
    alpha: Caller, beta: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resumable_module, "MAX_UNFINISHED", 2)
    tus = TusClient(alpha.http)
    for _ in range(2):
        assert (await tus.create(5)).status_code == 201
    refused = await tus.create(5)
    assert (refused.status_code, refused.json()["code"]) == (429, "too-many-unfinished-uploads")
    assert int(refused.headers["retry-after"]) > 0
    assert (await TusClient(beta.http).create(5)).status_code == 201
    await tus.delete()
    assert (await tus.create(5)).status_code == 201


async def test_an_abandoned_upload_expires_a_day_after_its_last_byte(
    alpha: Caller, store: Store, clock: MovableClock
) -> None:
    old, young = TusClient(alpha.http), TusClient(alpha.http)
    await old.create(100)
    await young.create(100)
    await old.patch(0, b"x" * 10)
    clock.move(timedelta(hours=23))
    await young.patch(0, b"x" * 10)
    clock.move(timedelta(hours=2))
    assert await store.resumable.expire_for_job(now=clock()) == 1
    assert (await old.head()).status_code == 404
    assert await young.offset() == 10
    (job,) = await store.database.fetch_all("SELECT args FROM procrastinate_jobs")
    dropped = job["args"]["keys"]
    assert await store.uploads.unknown_blobs_for_job(sorted(await blobs_of(store, "uploads"))) == dropped
    assert await store.resumable.expire_for_job(now=clock()) == 0


async def test_tiny_pieces_are_joined(alpha: Caller, store: Store) -> None:
    tus = TusClient(alpha.http)
    body = BODY[:700]
    await tus.create(len(body) + 1)
    for start in range(0, len(body), 7):
        assert (await tus.patch(start, body[start : start + 7])).status_code == 204
    parts = await store.database.fetch_one("SELECT count(*) AS n FROM upload_segments")
    assert parts is not None
    assert parts["n"] <= JOIN_SEGMENTS
    assert await body_of(store, tus.location) == body
    known = {row["blob_key"] for row in await store.database.fetch_all("SELECT blob_key FROM upload_segments")}
    dropped = {
        key
        for row in await store.database.fetch_all("SELECT args FROM procrastinate_jobs")
        for key in row["args"]["keys"]
    }
    assert await blobs_of(store, "uploads") == known | dropped
    assert not known & dropped


@pytest.mark.parametrize("piece", [1, 1_000, 40_000, 600_000])
def test_joining_bounds_the_number_of_segments_and_moves_each_byte_a_few_times(piece: int) -> None:
    segments: list[Segment] = []
    moved = total = 0
    for number in range(2_000):
        segments.append(Segment(total, piece, str(number)))
        total += piece
        while (group := to_join(segments[-4 * JOIN_SEGMENTS :])) is not None:
            size = sum(one.size for one in group)
            moved += size
            segments[-len(group) :] = [Segment(group[0].start, size, "joined")]
    assert [one.start for one in segments[1:]] == [one.start + one.size for one in segments[:-1]]
    assert sum(one.size for one in segments) == total
    assert len(segments) <= total // SMALL_BYTES + 4 * JOIN_SEGMENTS
    # Below 32 KiB a segment counts as one of the smallest, however often it was joined.
    assert moved <= 3 * total + 2_000 * (1 << 15) / JOIN_SEGMENTS
