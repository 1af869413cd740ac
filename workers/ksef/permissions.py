"""Permissions: what KSeF lets each tenant send is asked now and then, so that intake need not ask.

Daily, soon after a tenant is added or its credential replaced, and within the hour of an attachment that was refused. Nothing
waits for the answer: as long as it is not known, attachments are let through and KSeF decides.
"""

from typing import Final

import anyio

from app.domain.outage import KsefState
from app.errors import DispatchError
from app.ksef.errors import KsefError, PermissionMissing
from app.observability.logs import get_logger
from workers.context import WorkerContext

log = get_logger(__name__)

_TENANTS_AT_ONCE: Final = 20
_PATIENCE_SECONDS: Final = 45.0
"""Less than the minute after which the next run looks; whoever is left over is due again in an hour, or was not claimed."""


async def ask_permissions(context: WorkerContext) -> None:
    """Ask KSeF for the tenants that are due, one after the other. Safe to run at any time, by any number of workers."""
    due = await context.store.permissions.due_for_job(now=context.clock(), limit=_TENANTS_AT_ONCE)
    if not due or (await context.watch.standing())[1].state is KsefState.AWAY:
        return
    with anyio.move_on_after(_PATIENCE_SECONDS):
        for tenant_id in due:
            await ask_permissions_of(context, tenant_id)


async def ask_permissions_of(context: WorkerContext, tenant_id: int) -> None:
    """Ask for one tenant, unless somebody has within the hour. What goes wrong leaves what is known as it is.

    Except a login that may not ask: that is remembered, and nothing else is known any more.
    """
    permissions = context.store.permissions
    if not await permissions.claim(tenant_id, now=context.clock()):
        return
    try:
        consent = await (await context.ksef.of(tenant_id)).attachment_consent()
    except PermissionMissing as error:
        log.info("permissions_not_allowed", tenant=tenant_id, **error.as_dict())
        await permissions.refuse(tenant_id, error.detail, now=context.clock())
    except KsefError as error:
        log.warning("permissions_not_read", tenant=tenant_id, **error.as_dict())
    except DispatchError as error:
        # A credential that cannot be used: its owner hears of it where it is needed.
        log.warning("permissions_not_read", tenant=tenant_id, error=error.detail)
    else:
        await permissions.save(tenant_id, consent, now=context.clock())
        log.info("permissions_read", tenant=tenant_id, attachments=consent.allowed)
