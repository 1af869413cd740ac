"""Attachments on the way of an invoice: asked of the sandbox, applied at intake, and asked again when KSeF refuses one."""

import os
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest

from app.domain.outage import KsefState, Override
from app.domain.states import InvoiceState
from app.ksef.client import KsefClient
from app.ksef.errors import PermissionMissing
from app.ksef.limits import ContextLimits, RateLimits
from app.store.uploads.invoices import FIRST, InvoiceFilter
from tests.support.road import NIP, add_tenant, add_upload, carry, invoices, read, seal_and_pack, zip_of
from tests.support.sandbox_process import SandboxHandle
from workers.context import KsefClients, WorkerContext
from workers.ksef.permissions import ask_permissions, ask_permissions_of

ATTACHMENT = (
    b"<Zalacznik><BlokDanych><MetaDane><ZKlucz>a</ZKlucz><ZWartosc>b</ZWartosc></MetaDane></BlokDanych></Zalacznik>"
)


def _with_attachment(number: int) -> bytes:
    (made,) = invoices(1, start=number)
    end = b"</Faktura>"
    assert made.xml.rstrip().endswith(end)
    return zip_of([replace(made, xml=made.xml.rstrip()[: -len(end)] + ATTACHMENT + end)])


def _allow(sandbox: SandboxHandle, allowed: bool) -> None:
    httpx.post(f"{sandbox.control_url}/attachments", json={"nip": NIP, "allowed": allowed}).raise_for_status()


async def _verdicts(context: WorkerContext, tenant_id: int) -> list[tuple[str, list[str]]]:
    page = await context.store.invoices.page(tenant_id, InvoiceFilter(), after=FIRST, limit=50)
    return [(row["state"], [finding["rule"] for finding in row["findings"]]) for _, row in page]


async def test_what_ksef_says_of_attachments_is_applied_to_the_next_upload(
    road: WorkerContext, sandbox: SandboxHandle
) -> None:
    tenant = await add_tenant(road.store)
    # Nothing is known: it is let through, and KSeF's refusal has it asked.
    await read(road, await add_upload(road.store, tenant, _with_attachment(0)))
    await carry(road, await seal_and_pack(road, tenant))
    assert (await _verdicts(road, tenant.id))[0] == (InvoiceState.REJECTED.value, ["ksef-415"])
    assert await road.store.permissions.due_for_job(now=road.clock(), limit=10) == [tenant.id]
    await ask_permissions(road)
    assert (await road.store.permissions.of(tenant.id)).attachments_at(road.clock()) is False
    # Now it is known.
    await read(road, await add_upload(road.store, tenant, _with_attachment(1)))
    assert (await _verdicts(road, tenant.id))[1] == (InvoiceState.INVALID.value, ["attachment-not-allowed"])
    # The consent is given; the refusal has it asked as soon as an hour has passed.
    _allow(sandbox, True)
    assert await road.store.permissions.due_for_job(now=road.clock(), limit=10) == []
    assert await road.store.permissions.due_for_job(now=road.clock() + timedelta(hours=1), limit=10) == [tenant.id]
    await road.store.database.execute("UPDATE ksef_permissions SET ask_after = now()")
    await ask_permissions(road)
    await read(road, await add_upload(road.store, tenant, _with_attachment(2)))
    await carry(road, await seal_and_pack(road, tenant))
    assert (await _verdicts(road, tenant.id))[2] == (InvoiceState.ACCEPTED.value, [])


async def test_a_login_without_the_permission_is_remembered(
    context: WorkerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = await add_tenant(context.store)
    asked = 0

    async def forbidden(self: KsefClient) -> None:
        nonlocal asked
        asked += 1
        raise PermissionMissing("missing permissions: CredentialsManage, CredentialsRead")

    async def client(self: KsefClients, tenant_id: int) -> KsefClient:
        return KsefClient.__new__(KsefClient)

    monkeypatch.setattr(KsefClient, "attachment_consent", forbidden)
    monkeypatch.setattr(KsefClients, "of", client)
    for _ in range(3):
        await ask_permissions_of(context, tenant.id)
    known = await context.store.permissions.of(tenant.id)
    assert asked == 1
    assert known.attachments_at(context.clock()) is None
    assert known.refused is not None
    assert "CredentialsRead" in known.refused


async def test_a_ksef_that_does_not_answer_leaves_it_unknown(context: WorkerContext) -> None:
    tenant = await add_tenant(context.store)
    await ask_permissions(context)
    assert (await context.store.permissions.of(tenant.id)).attachments_at(context.clock()) is None
    assert await context.store.permissions.due_for_job(now=context.clock(), limit=10) == []


async def test_nothing_is_asked_while_ksef_is_away(context: WorkerContext) -> None:
    tenant = await add_tenant(context.store)
    order = Override(KsefState.AWAY, context.clock(), context.clock() + timedelta(hours=1), "maintenance")
    await context.store.outages.order(context.ksef_health.ksef_url, order, now=context.clock())
    await ask_permissions(context)
    assert await context.store.permissions.due_for_job(now=context.clock(), limit=10) == [tenant.id]


@pytest.mark.parametrize(("limit", "expected"), [(3_000_000, InvoiceState.INVALID), (5_000_000, InvoiceState.QUEUED)])
async def test_an_upload_is_checked_by_the_sizes_that_ksef_gives_the_tenant(
    context: WorkerContext, limit: int, expected: InvoiceState
) -> None:
    tenant = await add_tenant(context.store)
    limits = ContextLimits(10_000, 1_000_000, limit)
    await context.store.limits.save(tenant.id, RateLimits({}), limits, now=context.clock())
    (made,) = invoices(1)
    # Random digits: what compresses too well is taken for a bomb.
    filling = b"<!--" + os.urandom(1_750_000).hex().encode() + b"-->"
    large = made.xml.replace(b"</Faktura>", ATTACHMENT + filling + b"</Faktura>")
    await read(context, await add_upload(context.store, tenant, zip_of([replace(made, xml=large)])))
    ((state, rules),) = await _verdicts(context, tenant.id)
    assert state == expected.value, rules
