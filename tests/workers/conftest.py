"""Fixtures for the stages: one pool for all tests of a run, a sandbox process, a context on a fresh database."""

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import pytest_asyncio

from app.checking.service import CheckService
from app.schema_files import load_schema_files
from app.settings import Settings
from app.store.store import Store
from tests.support.sandbox_process import SandboxHandle, running_sandbox
from tests.support.timed_road import BothClocks, Road
from workers.context import WorkerContext
from workers.runtime import worker_context
from workers.sessions import dispatch


@pytest.fixture(scope="session")
def pool() -> Iterator[CheckService]:
    with CheckService(1, load_schema_files) as started:
        yield started


@pytest.fixture(scope="session")
def sandbox_process() -> Iterator[SandboxHandle]:
    with running_sandbox() as handle:
        yield handle


@pytest.fixture
def sandbox(sandbox_process: SandboxHandle) -> SandboxHandle:
    """A sandbox that remembers nothing of earlier tests."""
    httpx.post(f"{sandbox_process.control_url}/reset").raise_for_status()
    return sandbox_process


@pytest_asyncio.fixture
async def context(settings: Settings, store: Store, pool: CheckService) -> AsyncIterator[WorkerContext]:
    """The stages' world, with nobody at KSeF's address."""
    async with worker_context(settings, store, pool) as made:
        yield made


@pytest_asyncio.fixture
async def road(
    settings: Settings, store: Store, pool: CheckService, sandbox: SandboxHandle
) -> AsyncIterator[WorkerContext]:
    """The stages' world with the sandbox as KSeF."""
    async with worker_context(settings.model_copy(update={"ksef_url": sandbox.base_url}), store, pool) as made:
        yield made


@pytest_asyncio.fixture
async def timed_road(
    settings: Settings, store: Store, pool: CheckService, sandbox: SandboxHandle, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Road]:
    """The stages against the sandbox, both with clocks that the test moves."""
    monkeypatch.setattr(dispatch, "_PART_PAUSE_SECONDS", 0.0)
    httpx.post(f"{sandbox.control_url}/clock", json={"reset": True}).raise_for_status()
    clocks = BothClocks(sandbox.control_url)
    used = settings.model_copy(update={"ksef_url": sandbox.base_url})
    async with worker_context(used, store, pool, clocks) as context:
        yield Road(context, clocks, sandbox)
    httpx.post(f"{sandbox.control_url}/clock", json={"reset": True}).raise_for_status()
