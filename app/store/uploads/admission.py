"""Counts the backlog by tenant, for admission of new uploads and for the order of tenants."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from app.domain.states import SessionState
from app.store.database import Connection, Database, queries

_SQL: Final = queries("admission")


@dataclass(frozen=True, slots=True)
class Waiting:
    """Backlog of one tenant or of all."""

    uploads: int = 0
    """Uploads that are stored and not read to their end."""
    spooled_bytes: int = 0
    """Their bytes, and the bytes received so far of resumable uploads."""
    invoices: int = 0
    """Invoices that are acknowledged or checked and not in a session that KSeF has opened."""

    def __add__(self, other: "Waiting") -> "Waiting":
        return Waiting(
            self.uploads + other.uploads, self.spooled_bytes + other.spooled_bytes, self.invoices + other.invoices
        )


NOTHING: Final = Waiting()


@dataclass(frozen=True)
class Usage:
    """Backlog of the whole installation at one moment."""

    of_tenants: Mapping[int, Waiting]
    tenants: int
    """Tenants that are not disabled."""

    @cached_property
    def total(self) -> Waiting:
        """Return the sum over all tenants, which is made once: every post asks for it."""
        return sum(self.of_tenants.values(), start=NOTHING)


class AdmissionStore:
    """Queries that count the backlog of all processes together."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def usage(self) -> Usage:
        """Count the backlog. Takes a millisecond, or longer while very many single posts are unchecked."""
        async with self._database.transaction() as connection:
            cursor = await connection.execute(_SQL["usage"])
            rows = await cursor.fetchall()
            cursor = await connection.execute(_SQL["enabled_tenants"])
            counted = await cursor.fetchone()
        return Usage(
            {row["tenant_id"]: Waiting(row["uploads"], row["spooled"], row["invoices"]) for row in rows},
            counted["tenants"] if counted else 0,
        )

    async def sessions_of(self, connection: Connection, tenant_id: int, states: Collection[SessionState]) -> int:
        """Count a tenant's sessions in some unfinished states."""
        cursor = await connection.execute(
            _SQL["sessions_of_tenant"], {"tenant_id": tenant_id, "states": [state.value for state in states]}
        )
        row = await cursor.fetchone()
        return int(row["sessions"]) if row else 0

    async def worker_heartbeats(self) -> list[float]:
        """Return the seconds since the last heartbeat of each pool of each worker, ascending."""
        return [row["age"] for row in await self._database.fetch_all(_SQL["worker_heartbeats"])]
