"""Replay: makes due again what an endpoint missed, step by step; the deliveries themselves go the usual way."""

from uuid import UUID

from app.clock import Clock
from app.domain.ids import public_id
from app.observability.logs import get_logger
from app.store.events.replays import EVENTS_AT_ONCE, Step
from app.store.store import Store
from workers.context import RetryLater

log = get_logger(__name__)


async def replay_events(store: Store, clock: Clock, replay_id: UUID, *, events_at_once: int = EVENTS_AT_ONCE) -> None:
    """Go through a replay from where it stands to its end. Safe to repeat, and to stop between any two steps.

    Raises RetryLater while older transactions are still running that may have written events of its range.
    """
    while (step := await store.replays.step_for_job(replay_id, now=clock(), limit=events_at_once)) is Step.MORE:
        pass
    if step is Step.WAIT:
        raise RetryLater("older transactions are still running", seconds=1.0)
    log.info("replay_ended", replay=public_id("rpl", replay_id))
