"""Sealing: makes a session of a lane's oldest invoices.

A lane is due when its invoices are many, large or old enough, before midnight in Warsaw, or when a flush was requested.
"""

import secrets
from datetime import datetime
from typing import Final

from app.domain.ids import time_ordered_id
from app.domain.sealing import day_of_opening, is_rush
from app.domain.states import SessionState
from app.domain.warsaw import warsaw_day
from app.observability import metrics
from app.observability.logs import get_logger
from app.package.limits import max_package_bytes
from app.store.jobs import Task
from workers.context import WorkerContext
from workers.lane_due import due_of, max_invoices_of
from workers.priorities import opening_priority

log = get_logger(__name__)

_SESSIONS_OF_A_JOB: Final = 5


async def seal_lane(context: WorkerContext, lane_id: int) -> None:
    """Seal the sessions that are due, and defer the job until the rest has waited long enough or midnight is near."""
    held = await context.store.late_invoices.await_decision_for_job(lane_id, day=day_of_opening(context.clock()))
    if held:
        log.warning("late_invoices_held", lane=lane_id, invoices=held)
    for _ in range(_SESSIONS_OF_A_JOB):
        due = await _seal_one(context, lane_id)
        if due is None:
            return
        if due > context.clock():
            await context.seal_soon(lane_id, at=due)
            return
    # The rest of a long backlog gets another job, behind those of other lanes.
    await context.seal_soon(lane_id)


async def _seal_one(context: WorkerContext, lane_id: int) -> datetime | None:
    """Seal one session if one is due. Return when the lane is due next (a past time: at once), or None if it is empty."""
    settings, now = context.settings, context.clock()
    async with context.store.database.transaction() as connection:
        lane = await context.store.sealing.lock_lane(connection, lane_id)
        if lane is None or lane["disabled"]:
            return None
        waiting = await context.store.sealing.backlog(connection, lane_id, today=warsaw_day(now))
        if waiting.oldest is None:
            return None
        due = await due_of(context, lane, waiting, now=now)
        if due > now:
            return due
        session_id = time_ordered_id(int(now.timestamp() * 1000), secrets.token_bytes(10))
        taken = await context.store.sealing.seal(
            connection,
            lane,
            session_id=session_id,
            max_invoices=await max_invoices_of(context, lane["tenant_id"]),
            max_bytes=max_package_bytes(settings.part_bytes, lane["compression"]),
            now=now,
        )
        if taken == 0:
            # Rolled back: the lane's counts and its rows disagree, and an empty session could never end.
            raise RuntimeError(f"lane {lane_id} counts {waiting.invoices} waiting invoices but none can be taken")
        urgent = not lane["offline_mode"] and waiting.oldest_of_today is not None and is_rush(now)
        await context.store.jobs.defer(
            Task.PACK_SESSION,
            connection=connection,
            priority=await opening_priority(context, connection, lane["tenant_id"], SessionState.SEALED, urgent=urgent),
            session_id=str(session_id),
        )
    metrics.STAGE_SECONDS.labels(stage="seal").observe((context.clock() - now).total_seconds())
    log.info("session_sealed", session=f"ses_{session_id.hex}", invoices=taken)
    return now
