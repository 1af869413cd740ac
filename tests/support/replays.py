"""Replays, run to their end as a worker runs them."""

from uuid import UUID

from app.clock import Clock
from app.store.events.replays import EVENTS_AT_ONCE
from app.store.store import Store
from tests.support.waiting import poll
from workers.context import RetryLater
from workers.delivery.replay import replay_events


async def replay_to_the_end(
    store: Store, clock: Clock, replay_id: UUID, *, events_at_once: int = EVENTS_AT_ONCE
) -> None:
    """Run a replay, and again while older transactions are running.

    PostgreSQL counts the transactions of all databases of a server, so those of tests that run at the same time are among them.
    """

    async def has_ended() -> bool:
        try:
            await replay_events(store, clock, replay_id, events_at_once=events_at_once)
        except RetryLater:
            return False
        return True

    await poll(has_ended)
