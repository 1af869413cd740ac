"""Events that were written, and that readers of `GET /v1/events` may see."""

from app.store.store import Store
from tests.support.waiting import poll

_HIDDEN = "SELECT 1 FROM events WHERE written_by >= pg_snapshot_xmin(pg_current_snapshot()) LIMIT 1"


async def events_are_visible(store: Store) -> None:
    """Return once every event that is committed may be shown.

    An event is shown when all older transactions of the server have ended. PostgreSQL counts those of all its databases, so tests that
    run at the same time can delay it.
    """

    async def none_is_hidden() -> bool:
        return not await store.database.fetch_all(_HIDDEN)

    await poll(none_is_hidden)
