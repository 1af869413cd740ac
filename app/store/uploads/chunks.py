"""Chunks: up to a thousand invoices that were checked and stored together, committed at once or not at all."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

from psycopg.rows import DictRow

from app.domain.findings import Finding, Severity
from app.domain.ids import CHUNK_CAPACITY, invoice_id
from app.domain.states import InvoiceState
from app.store.database import Connection, Database, queries
from app.store.jobs import JobQueue, Task
from app.store.uploads import state_counts
from app.store.uploads.claims import claim_chunk
from app.store.uploads.resumable import forget_segments
from app.store.uploads.uploads import Upload, UploadStore

_SQL: Final = queries("chunks")
_UPLOADS: Final = queries("uploads")

ENTRY_OVERHEAD_BYTES: Final = 30 + 46 + 2 * 40
"""Bytes that a ZIP adds to an entry: local header, directory header, and our 40-character name in both."""


@dataclass(frozen=True, slots=True)
class CheckedChunk:
    """A chunk of checked invoices of one form. `rows` is text for COPY; `queued` of them are valid and have `ready_bytes`."""

    id: UUID
    lane_id: int
    first_entry: int
    """Index of its first entry in the upload's body, which no other chunk of the upload has."""
    blob_key: str
    rows: bytes
    queued: int
    ready_bytes: int
    invalid: int
    latest_issue_date: date | None = None
    """The latest `P_1` of the valid invoices."""

    @property
    def last_id(self) -> UUID:
        """The last id that an invoice of this chunk can have."""
        return invoice_id(self.id, CHUNK_CAPACITY - 1)


class ChunkStore:
    """Rows of chunks, and the invoices that come with them."""

    def __init__(self, database: Database, jobs: JobQueue, uploads: UploadStore) -> None:
        self._database = database
        self._jobs = jobs
        self._uploads = uploads

    async def commit(
        self, upload: Upload, chunks: Sequence[CheckedChunk], *, next_entry: int, now: datetime
    ) -> dict[int, int] | None:
        """Commit entries that were checked together, a chunk for each form: rows, claims, duplicates and the upload's checkpoint.

        One transaction commits all of it. The first chunk holds the first of the entries, and the next run starts at `next_entry`.
        Returns how many invoices wait for a session now, by lane, or None when an earlier run committed these entries already.
        """
        queued: dict[int, int] = {}
        async with self._database.transaction() as connection:
            for chunk in chunks:
                inserted = await add_chunk(
                    connection,
                    chunk.id,
                    tenant_id=upload.tenant_id,
                    upload_id=upload.id,
                    lane_id=chunk.lane_id,
                    first_entry=chunk.first_entry,
                    encoding="deflate",
                    blob_key=chunk.blob_key,
                    atomic_pending=upload.atomic,
                    now=now,
                    queue=_queue(chunk, {}),
                )
                if not inserted:
                    if chunk is not chunks[0]:
                        # Rolled back: an earlier run divided these entries otherwise.
                        raise RuntimeError(f"entry {chunk.first_entry} of {upload.public_id} is in two chunks")
                    return None
            duplicate = 0
            # In the order of the lanes, so that two transactions of a tenant claim the identities of its forms in the same order.
            for chunk in sorted(chunks, key=lambda one: one.lane_id):
                async with connection.cursor().copy(_SQL["copy_invoices"]) as copy:
                    await copy.write(chunk.rows)
                duplicates = await claim_chunk(
                    connection, upload.tenant_id, chunk.id, chunk.last_id, queued=chunk.queued, now=now
                )
                if duplicates:
                    await connection.execute(_SQL["set_chunk_queue"], {"id": chunk.id} | _queue(chunk, duplicates))
                queued[chunk.lane_id] = chunk.queued - len(duplicates)
                duplicate += len(duplicates)
            await connection.execute(
                _UPLOADS["advance_upload"],
                {
                    "id": upload.id,
                    "next_entry": next_entry,
                    "queued": sum(queued.values()),
                    "invalid": sum(chunk.invalid for chunk in chunks),
                    "duplicate": duplicate,
                },
            )
        return queued

    async def seal_soon(self, tenant_id: int) -> int:
        """Defer a sealing job for each of a tenant's lanes with queued invoices; return the number of those invoices."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(_SQL["queued_by_lane_of_tenant"], {"tenant_id": tenant_id})
            lanes = await cursor.fetchall()
            for lane in lanes:
                await self._jobs.seal_soon(connection, lane["lane_id"])
        return sum(lane["queued"] for lane in lanes)

    async def finish_upload(self, upload: Upload, *, errors: Sequence[Mapping[str, Any]], now: datetime) -> None:
        """End the reading of an upload. Of an atomic upload, release all invoices, or fail them all after an error."""
        async with self._database.transaction() as connection:
            if upload.atomic and errors:
                await self._fail_atomic(connection, upload, now=now)
            elif upload.atomic:
                await connection.execute(_SQL["release_atomic"], {"upload_id": upload.id})
            await self._uploads.finish_reading(connection, upload, errors=errors, now=now)
            if upload.blob_key is not None:
                await self._jobs.defer(Task.DROP_BLOBS, connection=connection, keys=[upload.blob_key])
            if upload.segmented:
                await forget_segments(self._jobs, connection, upload.id)

    async def blob_keys_for_job(self, upload_id: UUID) -> set[str]:
        """Give the keys of the blobs that committed chunks of an upload refer to."""
        rows = await self._database.fetch_all(_SQL["chunk_blob_keys"], {"upload_id": upload_id})
        return {row["blob_key"] for row in rows}

    async def lanes_of_for_job(self, upload_id: UUID) -> list[int]:
        """Return the lanes of the chunks of an upload."""
        rows = await self._database.fetch_all(_SQL["lanes_of_upload"], {"upload_id": upload_id})
        return [row["lane_id"] for row in rows]

    async def unshared_blob_keys_for_job(self, upload_ids: Sequence[UUID]) -> set[str]:
        """Return the keys of the blobs of these uploads to which no other unexpired upload refers."""
        rows = await self._database.fetch_all(_SQL["unshared_blob_keys"], {"upload_ids": list(upload_ids)})
        return {row["blob_key"] for row in rows}

    async def queued_by_lane(self) -> list[DictRow]:
        """Return the queue of every lane of all tenants: lane_id, queued, oldest (None for an empty one)."""
        return await self._database.fetch_all(_SQL["queued_by_lane"])

    async def _fail_atomic(self, connection: Connection, upload: Upload, *, now: datetime) -> None:
        finding = Finding(
            "upload-not-complete",
            Severity.ERROR,
            "The upload asked for all or nothing and could not be read to its end, so nothing of it is sent.",
            "Przesyłka miała zostać przyjęta w całości albo wcale, a nie dało się jej odczytać do końca; "
            "żadna faktura z niej nie zostanie wysłana.",
        )
        cursor = await connection.execute(
            _SQL["fail_atomic_invoices"],
            {"upload_id": upload.id, "finding": json.dumps([finding.as_dict()]), "now": now},
        )
        row = await cursor.fetchone()
        await connection.execute(_SQL["drop_atomic"], {"upload_id": upload.id})
        await state_counts.move(
            connection,
            {upload.id: row["failed"] if row else 0},
            old=InvoiceState.QUEUED,
            new=InvoiceState.FAILED,
        )


async def add_chunk(
    connection: Connection,
    chunk_id: UUID,
    *,
    tenant_id: int,
    upload_id: UUID,
    lane_id: int,
    first_entry: int,
    encoding: str,
    blob_key: str,
    atomic_pending: bool,
    now: datetime,
    queue: dict[str, Any] | None = None,
) -> bool:
    """Add a chunk, with what it has queued; False when an earlier run of the job committed one for these entries."""
    cursor = await connection.execute(
        _SQL["add_chunk"],
        {
            "id": chunk_id,
            "last_id": invoice_id(chunk_id, CHUNK_CAPACITY - 1),
            "tenant_id": tenant_id,
            "upload_id": upload_id,
            "lane_id": lane_id,
            "first_entry": first_entry,
            "encoding": encoding,
            "blob_key": blob_key,
            "atomic_pending": atomic_pending,
            "now": now,
        }
        | (queue or {"queued": 0, "queued_bytes": 0, "latest_issue_date": None}),
    )
    return await cursor.fetchone() is not None


def _queue(chunk: CheckedChunk, duplicates: Mapping[UUID, int]) -> dict[str, Any]:
    """Return the queue of a chunk without these duplicates."""
    alive = chunk.queued - len(duplicates)
    return {
        "queued": alive,
        "queued_bytes": chunk.ready_bytes - sum(duplicates.values()) + ENTRY_OVERHEAD_BYTES * alive,
        "latest_issue_date": chunk.latest_issue_date,
    }
