"""Puts a finished session into a store the way that the workers do, for tests that read."""

import hashlib
import json
import os
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from app.domain.findings import Finding, Severity
from app.domain.history import HistoryAction, HistoryOutcome
from app.domain.ids import chunk_id, invoice_id, public_id, time_ordered_id
from app.domain.states import SessionState
from app.package.entries import compress, crc32
from app.store.sessions.verdicts import Receipt, Receipts
from app.store.store import Store
from app.store.tenants.tenants import Tenant
from app.store.uploads.chunks import CheckedChunk
from app.store.uploads.uploads import NewUpload

SELLER = "5260250274"


@dataclass(frozen=True)
class Filled:
    """What was put in. The invoice at position 2 is invalid, the others are accepted when the session is finished."""

    upload: str
    invoices: list[str]
    documents: list[bytes]
    session: str
    session_id: UUID
    upo: bytes


def ksef_number(position: int) -> str:
    return f"{SELLER}-20261122-0100001AF{position:03X}-AF"


async def fill(
    store: Store, tenant: Tenant, now: datetime, *, count: int = 4, pages: int = 1, finish: bool = True
) -> Filled:
    """Add an upload with `count` invoices, seal them, and let KSeF accept them with a UPO of `pages` pages."""
    now_ms = int(now.timestamp() * 1000)
    documents = [f"<Faktura>{tenant.nip} {number}</Faktura>".encode() for number in range(count)]
    lane = await store.tenants.ensure_lane(tenant, form_code="FA (3)", offline_mode=False)
    upload, _ = await store.uploads.add(
        NewUpload(
            id=time_ordered_id(now_ms, os.urandom(10)),
            tenant_id=tenant.id,
            kind="zip",
            boundary=None,
            blob_key="uploads/gone",
            size=1000,
            sha256=hashlib.sha256(b"").digest(),
            reference=None,
            idempotency_key=None,
            offline_mode=False,
            flush=False,
            atomic=False,
        ),
        now=now,
    )
    chunk = chunk_id(now_ms, os.urandom(10))
    packed = [compress(document) for document in documents]
    key = f"chunks/{uuid4().hex}"
    await store.blobs.put(key, b"".join(packed))
    rows, offset = [], 0
    for position, (document, entry) in enumerate(zip(documents, packed, strict=True)):
        invalid = position == 2
        fault = Finding("xsd-bad-value", Severity.ERROR, 'bad; "quoted"', "źle").as_dict()
        # COPY text: a backslash is written twice.
        finding = json.dumps([fault], ensure_ascii=False).replace("\\", "\\\\")
        rows.append(
            "\t".join(
                [
                    str(invoice_id(chunk, position)), str(tenant.id), str(upload.id), "invalid" if invalid else "queued",
                    f"faktura, {position}.xml", f"FV/{position}", SELLER, "VAT", "2026-11-22", str(uuid4()),
                    "\\\\x" + hashlib.sha256(document).hexdigest(), str(len(document)), str(crc32(document)),
                    "0" if invalid else str(offset), "0" if invalid else str(len(entry)),
                    finding if invalid else "\\N", now.isoformat() if invalid else "\\N",
                ]
            )
            + "\n"
        )  # fmt: skip
        offset += len(entry)
    checked = CheckedChunk(
        id=chunk,
        lane_id=lane,
        first_entry=0,
        blob_key=key,
        rows="".join(rows).encode(),
        queued=count - (1 if count > 2 else 0),
        ready_bytes=sum(len(entry) for position, entry in enumerate(packed) if position != 2),
        invalid=1 if count > 2 else 0,
    )
    await store.chunks.commit(upload, [checked], next_entry=count, now=now)
    await store.chunks.finish_upload(upload, errors=[], now=now)
    session_id = time_ordered_id(now_ms, os.urandom(10))
    upo = f"<Potwierdzenie>{tenant.nip}</Potwierdzenie>".encode()
    async with store.database.transaction() as connection:
        locked = await store.sealing.lock_lane(connection, lane)
        assert locked is not None
        await store.sealing.seal(
            connection, locked, session_id=session_id, max_invoices=10_000, max_bytes=10**9, now=now
        )
    if finish:
        await _finish(store, session_id, documents, upo, pages, now)
    return Filled(
        upload=upload.public_id,
        invoices=[public_id("inv", invoice_id(chunk, position)) for position in range(count)],
        documents=documents,
        session=public_id("ses", session_id),
        session_id=session_id,
        upo=upo,
    )


async def _finish(
    store: Store, session_id: UUID, documents: list[bytes], upo: bytes, pages: int, now: datetime
) -> None:
    async with store.database.transaction() as connection:
        part = {"ordinal_number": 1, "plain_bytes": 9, "bytes": 16, "sha256": b"s" * 32, "blob_key": "sessions/p1"}
        await store.packages.packed(
            connection,
            session_id,
            package_bytes=9,
            package_sha256=b"p" * 32,
            key=b"k" * 32,
            iv=b"i" * 16,
            parts=[part],
            now=now,
        )
    session = await store.sessions.get_for_job(session_id)
    await store.sessions.move(
        session, SessionState.OPENING, action=HistoryAction.OPEN, outcome=HistoryOutcome.ASKING, now=now
    )
    reference = f"20261122-SB-{session_id.hex[:10].upper()}"
    await store.dispatch.opened(session, reference_number=reference, targets={}, now=now)
    for new in (SessionState.CLOSING, SessionState.PROCESSING):
        session = await store.sessions.get_for_job(session_id)
        await store.sessions.move(session, new, action=HistoryAction.CLOSE, outcome=HistoryOutcome(new), now=now)
    session = await store.sessions.get_for_job(session_id)
    async with store.database.transaction() as connection:
        await store.dispatch.mark_sent(connection, session_id)
        receipts = Receipts.of(
            Receipt(hashlib.sha256(document).digest(), ksef_number(position), now, "Online")
            for position, document in enumerate(documents)
        )
        for page in range(1, pages + 1):
            content = upo + (f"<!-- {page} -->".encode() if pages > 1 else b"")
            key = f"upo/{session_id.hex}/{page}"
            await store.blobs.put(key, content)
            await store.verdicts.add_upo_page(
                connection, session_id, page=page, upo_reference_number=f"{reference}-{page}", blob_key=key,
                size=len(content), sha256=hashlib.sha256(content).digest(), documents=len(documents), now=now,
            )  # fmt: skip
        accepted = await store.verdicts.accept(connection, session_id, receipts, page=1, now=now)
        await store.verdicts.finish(
            connection,
            session,
            SessionState.COMPLETED,
            accepted=accepted,
            rejected=0,
            failed=0,
            requeued=0,
            detail={},
            now=now,
        )
