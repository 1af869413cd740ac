"""Single posts: groups that are acknowledged together, their Idempotency-Keys, and their later check."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from psycopg.rows import DictRow

from app.domain.ids import invoice_id
from app.domain.states import InvoiceState, UploadState
from app.store.database import Connection, Database, queries
from app.store.jobs import JobQueue, Task
from app.store.uploads import state_counts
from app.store.uploads.chunks import ENTRY_OVERHEAD_BYTES, add_chunk
from app.store.uploads.claims import claim_staged
from app.store.uploads.uploads import UploadStore

_SQL: Final = queries("singles")
_CHUNKS: Final = queries("chunks")
_UPLOADS: Final = queries("uploads")


@dataclass(frozen=True, slots=True)
class NewSingle:
    """One invoice of a group of single posts: its place in the group's blob."""

    name: str
    sha256: bytes
    size: int
    blob_offset: int
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class KeyedSingle:
    """The single post of an Idempotency-Key."""

    invoice_id: UUID
    sha256: bytes
    offline_mode: bool


@dataclass(frozen=True, slots=True)
class SinglesChunk:
    """A group of single posts that waits for its check."""

    id: UUID
    last_id: UUID
    upload_id: UUID
    lane_id: int
    form_code: str
    """The form of its lane, and so of its documents."""
    blob_key: str


class SingleStore:
    """Rows of single posts, from their acknowledgement to their check."""

    def __init__(self, database: Database, jobs: JobQueue, uploads: UploadStore) -> None:
        self._database = database
        self._jobs = jobs
        self._uploads = uploads

    async def add_singles(
        self,
        *,
        tenant_id: int,
        lane_id: int,
        upload_id: UUID,
        chunk_id: UUID,
        blob_key: str,
        singles: Sequence[NewSingle],
        offline_mode: bool,
        group_sha256: bytes,
        now: datetime,
    ) -> set[int]:
        """Acknowledge a group of single posts: one upload, one chunk and their rows, in one transaction.

        Returns the positions that were left out because their Idempotency-Key is in use: `single_with_key` returns the post that used it.
        """
        async with self._database.transaction() as connection:
            left_out = await self._take_keys(connection, tenant_id, chunk_id, singles, offline_mode, now=now)
            taken = [(at, single) for at, single in enumerate(singles) if at not in left_out]
            if not taken:
                return left_out
            await connection.execute(
                _UPLOADS["add_upload"],
                {
                    "id": upload_id,
                    "tenant_id": tenant_id,
                    "kind": "invoices",
                    "boundary": None,
                    "state": UploadState.IN_PROGRESS.value,
                    "blob_key": None,
                    "bytes": sum(single.size for _, single in taken),
                    "sha256": group_sha256,
                    "reference": None,
                    "idempotency_key": None,
                    "offline_mode": offline_mode,
                    "flush": False,
                    "atomic": False,
                    "content_encoding": None,
                    "received": len(taken),
                    "now": now,
                },
            )
            await add_chunk(
                connection,
                chunk_id,
                tenant_id=tenant_id,
                upload_id=upload_id,
                lane_id=lane_id,
                first_entry=0,
                encoding="plain",
                blob_key=blob_key,
                atomic_pending=False,
                now=now,
            )
            async with connection.cursor().copy(_CHUNKS["copy_invoices"]) as copy:
                for position, single in taken:
                    await copy.write_row(
                        (
                            invoice_id(chunk_id, position), tenant_id, upload_id, InvoiceState.RECEIVED.value,
                            single.name, None, None, None, None, None, single.sha256, single.size, 0,
                            single.blob_offset, single.size, None, None,
                        )
                    )  # fmt: skip
        async with self._database.connection() as connection:
            await self.check_singles_soon(connection, tenant_id)
        return left_out

    async def _take_keys(
        self,
        connection: Connection,
        tenant_id: int,
        chunk: UUID,
        singles: Sequence[NewSingle],
        offline_mode: bool,
        *,
        now: datetime,
    ) -> set[int]:
        # Sorted, so that two transactions with common keys wait in the same order. The first position wins.
        keyed = sorted((single.idempotency_key, at) for at, single in enumerate(singles) if single.idempotency_key)
        if not keyed:
            return set()
        cursor = await connection.execute(
            _SQL["take_single_keys"],
            {
                "tenant_id": tenant_id,
                "offline_mode": offline_mode,
                "now": now,
                "keys": [key for key, _ in keyed],
                "invoice_ids": [invoice_id(chunk, at) for _, at in keyed],
                "hashes": [singles[at].sha256 for _, at in keyed],
            },
        )
        taken = {row["invoice_id"] for row in await cursor.fetchall()}
        return {at for _, at in keyed if invoice_id(chunk, at) not in taken}

    async def single_with_key(self, tenant_id: int, idempotency_key: str) -> KeyedSingle | None:
        """Return the single post of a tenant that used an Idempotency-Key."""
        row = await self._database.fetch_one(
            _SQL["single_with_key"], {"tenant_id": tenant_id, "idempotency_key": idempotency_key}
        )
        return KeyedSingle(row["invoice_id"], bytes(row["sha256"]), row["offline_mode"]) if row else None

    async def forget_single_keys_for_job(self, *, before: datetime) -> int:
        """Let keys of single posts older than `before` be used anew."""
        return await self._database.execute(_SQL["forget_single_keys"], {"before": before})

    async def check_singles_soon(self, connection: Connection, tenant_id: int) -> None:
        """Defer the job that checks a tenant's unchecked single posts; call it after the commit that added them."""
        name = f"singles:{tenant_id}"
        await self._jobs.defer(Task.CHECK_SINGLES, connection=connection, lock=name, once=name, tenant_id=tenant_id)

    async def unchecked_singles(self, tenant_id: int, *, limit: int) -> list[SinglesChunk]:
        """Give groups of single posts that wait for their check, oldest first."""
        rows = await self._database.fetch_all(_SQL["unchecked_singles"], {"tenant_id": tenant_id, "limit": limit})
        return [SinglesChunk(**row) for row in rows]

    async def tenants_with_unchecked_singles_for_job(self) -> list[int]:
        """Give the tenants whose single posts wait for a check."""
        return [row["tenant_id"] for row in await self._database.fetch_all(_SQL["tenants_with_unchecked_singles"])]

    async def singles_of_for_job(self, chunk: SinglesChunk) -> list[DictRow]:
        """Give the rows of a group: id, name, sha256, size, blob_offset, blob_bytes."""
        return await self._database.fetch_all(_SQL["singles_of_chunk"], {"first": chunk.id, "last": chunk.last_id})

    async def commit_singles(
        self,
        chunks: Sequence[SinglesChunk],
        *,
        tenant_id: int,
        rows: bytes,
        valid: int,
        blob_key: str,
        now: datetime,
    ) -> int:
        """Commit the check of some groups of single posts together; returns how many were duplicates.

        `rows` is text for COPY, of which `valid` are queued.
        """
        async with self._database.transaction() as connection:
            await connection.execute(_SQL["stage_invoices"])
            async with connection.cursor().copy(_SQL["copy_staged"]) as copy:
                await copy.write(rows)
            await connection.execute(_SQL["apply_staged"])
            ranges = [(chunk.id, chunk.last_id) for chunk in chunks]
            duplicates = await claim_staged(connection, tenant_id, ranges, queued=valid, now=now)
            cursor = await connection.execute(
                _SQL["finish_singles"],
                {"ids": [chunk.id for chunk in chunks], "blob_key": blob_key, "overhead": ENTRY_OVERHEAD_BYTES},
            )
            finished = await cursor.fetchall()
            for state in (InvoiceState.QUEUED, InvoiceState.INVALID, InvoiceState.DUPLICATE):
                moved = {row["upload_id"]: row[state.value] for row in finished if row[state.value]}
                await state_counts.move(connection, moved, old=InvoiceState.RECEIVED, new=state)
            await self._uploads.complete_for_job(connection, [chunk.upload_id for chunk in chunks], now=now)
        return len(duplicates)
