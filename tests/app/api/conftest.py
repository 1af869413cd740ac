"""A running API: the real application under uvicorn on a real socket, on a real database, with a client that sends bytes."""

import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import anyio
import httpx
import pytest
import pytest_asyncio

from app.api.serve import make_server
from app.settings import Settings
from app.store.store import Store
from app.store.tenants.tenants import Tenant

START = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)


class MovableClock:
    """A clock that stands until a test moves it."""

    def __init__(self) -> None:
        self.moment = START

    def __call__(self) -> datetime:
        return self.moment

    def move(self, step: timedelta) -> None:
        self.moment += step


@dataclass(frozen=True)
class Caller:
    """A tenant, its key, and a client that uses it."""

    tenant: Tenant
    key: str
    http: httpx.AsyncClient


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
def running_api(settings: Settings, clock: MovableClock) -> Iterator[str]:
    """The address of the API, which runs in a thread with an event loop of its own."""
    listening = threading.Event()
    addresses: list[str] = []

    def ready(url: str) -> None:
        addresses.append(url)
        listening.set()

    server = make_server(settings, "127.0.0.1", 0, ready=ready, clock=clock)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    assert listening.wait(20), "the API did not start"
    yield addresses[0]
    server.should_exit = True
    thread.join(30)
    assert not thread.is_alive()


async def make_caller(store: Store, url: str, nip: str, now: datetime) -> Caller:
    tenant = await store.tenants.add(
        nip=nip,
        name=f"Tenant {nip}",
        credential_kind="ksef_token",
        credential={"token": "t"},
        compression="zip",
        now=now,
    )
    _, key = await store.tenants.add_key(tenant.id, label="test", now=now)
    client = httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=120, trust_env=False)
    return Caller(tenant, key, client)


@pytest_asyncio.fixture
async def alpha(store: Store, running_api: str, clock: MovableClock) -> AsyncIterator[Caller]:
    """A tenant of the service."""
    caller = await make_caller(store, running_api, "5260250274", clock())
    async with caller.http:
        yield caller


@pytest_asyncio.fixture
async def beta(store: Store, running_api: str, clock: MovableClock) -> AsyncIterator[Caller]:
    """Another tenant, who must not see anything of the first."""
    caller = await make_caller(store, running_api, "7010002137", clock())
    async with caller.http:
        yield caller


async def blobs_of(store: Store, prefix: str) -> set[str]:
    """Give the keys below a prefix."""
    return {key async for key in store.blobs.list_keys(prefix)}


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for what another process or thread does, with a deadline."""
    with anyio.fail_after(60):
        while not await condition():
            await anyio.sleep(0.02)


async def eventually_no_blobs(store: Store, prefix: str) -> None:
    """Wait for a clean-up that runs on the server's side."""

    async def none() -> bool:
        return not await blobs_of(store, prefix)

    await eventually(none)
