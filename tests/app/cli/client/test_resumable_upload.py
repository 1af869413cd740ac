"""Large bodies from the command line, against the real API: broken connections, another run, files that change."""

import hashlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio.to_thread
import httpx
import pytest
import pytest_asyncio

from app.cli.actions import submit as submit_module
from app.cli.client.resumable_upload import send_in_pieces
from app.cli.client.service_client import RESUMABLE, ServiceClient, ServiceUnreachable
from app.cli.client.upload_sources import BLOCK_BYTES, Body, plan_bodies, sort_paths
from app.cli.exit_codes import OK, UsageProblem
from app.store.store import Store
from tests.app.api.conftest import Caller, clock, make_caller, running_api
from tests.app.cli.conftest import Ksefd

__all__ = ["clock", "running_api"]


@pytest_asyncio.fixture
async def caller(store: Store, running_api: str, clock: Callable[[], Any]) -> AsyncIterator[Caller]:
    made = await make_caller(store, running_api, "5260250274", clock())
    async with made.http:
        yield made


@pytest.fixture
def client(caller: Caller, running_api: str) -> Iterator[ServiceClient]:
    with ServiceClient(running_api, caller.key) as made:
        yield made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for number in range(8):
        (tmp_path / "in" / f"{number}.xml").write_bytes(bytes([65 + number]) * BLOCK_BYTES)
    return tmp_path / "in"


def in_thread(function: Callable[[], Any]) -> Any:
    return anyio.to_thread.run_sync(function)


async def content(store: Store) -> bytes:
    row = await store.database.fetch_one("SELECT id FROM uploads")
    assert row is not None
    file = store.blobs.open_joined_blocking(await store.resumable.segments_for_job(row["id"]))
    found = b""
    while piece := file.read(1 << 20):
        found += piece
    file.close()
    return found


@pytest.mark.parametrize("loose", [True, False])
async def test_a_broken_connection_costs_what_was_not_durable(
    client: ServiceClient, store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch, loose: bool
) -> None:
    (planned,) = plan_bodies(sort_paths([folder]))
    whole = b"".join(planned.pieces())
    if not loose:
        (folder.parent / "a.tar").write_bytes(whole)
        (planned,) = plan_bodies(sort_paths([folder.parent / "a.tar"]))
    assert list(planned.pieces_from(planned.size)) == []
    assert b"".join(planned.pieces_from(700)) == whole[700:]
    real = Body.pieces_from
    starts: list[int] = []

    def breaking(body: Body, start: int) -> Iterator[bytes]:
        starts.append(start)
        breaks, given = len(starts) <= 2, 0
        for piece in real(body, start):
            if breaks and given >= 600_000:
                raise httpx.WriteError("cut")
            yield piece
            given += len(piece)

    monkeypatch.setattr(Body, "pieces_from", breaking)
    pauses: list[float] = []
    sent: list[int] = []

    def send() -> dict[str, Any]:
        return send_in_pieces(client, planned, {"flush": "true"}, on_sent=sent.append, sleep=pauses.append)

    upload = await in_thread(send)
    assert (upload["state"], upload["bytes"]) == ("received", len(whole))
    assert await content(store) == whole
    # A request that comes before the service has seen the end of the broken one is refused and made again at once.
    assert len(starts) >= 3
    assert starts[0] == 0
    assert starts == sorted(starts)
    assert sent[-1] == len(whole)
    assert len(pauses) == 2
    row = await store.database.fetch_one("SELECT flush, declared_sha256 FROM uploads")
    assert row == {"flush": True, "declared_sha256": hashlib.sha256(whole).digest()}


async def _offset(caller: Caller) -> list[tuple[str, int]]:
    items = (await caller.http.get(RESUMABLE)).json()["items"]
    return [(item["id"], item["offset"]) for item in items]


async def test_another_run_of_the_command_goes_on(
    client: ServiceClient, caller: Caller, store: Store, folder: Path
) -> None:
    (body,) = plan_bodies(sort_paths([folder]))

    def interrupt(count: int) -> None:
        if count > 1_000_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await in_thread(partial(send_in_pieces, client, body, {}, on_sent=interrupt))
    with anyio.fail_after(60):
        while not (before := await _offset(caller)) or not before[0][1]:
            await anyio.sleep(0.02)
    assert 0 < before[0][1] < body.size
    counts: list[int] = []
    # Another reference, or other parameters, is another upload.
    other = await in_thread(partial(send_in_pieces, client, body, {"offline": "true"}))
    assert other["id"] != before[0][0]
    upload = await in_thread(partial(send_in_pieces, client, body, {}, on_sent=counts.append))
    assert upload["id"] == before[0][0]
    assert counts[0] == before[0][1]
    assert await _offset(caller) == []
    # What is complete is not continued: the same command again is a new upload.
    assert (await in_thread(partial(send_in_pieces, client, body, {})))["id"] != upload["id"]


async def test_an_upload_that_was_ended_meanwhile_is_begun_anew(
    client: ServiceClient, caller: Caller, store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (body,) = plan_bodies(sort_paths([folder]))
    real = ServiceClient.add_bytes
    ended: list[str] = []

    def ends_first(self: ServiceClient, location: str, *rest: Any) -> None:
        if not ended:
            ended.append(location)
            self.end_upload(location)
        real(self, location, *rest)

    monkeypatch.setattr(ServiceClient, "add_bytes", ends_first)
    upload = await in_thread(partial(send_in_pieces, client, body, {}))
    assert upload["bytes"] == body.size
    assert not ended[0].endswith(upload["id"])


async def test_files_that_become_shorter_end_the_upload(
    client: ServiceClient, caller: Caller, store: Store, folder: Path
) -> None:
    (body,) = plan_bodies(sort_paths([folder]))

    def shorten(count: int) -> None:
        if count:
            (folder / "7.xml").write_bytes(b"short")

    with pytest.raises(UsageProblem, match="shorter"):
        await in_thread(partial(send_in_pieces, client, body, {}, on_sent=shorten))
    assert await _offset(caller) == []
    assert await store.database.fetch_all("SELECT id FROM uploads") == []


async def test_a_service_that_stays_away_ends_the_tries(
    client: ServiceClient, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (body,) = plan_bodies(sort_paths([folder]))

    def away(*_: object) -> None:
        raise ServiceUnreachable("gone")

    monkeypatch.setattr(ServiceClient, "add_bytes", away)
    pauses: list[float] = []
    with pytest.raises(ServiceUnreachable):
        await in_thread(partial(send_in_pieces, client, body, {}, sleep=pauses.append))
    assert pauses == [1.0, 2.0, 4.0, 8.0, 15.0]


async def test_submit_sends_a_large_body_in_pieces(
    caller: Caller,
    running_api: str,
    store: Store,
    folder: Path,
    ksefd: Ksefd,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(submit_module, "PIECES_FROM_BYTES", 1_000_000)
    ran = await in_thread(
        partial(ksefd, "submit", str(folder), "--json", "--reference", "n 1", url=running_api, api_key=caller.key)
    )
    assert ran.code == OK, ran.err
    # The API of this test runs in the same process and writes its log to the same place.
    (line,) = (line for line in ran.out.splitlines() if line.startswith('{"uploads"'))
    (shown,) = json.loads(line)["uploads"]
    row = await store.database.fetch_one("SELECT id, segmented, reference FROM uploads")
    assert row is not None
    assert (shown["id"], row["segmented"], row["reference"]) == (f"upl_{row['id'].hex}", True, "n 1")
