"""Checks the store: the database answers with the schema of this code, and blobs can be written and read."""

import os
from functools import cache
from typing import Final

import anyio.to_thread
from psycopg.errors import UndefinedTable

from app.errors import DispatchError
from app.store.database import queries
from app.store.migrate import newest_revision
from app.store.store import Store

_SQL: Final = queries("health")
_PROBE_KEY: Final = "health/probe"


async def store_faults(store: Store) -> list[tuple[str, str]]:
    """Return each part that does not work, with the reason; none when all work.

    Writes a blob of a few bytes and reads it.
    """
    faults: list[tuple[str, str]] = []
    try:
        row = await store.database.fetch_one(_SQL["schema_revision"])
    except UndefinedTable:
        faults.append(("migrations", "the database has no schema yet; run `ksefd migrate`"))
    except DispatchError as error:
        faults.append(("database", error.detail))
    else:
        found, wanted = row["revision"] if row else None, await anyio.to_thread.run_sync(_wanted_revision)
        if found != wanted:
            faults.append(
                ("migrations", f"the schema is at revision {found}, the code wants {wanted}; run `ksefd migrate`")
            )
    probe = f"{_PROBE_KEY}-{os.getpid()}"
    try:
        await store.blobs.put(probe, b"ready")
        if await store.blobs.read(probe) != b"ready":
            faults.append(("blobs", "the blob store gave other bytes than it took"))
    except DispatchError as error:
        faults.append(("blobs", error.detail))
    return faults


@cache
def _wanted_revision() -> str:
    return newest_revision()
