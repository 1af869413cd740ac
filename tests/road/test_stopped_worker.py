"""A worker process that is stopped within the PUT of a part, and goes on when another one has sent the session."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from app.checking.service import CheckService
from app.domain.states import InvoiceState, SessionState
from app.schema_files import load_schema_files
from app.settings import Settings
from app.store.store import Store
from tests.support.ksef_faults import CALLS
from tests.support.road import add_tenant, add_upload, carry, invoices, read, seal_and_pack, zip_of
from tests.support.sandbox_process import SandboxHandle
from tests.support.waiting import poll
from workers.context import WorkerContext
from workers.runtime import worker_context

pytestmark = pytest.mark.slow

NIP = "5252248481"
INVOICES = 100
_TAKE_FROM_THE_FIRST = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'first'
"""
_TIME_PASSES = """
WITH beats AS (UPDATE procrastinate_workers SET last_heartbeat = last_heartbeat - interval '1 hour')
UPDATE sessions SET owned_until = clock_timestamp()
"""


@contextmanager
def _worker(settings: Settings, ksef_url: str, name: str, log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("KSEFD_")} | {
        "KSEFD_DATA_DIR": str(settings.data_dir),
        "KSEFD_DATABASE_URL": f"{settings.database_url}&application_name={name}",
        "KSEFD_KSEF_URL": ksef_url,
        "KSEFD_POOL_WORKERS": "1",
        "KSEFD_LOG_FORMAT": "json",
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "app.cli.main", "worker"],
            cwd=Path(__file__).resolve().parents[2],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            process.wait(timeout=30)


@pytest_asyncio.fixture
async def road(settings: Settings, store: Store, sandbox: SandboxHandle) -> AsyncIterator[WorkerContext]:
    with CheckService(1, load_schema_files) as pool:
        ours = settings.model_copy(update={"ksef_url": sandbox.base_url})
        async with worker_context(ours, store, pool) as made:
            yield made


@pytest.mark.own_database
async def test_a_stopped_worker_that_goes_on_neither_writes_nor_calls_for_the_session_it_lost(
    road: WorkerContext, settings: Settings, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    tenant = await add_tenant(road.store, nip=NIP)
    upload = await read(road, await add_upload(road.store, tenant, zip_of(invoices(INVOICES, nip=NIP))))
    (session,) = await seal_and_pack(road, tenant)
    rule = _fault(sandbox, CALLS["part"] | {"page": "expired-link", "delay": 3, "times": 1})
    _fault(sandbox, {"on": "session", "hold_at": 150})

    async def state() -> SessionState:
        return (await road.store.sessions.get(tenant.id, session.id)).state

    async def in_the_put() -> bool:
        return any(one["id"] == rule and one["applied"] for one in _control(sandbox, "faults")["items"])

    async def is_processing() -> bool:
        return await state() is SessionState.PROCESSING

    log = tmp_path / "first.log"
    with _worker(settings, sandbox.base_url, "first", log) as first:
        await poll(in_the_put, seconds=60)
        first.send_signal(signal.SIGSTOP)
        await road.store.database.execute(_TAKE_FROM_THE_FIRST)
        await road.store.database.execute(_TIME_PASSES)
        with _worker(settings, sandbox.base_url, "second", tmp_path / "second.log"):
            await poll(is_processing, seconds=60)
        # Its own job for the session is gone, too, as it would be when the other worker had ended it.
        await road.store.database.execute("DELETE FROM procrastinate_jobs")
        before = await _written(road, tenant.id, session.id), _control(sandbox, "ledger")["requests"]
        first.send_signal(signal.SIGCONT)

        async def has_dropped() -> bool:
            return "session_dropped" in log.read_text()

        await poll(has_dropped, seconds=60)
        assert first.poll() is None, "it goes on with other work"
        assert (await _written(road, tenant.id, session.id), _control(sandbox, "ledger")["requests"]) == before
    reference = (await road.store.sessions.get(tenant.id, session.id)).opened_reference_number
    httpx.post(f"{sandbox.control_url}/sessions/{reference}/release").raise_for_status()
    await carry(road, [session])
    assert (await road.store.uploads.get(tenant.id, upload.id)).counts[InvoiceState.ACCEPTED] == INVOICES
    ours = [one for one in _control(sandbox, "ledger")["sessions"] if one["nip"] == NIP]
    assert [one["accepted"] for one in ours] == [INVOICES]


async def _written(context: WorkerContext, tenant_id: int, session_id: Any) -> tuple[Any, ...]:
    session = await context.store.sessions.get(tenant_id, session_id)
    history = await context.store.sessions.history(tenant_id, session_id)
    parts = await context.store.database.fetch_all("SELECT ordinal_number, uploaded_at, upload_target FROM parts")
    return session.state, session.polls, history, parts


def _fault(sandbox: SandboxHandle, rule: dict[str, Any]) -> Any:
    return httpx.post(f"{sandbox.control_url}/faults", json=rule).raise_for_status().json()["id"]


def _control(sandbox: SandboxHandle, path: str) -> dict[str, Any]:
    answer: dict[str, Any] = httpx.get(f"{sandbox.control_url}/{path}").raise_for_status().json()
    return answer
