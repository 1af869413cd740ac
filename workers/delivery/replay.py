"""Replay: makes the deliveries due again that an endpoint missed, step by step. The dispatcher sends them as usual."""

from uuid import UUID

from app.clock import Clock
from app.domain.ids import public_id
from app.observability.logs import get_logger
from app.store.events.replays import EVENTS_AT_ONCE, Step
from app.store.store import Store
from workers.context import RetryLater

log = get_logger(__name__)


async def replay_events(store: Store, clock: Clock, replay_id: UUID, *, events_at_once: int = EVENTS_AT_ONCE) -> None:
    """Run a replay from its last step to its end. Safe to repeat, and to stop between any two steps.

    Raises RetryLater while older transactions are still running that may have written events of its range.
    """
    while (step := await store.replays.step_for_job(replay_id, now=clock(), limit=events_at_once)) is Step.MORE:
        pass
    if step is Step.WAIT:
        raise RetryLater("older transactions are still running", seconds=1.0)
    log.info("replay_ended", replay=public_id("rpl", replay_id))
