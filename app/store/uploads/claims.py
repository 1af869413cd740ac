"""Claims: an invoice owns its (seller NIP, kind, number) within a tenant, which KSeF accepts only once."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from app.domain.findings import Finding, Severity
from app.domain.ids import public_id
from app.store.database import Connection, queries

_SQL: Final = queries("claims")


async def claim_chunk(
    connection: Connection, tenant_id: int, first: UUID, last: UUID, *, queued: int, now: datetime
) -> dict[UUID, int]:
    """Claim the identities of the queued invoices of a range of ids; the first invoice with an identity owns it.

    `queued` is the number of those invoices. Returns the ones whose identity is taken, each with the bytes of its ready entry: they
    are duplicates now, with a finding that names the owner.
    """
    if not queued:
        return {}
    cursor = await connection.execute(_SQL["claim_chunk"], {"tenant_id": tenant_id, "first": first, "last": last})
    if cursor.rowcount == queued:
        return {}
    return await _mark_lost(connection, tenant_id, [(first, last)], now=now)


async def claim_staged(
    connection: Connection, tenant_id: int, ranges: Sequence[tuple[UUID, UUID]], *, queued: int, now: datetime
) -> dict[UUID, int]:
    """Do the same for the invoices whose check is staged; `ranges` are those of their chunks, first and last id."""
    if not queued:
        return {}
    cursor = await connection.execute(_SQL["claim_staged"], {"tenant_id": tenant_id})
    return {} if cursor.rowcount == queued else await _mark_lost(connection, tenant_id, ranges, now=now)


async def _mark_lost(
    connection: Connection, tenant_id: int, ranges: Sequence[tuple[UUID, UUID]], *, now: datetime
) -> dict[UUID, int]:
    parameters = {
        "tenant_id": tenant_id,
        "firsts": [first for first, _ in ranges],
        "lasts": [last for _, last in ranges],
    }
    cursor = await connection.execute(_SQL["lost_claims"], parameters)
    lost = await cursor.fetchall()
    if not lost:
        return {}
    cursor = await connection.execute(
        _SQL["mark_duplicates"],
        {
            "now": now,
            "ids": [row["invoice_id"] for row in lost],
            "holders": [row["holder"] for row in lost],
            "findings": [json.dumps(_duplicate_finding(row).as_dict()) for row in lost],
        },
    )
    return {row["id"]: row["blob_bytes"] for row in await cursor.fetchall()}


def _duplicate_finding(row: Mapping[str, Any]) -> Finding:
    holder = public_id("inv", row["holder"])
    known = f" ({row['holder_ksef_number']})" if row["holder_ksef_number"] else ""
    if row["same"]:
        return Finding(
            "same-document",
            Severity.ERROR,
            f"The same document was taken before as {holder}{known}; it is not sent again.",
            f"Ten sam dokument został już przyjęty jako {holder}{known}; nie zostanie wysłany ponownie.",
        )
    return Finding(
        "number-taken",
        Severity.ERROR,
        f"Invoice {row['holder_number']} of the same seller and kind was taken before as {holder}{known}, "
        "with other content; KSeF would refuse this one as a duplicate (440).",
        f"Faktura {row['holder_number']} tego samego sprzedawcy i rodzaju została już przyjęta jako {holder}{known}, "
        "z inną treścią; KSeF odrzuciłby tę fakturę jako duplikat (440).",
        path="/Faktura/Fa/P_2",
    )
