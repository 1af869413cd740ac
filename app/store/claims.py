"""Claims: who holds what KSeF takes only once, a (seller NIP, kind, number) of a tenant."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from app.domain.findings import Finding, Severity
from app.domain.ids import public_id
from app.store.database import Connection, queries

_SQL: Final = queries("claims")


async def claim_identities(
    connection: Connection, tenant_id: int, claims: Sequence[tuple[UUID, UUID]], *, now: datetime
) -> set[UUID]:
    """Claim (identity, invoice id) pairs of invoices whose rows are written; whoever comes first has an identity.

    Returns the ids of those that came too late: they are duplicates now, with a finding that names the holder.
    """
    if not claims:
        return set()
    ordered = sorted(claims)
    parameters = {
        "tenant_id": tenant_id,
        "identities": [identity for identity, _ in ordered],
        "invoice_ids": [key for _, key in ordered],
    }
    cursor = await connection.execute(_SQL["claim_identities"], parameters)
    if cursor.rowcount == len(ordered):
        return set()
    cursor = await connection.execute(_SQL["lost_claims"], parameters)
    lost = await cursor.fetchall()
    if not lost:
        return set()
    await connection.execute(
        _SQL["mark_duplicates"],
        {
            "now": now,
            "ids": [row["invoice_id"] for row in lost],
            "holders": [row["holder"] for row in lost],
            "findings": [json.dumps(_duplicate_finding(row).as_dict()) for row in lost],
        },
    )
    return {row["invoice_id"] for row in lost}


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
