"""Reconciliation: finds invoices that KSeF has accepted and our records do not have as accepted."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from app.domain.states import InvoiceState, SessionState
from app.store.database import Database, queries

_SQL: Final = queries("reconciling")
_BETWEEN: Final = "\x1f"


@dataclass(frozen=True, slots=True)
class Difference:
    """An invoice of ours that KSeF has accepted, in the state that our records have."""

    invoice_id: UUID
    state: InvoiceState
    session_id: UUID | None
    number: str | None
    digest: str
    """Base64 of its SHA-256, as receipts name it."""


class ReconcilingStore:
    """Reads differences between KSeF's sessions and our records."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def known_session(self, tenant_id: int, reference: str) -> tuple[SessionState, int] | None:
        """Return the state of our session with this reference number and its accepted invoices; None when we have none."""
        row = await self._database.fetch_one(_SQL["known_session"], {"tenant_id": tenant_id, "reference": reference})
        return (SessionState(row["state"]), row["accepted"]) if row is not None else None

    async def differences(self, tenant_id: int, digests: Sequence[str]) -> list[Difference]:
        """Return the invoices with these hashes that are not accepted here, and that no session under way will decide."""
        parameters = {"tenant_id": tenant_id, "hashes": _BETWEEN.join(digests)}
        rows = await self._database.fetch_all(_SQL["not_accepted"], parameters)
        return [
            Difference(row["id"], InvoiceState(row["state"]), row["session_id"], row["number"], row["hash"])
            for row in rows
        ]

    async def tenants_for_job(self) -> list[int]:
        """Return the tenants whose records are to be reconciled before sessions are opened."""
        return [row["id"] for row in await self._database.fetch_all(_SQL["tenants_to_reconcile"])]

    async def queued_lanes(self, tenant_id: int) -> list[int]:
        """Return the lanes of a tenant that have queued invoices."""
        return [row["id"] for row in await self._database.fetch_all(_SQL["queued_lanes"], {"tenant_id": tenant_id})]

    async def advance(self, tenant_id: int, *, until: datetime) -> None:
        """Record that the sessions up to a moment are reconciled."""
        await self._database.execute(_SQL["advance"], {"tenant_id": tenant_id, "until": until})
