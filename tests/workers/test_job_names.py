"""Lines of a worker name the tenant and the work that they are about."""

from collections.abc import AsyncIterator

import anyio
import pytest
import pytest_asyncio
import structlog

from app.store.store import Store
from app.store.tenants.tenants import Tenant
from tests.support.road import add_tenant, add_upload, invoices, read, seal_and_pack, zip_of
from workers.context import WorkerContext
from workers.job_names import JobNames, public_names

UNKNOWN = "0198f2aa-0000-7000-8000-000000000001"


@pytest_asyncio.fixture
async def tenant(store: Store) -> AsyncIterator[Tenant]:
    yield await add_tenant(store)


def _fields() -> dict[str, object]:
    return dict(structlog.contextvars.get_contextvars())


async def test_a_job_of_a_session_names_session_and_tenant_also_in_the_tasks_that_it_starts(
    context: WorkerContext, tenant: Tenant
) -> None:
    upload = await read(context, await add_upload(context.store, tenant, zip_of(invoices(2)), flush=True))
    (session,) = await seal_and_pack(context, tenant)
    seen: list[dict[str, object]] = []

    async def inner() -> None:
        seen.append(_fields())

    async with context.names.logged(context.store, session_id=session.id), anyio.create_task_group() as tasks:
        tasks.start_soon(inner)
    async with context.names.logged(context.store, upload_id=str(upload.id)):
        await inner()
    async with context.names.logged(context.store, lane_id=session.lane_id):
        await inner()
    assert seen == [
        {"tenant": tenant.public_id, "session": session.public_id},
        {"tenant": tenant.public_id, "upload": upload.public_id},
        {"tenant": tenant.public_id},
    ]
    assert _fields() == {}


async def test_a_retried_job_is_named_without_the_database(store: Store, tenant: Tenant) -> None:
    names = JobNames()
    assert names.known({"tenant_id": tenant.id}) == {}
    async with names.logged(store, tenant_id=tenant.id):
        pass
    assert names.known({"tenant_id": tenant.id}) == {"tenant": tenant.public_id}
    assert names.known({}) == {}


async def test_work_that_is_gone_is_named_without_a_tenant(store: Store) -> None:
    names = JobNames()
    async with names.logged(store, session_id=UNKNOWN):
        assert _fields() == {"session": f"ses_{UNKNOWN.replace('-', '')}"}


@pytest.mark.parametrize(
    ("argument", "field", "prefix"),
    [("session_id", "session", "ses"), ("upload_id", "upload", "upl"), ("replay_id", "replay", "rpl")],
)
def test_ids_are_written_as_users_see_them(argument: str, field: str, prefix: str) -> None:
    assert public_names({argument: UNKNOWN, "timestamp": 7}) == {field: f"{prefix}_{UNKNOWN.replace('-', '')}"}
