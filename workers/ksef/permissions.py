"""Permissions: asks KSeF regularly whether each tenant may send attachments, and stores the answer for intake.

KSeF is asked daily, soon after a tenant is added or its credential replaced, and within an hour after a refused attachment. Intake
does not wait for the answer: without one, attachments pass the check and KSeF decides.
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
"""Less than the minute until the next run. A tenant that was not asked in time is due in the next run, or an hour after its lease."""


async def ask_permissions(context: WorkerContext) -> None:
    """Ask KSeF for the permissions of the tenants that are due, one after the other. Safe to run at any time, by any worker."""
    due = await context.store.permissions.due_for_job(now=context.clock(), limit=_TENANTS_AT_ONCE)
    if not due or (await context.ksef_health.availability())[1].state is KsefState.AWAY:
        return
    with anyio.move_on_after(_PATIENCE_SECONDS):
        for tenant_id in due:
            async with context.names.logged(context.store, tenant_id=tenant_id):
                await ask_permissions_of(context, tenant_id)


async def ask_permissions_of(context: WorkerContext, tenant_id: int) -> None:
    """Ask for one tenant, unless another worker did within the hour. After an error the stored answer stays.

    One error replaces it: the tenant's login may not ask for permissions. Then the stored answer is that none is known.
    """
    permissions = context.store.permissions
    if not await permissions.reserve_query(tenant_id, now=context.clock()):
        return
    try:
        consent = await (await context.ksef.of(tenant_id)).attachment_consent()
    except PermissionMissing as error:
        log.info("permissions_not_allowed", **error.as_dict())
        await permissions.refuse(tenant_id, error.detail, now=context.clock())
    except KsefError as error:
        log.warning("permissions_not_read", **error.as_dict())
    except DispatchError as error:
        # A credential that cannot be used; sessions of the tenant report it.
        log.warning("permissions_not_read", error=error.detail)
    else:
        await permissions.save(tenant_id, consent, now=context.clock())
        log.info("permissions_read", attachments=consent.allowed)
