"""Ends of sessions of which KSeF accepted nothing. Their invoices are queued again, within bounds."""

from collections.abc import Mapping
from typing import Final

import anyio.to_thread

from app.domain.states import SessionState
from app.ksef.errors import KsefError
from app.observability.logs import get_logger
from app.package.errors import PartMismatch
from app.package.parts import verify_part
from app.store.blob_errors import BlobMissing
from app.store.blobs import BlobStore
from app.store.sessions.packages import Part
from app.store.sessions.session import Session
from workers.context import WorkerContext
from workers.sessions.ending import MAX_ATTEMPTS, Verdicts, end_session

log = get_logger(__name__)

_REBUILDS: Final = 2
"""Sessions that an invoice is sent in when KSeF cannot read the package: one more, made anew, then people have to find the cause."""


async def end_dead(context: WorkerContext, session: Session) -> None:
    """End a session of which KSeF has accepted nothing; its invoices are sent in another one, within bounds."""
    await _end(context, session, "nothing-accepted")


async def end_rebuild(context: WorkerContext, session: Session) -> None:
    """End a session whose package or key KSeF could not use: verify our copy, renew the keys, send the invoices once more."""
    found = await _verify_parts(context, session)
    client = await context.ksef.of(session.tenant_id)
    try:
        await client.keys.refresh()
    except KsefError as error:
        # The next opening fetches them again by itself.
        found["keys"] = error.outcome.value
    await _end(context, session, "package-unusable", max_attempts=_REBUILDS, detail=found)


async def end_split(context: WorkerContext, session: Session) -> None:
    """End a session that had too many invoices for KSeF, and seal at most half as many into the tenant's next sessions."""
    limit = max(1, session.invoices // 2)
    await context.quota.lower_session_limit(session.tenant_id, to=limit)
    await _end(context, session, "too-many-invoices", uncounted=True, detail={"new_limit": limit})


async def _end(
    context: WorkerContext,
    session: Session,
    reason: str,
    *,
    max_attempts: int = MAX_ATTEMPTS,
    uncounted: bool = False,
    detail: Mapping[str, object] | None = None,
) -> None:
    rows = await context.store.verdicts.unaccounted(session.id)
    words = f"{reason} (status {session.ksef_status})" if session.ksef_status else reason
    await end_session(
        context,
        session,
        Verdicts(dead=[(row["id"], words) for row in rows]),
        new=SessionState.FAILED,
        detail={"reason": reason, "ksef_status": session.ksef_status} | dict(detail or {}),
        max_attempts=max_attempts,
        uncounted=uncounted,
    )


async def _verify_parts(context: WorkerContext, session: Session) -> dict[str, object]:
    """Read our copy of the parts once more and return the damaged ones; a new package replaces them."""
    damaged = []
    for part in await context.store.packages.parts(session.id):
        try:
            await anyio.to_thread.run_sync(_verify_part, context.store.blobs, part)
        except (PartMismatch, BlobMissing) as error:
            damaged.append({"ordinal_number": part.ordinal_number, "found": str(error)})
    if damaged:
        log.error("stored_parts_damaged", session=session.public_id, parts=damaged)
    return {"damaged_parts": damaged}


def _verify_part(blobs: BlobStore, part: Part) -> None:
    with blobs.open_blocking(part.blob_key) as file:
        verify_part(iter(lambda: file.read(1 << 20), b""), part.size, part.sha256)
