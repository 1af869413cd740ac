"""A session has one owner: a worker that lost it without a sign writes nothing and calls nothing any more.

The other worker of these tests is a second store and a second context on the same database. A worker is stopped within a call by holding
the call's answer back; its connections are cut and the time of its ownership is over meanwhile.
"""

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta
from importlib.resources import files
from typing import Any, cast
from uuid import UUID

import anyio
import httpx
import pytest
import pytest_asyncio

from app.checking.service import CheckService
from app.clock import utc_now
from app.domain.states import InvoiceState, SessionState
from app.errors import ConfigurationError
from app.ksef.client import KsefClient
from app.ksef.errors import KsefError, LinkRefused
from app.observability import metrics
from app.settings import Settings
from app.store.sessions.ownership import OwnershipLost, OwnershipStore
from app.store.sessions.session import Session
from app.store.store import open_store
from app.store.tenants.tenants import Tenant
from app.store.uploads.uploads import Upload
from tests.support.road import add_tenant, add_upload, carry, invoices, read, seal_and_pack, zip_of
from tests.support.sandbox_process import SandboxHandle
from workers.context import RetryLater, WorkerContext
from workers.runtime import worker_context
from workers.sessions import ownership
from workers.sessions.advance import advance_session
from workers.sessions.ownership import FIRST_SECONDS, MARGIN_SECONDS, Ownership, check_longest_call

INVOICES = 5
_CUT = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'stopped'
"""
_TIME_OVER = "UPDATE sessions SET owned_until = clock_timestamp() WHERE id = %(id)s"
_NEW_OWNER = "UPDATE sessions SET owner_epoch = owner_epoch + 1, owned_until = NULL WHERE id = %(id)s"


@dataclass
class Stopped:
    """A worker that is stopped when it makes a call, until it is let go on; then the call ends with the given error or as it does."""

    context: WorkerContext
    reached: anyio.Event = field(default_factory=anyio.Event)
    let_go: anyio.Event = field(default_factory=anyio.Event)
    error: KsefError | None = None
    done_before: bool = False
    """The call had been carried out before the worker was stopped, so it is not made later."""

    def within(self, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Stop the worker in this method of its clients, before the call is made."""
        real = getattr(KsefClient, method)

        async def stopped(client: KsefClient, *arguments: Any) -> Any:
            if self.reached.is_set():
                return await real(client, *arguments)
            self.reached.set()
            await self.let_go.wait()
            if self.error is not None:
                raise self.error
            if self.done_before:
                return None
            # The request had left when the worker was stopped: what is late is the answer.
            return await real(KsefClient.guarded(client, _nothing), *arguments)

        monkeypatch.setattr(KsefClient, method, stopped)


async def _nothing(seconds: float) -> None:
    """Check nothing before a call."""


class _Requests:
    """In place of the counter of requests."""

    count = 0

    def labels(self, **labels: str) -> "_Requests":
        return self

    def inc(self) -> None:
        self.count += 1


@pytest_asyncio.fixture
async def other(settings: Settings, pool: CheckService, sandbox: SandboxHandle) -> AsyncIterator[WorkerContext]:
    """A second worker."""
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_store(settings))
        ours = settings.model_copy(update={"ksef_url": sandbox.base_url})
        yield await stack.enter_async_context(worker_context(ours, store, pool))


@pytest_asyncio.fixture
async def stopped(
    settings: Settings, pool: CheckService, sandbox: SandboxHandle, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Stopped]:
    """A worker that is stopped, with connections of its own that can be cut; it notices that and connects again."""
    monkeypatch.setattr("app.store.connection._IDLE_SECONDS", 0.0)
    async with AsyncExitStack() as stack:
        named = settings.model_copy(update={"database_url": f"{settings.database_url}&application_name=stopped"})
        store = await stack.enter_async_context(open_store(named))
        ours = named.model_copy(update={"ksef_url": sandbox.base_url})
        yield Stopped(await stack.enter_async_context(worker_context(ours, store, pool)))


async def test_a_worker_that_wakes_with_an_expired_link_does_not_send_again_what_ksef_processes(
    stopped: Stopped, other: WorkerContext, sandbox: SandboxHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant, upload, session = await _packed(other)
    _hold_processing(sandbox)
    stopped.error = LinkRefused("the link has expired", operation="PUT (storage)/batch-parts")
    stopped.context = replace(stopped.context, clock=lambda: utc_now() + timedelta(hours=2))
    stopped.within("upload_part", monkeypatch)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_woken, stopped, session)
        await stopped.reached.wait()
        await _lose(stopped, other, session)
        await advance_session(other, session.id)
        before = await _seen(other, tenant, session)
        stopped.let_go.set()
    assert before[0] is SessionState.PROCESSING
    assert await _seen(other, tenant, session) == before
    await _finish(other, sandbox, tenant, upload, [session])
    assert _ledger(sandbox)["accepted"] == INVOICES
    assert len(_ledger(sandbox)["sessions"]) == 1


async def test_a_worker_that_wakes_after_its_part_was_stored_does_not_close_again(
    stopped: Stopped, other: WorkerContext, sandbox: SandboxHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant, upload, session = await _packed(other)
    _hold_processing(sandbox)
    stopped.done_before = True
    stopped.within("upload_part", monkeypatch)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_woken, stopped, session)
        await stopped.reached.wait()
        await _lose(stopped, other, session)
        await advance_session(other, session.id)
        before = await _seen(other, tenant, session)
        stopped.let_go.set()
    assert before[0] is SessionState.PROCESSING
    assert await _seen(other, tenant, session) == before
    await _finish(other, sandbox, tenant, upload, [session])


async def test_a_worker_that_wakes_with_an_opened_session_does_not_use_it(
    stopped: Stopped, other: WorkerContext, sandbox: SandboxHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant, upload, session = await _packed(other)
    _hold_processing(sandbox)
    stopped.within("open_batch_session", monkeypatch)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_woken, stopped, session)
        await stopped.reached.wait()
        await _lose(stopped, other, session)
        await advance_session(other, session.id)
        before = await _seen(other, tenant, session)
        stopped.let_go.set()
    assert await _seen(other, tenant, session) == before
    await _finish(other, sandbox, tenant, upload, [session])
    assert sorted(one["invoices"] for one in _ledger(sandbox)["sessions"]) == [0, INVOICES]


async def test_a_worker_that_wakes_with_verdicts_writes_none_of_them(
    stopped: Stopped, other: WorkerContext, sandbox: SandboxHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant, upload, session = await _packed(other)
    await advance_session(other, session.id)
    stopped.within("download_upo", monkeypatch)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_woken, stopped, session)
        await stopped.reached.wait()
        await _lose(stopped, other, session)
        await carry(other, [session])
        before = await _seen(other, tenant, session)
        stopped.let_go.set()
    assert before[0] is SessionState.COMPLETED
    assert await _seen(other, tenant, session) == before
    assert (await other.store.uploads.get(tenant.id, upload.id)).counts[InvoiceState.ACCEPTED] == INVOICES


async def test_no_call_follows_the_loss_of_a_session_whichever_call_would_be_next(
    other: WorkerContext, sandbox: SandboxHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call needs a renewal here, and the n-th renewal of the n-th session finds a new owner."""
    sent = _Requests()
    monkeypatch.setattr(metrics, "KSEF_REQUESTS", sent)
    tenant = await add_tenant(other.store)
    await (await other.ksef.of(tenant.id)).keys.refresh()
    now, asked, last, session_id, outlast = 0.0, 0, 0, UUID(int=0), Ownership.outlast

    async def asking(owned: Ownership, seconds: float) -> None:
        nonlocal now, asked
        now, asked = now + 1_000, asked + 1
        if asked == last:
            await other.store.database.execute(_NEW_OWNER, {"id": session_id})
        await outlast(owned, seconds)

    monkeypatch.setattr(Ownership, "outlast", asking)
    hurried = replace(other, boot_time=lambda: now)
    lost = True
    while lost:
        last, asked, sent.count, lost = last + 1, 0, 0, False
        await read(other, await add_upload(other.store, tenant, zip_of(invoices(2, start=2 * last))))
        session_id = (await seal_and_pack(other, tenant))[-1].id
        while not (lost or (await other.store.sessions.get_for_job(session_id)).state.is_final):
            try:
                await advance_session(hurried, session_id)
            except RetryLater as error:
                lost = error.__cause__ is not None
        assert sent.count == asked - lost
    assert last > 4, "open, part, close, status, receipt"


async def test_an_ownership_is_renewed_before_a_call_that_it_would_not_outlast() -> None:
    now, renewals = 1_000.0, []

    class Renewing(OwnershipStore):
        def __init__(self) -> None: ...

        async def renew(self, session: Session, *, seconds: float) -> None:
            nonlocal now
            renewals.append(seconds)
            now += 2

    owned = Ownership(Renewing(), _any_session(), now, clock=lambda: now)
    await owned.outlast(FIRST_SECONDS - 1)
    assert renewals == []
    await owned.outlast(560)
    assert renewals == [560 + MARGIN_SECONDS]
    now += MARGIN_SECONDS - 3
    await owned.outlast(560)
    assert len(renewals) == 1, "counted from the start of the renewal, it lasts a second longer than the call"
    now += 1
    await owned.outlast(560)
    assert len(renewals) == 2


async def test_no_call_begins_when_a_renewal_took_as_long_as_it_gave() -> None:
    now = 0.0

    class Slow(OwnershipStore):
        def __init__(self) -> None: ...

        async def renew(self, session: Session, *, seconds: float) -> None:
            nonlocal now
            now += seconds

    with pytest.raises(OwnershipLost):
        await Ownership(Slow(), _any_session(), now, clock=lambda: now).outlast(FIRST_SECONDS)


async def test_an_epoch_is_counted_at_each_change_of_owner_and_kept_by_a_renewal(other: WorkerContext) -> None:
    _, _, session = await _packed(other)
    store = other.store.ownership
    first = await store.take(session.id, owner="a", seconds=60)
    assert first is not None
    assert await store.take(session.id, owner="b", seconds=60) is None
    await store.renew(first, seconds=60)
    await store.release(first)
    second = await store.take(session.id, owner="b", seconds=60)
    assert second is not None
    assert (first.owner_epoch, second.owner_epoch) == (1, 2)
    for lost in (store.renew(first, seconds=60), store.read(first)):
        with pytest.raises(OwnershipLost):
            await lost
    await store.release(first)
    assert await store.take(session.id, owner="c", seconds=60) is None, "the release of an owner before changes nothing"


def test_every_statement_of_an_owner_compares_the_epoch() -> None:
    """Those besides make a session, pack it (once), encrypt its key anew, count what is settled after its end, or change its owner."""
    others = {"set_session_size", "packed", "set_session_key", "count_settled", "take_session", "release_sessions_of"}
    found = {}
    for path in files("app.store").joinpath("sql").iterdir():
        for name, body in re.findall(
            r"^-- name: (\w+)\n(.*?)(?=^-- name:|\Z)", path.read_text(), re.MULTILINE | re.DOTALL
        ):
            if "UPDATE sessions" in body and name not in others:
                found[name] = "owner_epoch = %(epoch)s" in body
    assert len(found) > 8
    assert [name for name, compares in found.items() if not compares] == []


def test_a_part_that_takes_longer_than_any_ownership_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    check_longest_call(100_000_000)
    monkeypatch.setattr(ownership, "LONGEST_SECONDS", 500.0)
    with pytest.raises(ConfigurationError, match="KSEFD_PART_BYTES"):
        check_longest_call(100_000_000)
    check_longest_call(50_000_000)


async def _packed(context: WorkerContext) -> tuple[Tenant, Upload, Session]:
    tenant = await add_tenant(context.store)
    upload = await read(context, await add_upload(context.store, tenant, zip_of(invoices(INVOICES))))
    (session,) = await seal_and_pack(context, tenant)
    return tenant, upload, session


async def _woken(stopped: Stopped, session: Session) -> None:
    with pytest.raises(RetryLater, match="another worker has taken the session"):
        await advance_session(stopped.context, session.id)


async def _lose(stopped: Stopped, other: WorkerContext, session: Session) -> None:
    """Cut the connections of the stopped worker, and let the time of its ownership go by."""
    await other.store.database.execute(_CUT)
    await other.store.database.execute(_TIME_OVER, {"id": session.id})


async def _seen(context: WorkerContext, tenant: Tenant, session: Session) -> tuple[Any, ...]:
    """Everything that an owner writes."""
    row = await context.store.sessions.get(tenant.id, session.id)
    history = await context.store.sessions.history(tenant.id, session.id)
    rows = await context.store.database.fetch_all(
        "SELECT id, state, session_id, ksef_number, attempts, findings FROM invoices ORDER BY id"
    )
    parts = await context.store.database.fetch_all("SELECT ordinal_number, uploaded_at, upload_target FROM parts")
    events = await context.store.database.fetch_all("SELECT id FROM events ORDER BY id")
    return row.state, row, history, rows, parts, events


def _hold_processing(sandbox: SandboxHandle) -> None:
    """Let sessions stay in processing."""
    rule = {"on": "session", "hold_at": 150, "hold_seconds": 100_000}
    httpx.post(f"{sandbox.control_url}/faults", json=rule).raise_for_status()


async def _finish(
    context: WorkerContext, sandbox: SandboxHandle, tenant: Tenant, upload: Upload, sessions: list[Session]
) -> None:
    """Let KSeF end the processing; every invoice is accepted, from this one session."""
    httpx.post(f"{sandbox.control_url}/clock", json={"advance_seconds": 200_000}).raise_for_status()
    await carry(replace(context, clock=lambda: utc_now() + timedelta(seconds=200_000)), sessions)
    assert (await context.store.uploads.get(tenant.id, upload.id)).counts[InvoiceState.ACCEPTED] == INVOICES
    assert len(await context.store.sessions.page(tenant.id, before=None, state=None, limit=10)) == 1


def _ledger(sandbox: SandboxHandle) -> dict[str, Any]:
    answer: dict[str, Any] = httpx.get(f"{sandbox.control_url}/ledger").raise_for_status().json()
    return answer


def _any_session() -> Session:
    return cast("Session", object())
