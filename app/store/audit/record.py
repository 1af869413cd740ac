"""Records acts in the transaction of the act, and gives them their places in the chain at its end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from app.observability.logs import get_logger
from app.store.audit.actor import Actor, current_actor
from app.store.audit.acts import Act
from app.store.audit.chain import BEGINNING, BROKEN, Head, canonical_details, head_mac, is_sealed, plain_text, row_hash
from app.store.database import Connection, acts_of, queries
from app.store.keys.envelope import Envelope

_SQL: Final = queries("audit")

PURPOSE: Final = "audit-head"
"""Of the key of the seal."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RecordedAct:
    """An act that waits for the end of its transaction."""

    act: Act
    actor: Actor
    tenant_id: int | None
    object: str | None
    outcome: str
    details: str


def record(
    connection: Connection,
    *,
    act: Act,
    tenant_id: int | None = None,
    object: str | None = None,  # noqa: A002 - the name of the field
    details: Mapping[str, Any] | None = None,
    outcome: str = "done",
) -> None:
    """Record an act of the present actor; the row is written right before the commit, or not at all after a rollback.

    `connection` is one of `Database.transaction`. `object` is the id of the thing that the act changed, as users see it. `details`
    contain no secret and no personal data. Raises RuntimeError outside a transaction.
    """
    acts_of(connection).append(
        RecordedAct(
            act,
            current_actor(),
            tenant_id,
            plain_text(object) if object is not None else None,
            outcome,
            canonical_details(details),
        )
    )


class Seal:
    """Writes the recorded acts of a transaction as its last step, so that the lock on the head is held for a moment."""

    def __init__(self, box: Envelope) -> None:
        self._box = box

    async def __call__(self, connection: Connection, acts: Sequence[RecordedAct]) -> None:
        """Give the acts their numbers and hashes, and seal the newest one."""
        key = self._box.derived_key(PURPOSE)
        head, now, fits = await _locked_head(connection, key)
        number, newest = head.number, head.hash
        rows: list[dict[str, Any]] = []
        for one in acts:
            number += 1
            fields: dict[str, Any] = {
                "number": number,
                "at": now,
                "actor_kind": one.actor.kind,
                "actor": plain_text(one.actor.name),
                "act": one.act.value,
                "tenant_id": one.tenant_id,
                "object": one.object,
                "request_id": one.actor.request_id,
                "outcome": one.outcome,
                "details": one.details,
            }
            previous, newest = newest, row_hash(newest, **fields)
            rows.append(fields | {"previous_hash": previous, "hash": newest})
        mac = head_mac(key, number, newest) if fits else BROKEN
        # One round trip for all of them, since others wait for the lock.
        async with connection.pipeline():
            for row in rows:
                await connection.execute(_SQL["add_row"], row)
            await connection.execute(_SQL["set_head"], {"number": number, "hash": newest, "mac": mac})


async def _locked_head(connection: Connection, key: bytes) -> tuple[Head, Any, bool]:
    """Lock the head; return where the chain goes on, the time of the database, and whether the seal fits.

    An act is not refused when the chain was damaged: it goes on behind the newest row, and the seal stays broken.
    """
    row = await (await connection.execute(_SQL["lock_head"])).fetchone()
    if row is None:
        await connection.execute(_SQL["make_head"], {"beginning": BEGINNING, "mac": head_mac(key, 0, BEGINNING)})
        row = await (await connection.execute(_SQL["lock_head"])).fetchone()
    # A statement of its own: the one that waited for the lock sees the rows of before.
    found = await (await connection.execute(_SQL["newest_row"])).fetchone()
    assert row is not None  # noqa: S101 - it was there or was made
    assert found is not None  # noqa: S101 - the query has one row always
    head = Head(row["number"], bytes(row["hash"]), bytes(row["mac"]))
    newest = found["number"] or 0
    in_place = head.number > newest or (head.number, head.hash) == (newest, bytes(found["hash"] or BEGINNING))
    if is_sealed(key, head) and in_place:
        return head, found["now"], True
    log.error("audit_seal_broken", number=head.number, newest=newest)
    return Head(max(head.number, newest), bytes(found["hash"] or head.hash), BROKEN), found["now"], False
