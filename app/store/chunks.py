"""Chunks: a few hundred invoices that were checked and stored together, committed at once or not at all."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

from psycopg.rows import DictRow

from app.domain.findings import Finding, Severity
from app.domain.ids import CHUNK_CAPACITY, invoice_id, public_id
from app.domain.states import InvoiceState, UploadState
from app.store.database import Connection, Database, queries
from app.store.jobs import JobQueue, Task
from app.store.resumable import forget_segments
from app.store.uploads import Upload, UploadStore

_SQL: Final = queries("chunks")
_UPLOADS: Final = queries("uploads")

ENTRY_OVERHEAD_BYTES: Final = 30 + 46 + 2 * 40
"""What a ZIP adds to an entry: local header, directory header, and our 40-character name in both."""


@dataclass(frozen=True, slots=True)
class CheckedChunk:
    """What the pool made of a chunk. `rows` is text for COPY; `claims` are (identity, position) of valid invoices."""

    id: UUID
    first_entry: int
    entries: int
    rows: bytes
    claims: list[tuple[UUID, int]]
    sizes: dict[int, int]
    """Bytes of the ready entry of each valid invoice, by position."""
    invalid: int
    latest_issue_date: date | None = None
    """The latest `P_1` of the valid invoices."""


@dataclass(frozen=True, slots=True)
class SinglesChunk:
    """A group of single posts that waits for its check."""

    id: UUID
    last_id: UUID
    upload_id: UUID
    lane_id: int
    blob_key: str


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
    """What an Idempotency-Key of a single post was used for."""

    invoice_id: UUID
    sha256: bytes
    offline_mode: bool


class ChunkStore:
    """Rows of chunks, and the invoices that come with them."""

    def __init__(self, database: Database, jobs: JobQueue, uploads: UploadStore) -> None:
        self._database = database
        self._jobs = jobs
        self._uploads = uploads

    async def commit(
        self, upload: Upload, chunk: CheckedChunk, *, lane_id: int, blob_key: str, now: datetime
    ) -> list[int] | None:
        """Commit a chunk: rows, claims, duplicates and the upload's checkpoint, in one transaction.

        Returns the positions that turned out to be duplicates, or None when an earlier run committed the chunk already.
        """
        async with self._database.transaction() as connection:
            inserted = await connection.execute(
                _SQL["add_chunk"],
                {
                    "id": chunk.id,
                    "last_id": invoice_id(chunk.id, CHUNK_CAPACITY - 1),
                    "tenant_id": upload.tenant_id,
                    "upload_id": upload.id,
                    "lane_id": lane_id,
                    "first_entry": chunk.first_entry,
                    "encoding": "deflate",
                    "blob_key": blob_key,
                    "queued": 0,
                    "queued_bytes": 0,
                    "held": upload.atomic,
                    "now": now,
                },
            )
            if await inserted.fetchone() is None:
                return None
            async with connection.cursor().copy(_SQL["copy_invoices"]) as copy:
                await copy.write(chunk.rows)
            duplicates = await self._claim(connection, upload.tenant_id, chunk.claims, chunk.id, now=now)
            await self._set_queue(connection, chunk, duplicates)
            await connection.execute(
                _UPLOADS["advance_upload"],
                {
                    "id": upload.id,
                    "next_entry": chunk.first_entry + chunk.entries,
                    "queued": len(chunk.sizes) - len(duplicates),
                    "invalid": chunk.invalid,
                    "duplicate": len(duplicates),
                },
            )
        return duplicates

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

        Returns the positions that were left out because their Idempotency-Key is in use: `single_with_key` says for what.
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
            await connection.execute(
                _SQL["add_chunk"],
                {
                    "id": chunk_id,
                    "last_id": invoice_id(chunk_id, CHUNK_CAPACITY - 1),
                    "tenant_id": tenant_id,
                    "upload_id": upload_id,
                    "lane_id": lane_id,
                    "first_entry": 0,
                    "encoding": "plain",
                    "blob_key": blob_key,
                    "queued": 0,
                    "queued_bytes": 0,
                    "held": False,
                    "now": now,
                },
            )
            async with connection.cursor().copy(_SQL["copy_invoices"]) as copy:
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
        """Say what an Idempotency-Key of a tenant's single posts was used for."""
        row = await self._database.fetch_one(
            _SQL["single_with_key"], {"tenant_id": tenant_id, "idempotency_key": idempotency_key}
        )
        return KeyedSingle(row["invoice_id"], bytes(row["sha256"]), row["offline_mode"]) if row else None

    async def forget_single_keys(self, *, before: datetime) -> int:
        """Let keys of single posts older than `before` be used anew."""
        return await self._database.execute(_SQL["forget_single_keys"], {"before": before})

    async def check_singles_soon(self, connection: Connection, tenant_id: int) -> None:
        """Have the tenant's unchecked single posts checked; call it after the commit that added them."""
        name = f"singles:{tenant_id}"
        await self._jobs.defer(Task.CHECK_SINGLES, connection=connection, lock=name, once=name, tenant_id=tenant_id)

    async def seal_soon(self, lane_id: int, *, at: datetime | None = None) -> None:
        """Have a lane looked at, now or later. Call it after the commit of what it has to see."""
        async with self._database.connection() as connection:
            await self._jobs.defer(
                Task.SEAL_LANE,
                connection=connection,
                once=f"seal:{lane_id}" if at is None else f"seal-later:{lane_id}",
                at=at,
                lane_id=lane_id,
            )

    async def unchecked_singles(self, tenant_id: int, *, limit: int) -> list[SinglesChunk]:
        """Give groups of single posts that wait for their check, oldest first."""
        rows = await self._database.fetch_all(_SQL["unchecked_singles"], {"tenant_id": tenant_id, "limit": limit})
        return [SinglesChunk(**row) for row in rows]

    async def singles_of(self, chunk: SinglesChunk) -> list[DictRow]:
        """Give the rows of a group: id, name, sha256, size, blob_offset, blob_bytes."""
        return await self._database.fetch_all(_SQL["singles_of_chunk"], {"first": chunk.id, "last": chunk.last_id})

    async def commit_singles(
        self,
        chunks: Sequence[SinglesChunk],
        *,
        tenant_id: int,
        rows: bytes,
        claims: Sequence[tuple[UUID, UUID]],
        sizes: Mapping[UUID, int],
        invalid: Mapping[UUID, int],
        blob_key: str,
        now: datetime,
    ) -> int:
        """Commit the check of some groups of single posts together; returns how many were duplicates.

        `claims` are (identity, invoice id) of valid invoices, `sizes` the bytes of their ready entries by invoice id,
        `invalid` counts by chunk id.
        """
        async with self._database.transaction() as connection:
            await connection.execute(_SQL["stage_invoices"])
            async with connection.cursor().copy(_SQL["copy_staged"]) as copy:
                await copy.write(rows)
            await connection.execute(_SQL["apply_staged"])
            duplicates = await self._claim_ids(connection, tenant_id, claims, now=now)
            alive = {key: size for key, size in sizes.items() if key not in duplicates}
            shifts: dict[InvoiceState, dict[UUID, int]] = {state: {} for state in InvoiceState}
            for chunk in chunks:
                mine = [size for key, size in alive.items() if chunk.id <= key <= chunk.last_id]
                finished = await connection.execute(
                    _SQL["finish_singles"],
                    {
                        "id": chunk.id,
                        "blob_key": blob_key,
                        "queued": len(mine),
                        "queued_bytes": sum(mine) + ENTRY_OVERHEAD_BYTES * len(mine),
                    },
                )
                if await finished.fetchone() is None:
                    continue
                shifts[InvoiceState.QUEUED][chunk.upload_id] = len(mine)
                shifts[InvoiceState.INVALID][chunk.upload_id] = invalid.get(chunk.id, 0)
                shifts[InvoiceState.DUPLICATE][chunk.upload_id] = sum(
                    1 for key in duplicates if chunk.id <= key <= chunk.last_id
                )
            for state, by_upload in shifts.items():
                moved = {key: count for key, count in by_upload.items() if count}
                await self._uploads.shift(connection, moved, old=InvoiceState.RECEIVED, new=state)
            await self._uploads.complete(connection, [chunk.upload_id for chunk in chunks], now=now)
        return len(duplicates)

    async def finish_upload(self, upload: Upload, *, errors: Sequence[Mapping[str, Any]], now: datetime) -> None:
        """End the reading of an upload; with all or nothing asked for, let its invoices go or fail them all."""
        async with self._database.transaction() as connection:
            if upload.atomic and errors:
                await self._fail_held(connection, upload, now=now)
            elif upload.atomic:
                await connection.execute(_SQL["release_held"], {"upload_id": upload.id})
            await self._uploads.finish_reading(connection, upload, errors=errors, now=now)
            if upload.blob_key is not None:
                await self._jobs.defer(Task.DROP_BLOBS, connection=connection, keys=[upload.blob_key])
            if upload.segmented:
                await forget_segments(self._jobs, connection, upload.id)

    async def tenants_with_unchecked_singles(self) -> list[int]:
        """Give the tenants whose single posts wait for a check."""
        return [row["tenant_id"] for row in await self._database.fetch_all(_SQL["tenants_with_unchecked_singles"])]

    async def blob_keys(self, upload_id: UUID) -> set[str]:
        """Give the keys of the blobs that committed chunks of an upload refer to."""
        rows = await self._database.fetch_all(_SQL["chunk_blob_keys"], {"upload_id": upload_id})
        return {row["blob_key"] for row in rows}

    async def unshared_blob_keys(self, upload_id: UUID) -> set[str]:
        """Give the blobs of an upload that no unexpired upload refers to as well."""
        rows = await self._database.fetch_all(_SQL["unshared_blob_keys"], {"upload_id": upload_id})
        return {row["blob_key"] for row in rows}

    async def lanes_with_queue(self) -> list[DictRow]:
        """Give each lane with waiting invoices: lane_id, tenant_id, queued, oldest."""
        return await self._database.fetch_all(_SQL["lanes_with_queue"])

    async def _claim(
        self,
        connection: Connection,
        tenant_id: int,
        claims: Sequence[tuple[UUID, int]],
        chunk: UUID,
        *,
        now: datetime,
    ) -> list[int]:
        lost = await self._claim_ids(
            connection,
            tenant_id,
            [(identity, invoice_id(chunk, position)) for identity, position in claims],
            now=now,
        )
        return [key.int - chunk.int for key in lost]

    async def _claim_ids(
        self, connection: Connection, tenant_id: int, claims: Sequence[tuple[UUID, UUID]], *, now: datetime
    ) -> set[UUID]:
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
        hashes = await connection.execute(
            "SELECT id, sha256, number FROM invoices WHERE id = ANY(%(ids)s)",
            {"ids": [row["invoice_id"] for row in lost]},
        )
        own = {row["id"]: row for row in await hashes.fetchall()}
        await connection.execute(
            _SQL["mark_duplicates"],
            {
                "now": now,
                "ids": [row["invoice_id"] for row in lost],
                "holders": [row["holder"] for row in lost],
                "findings": [
                    json.dumps(
                        _duplicate_finding(row, same=own[row["invoice_id"]]["sha256"] == row["holder_sha256"]).as_dict()
                    )
                    for row in lost
                ],
            },
        )
        return {row["invoice_id"] for row in lost}

    async def _set_queue(self, connection: Connection, chunk: CheckedChunk, duplicates: Sequence[int]) -> None:
        gone = set(duplicates)
        alive = [size for position, size in chunk.sizes.items() if position not in gone]
        await connection.execute(
            _SQL["set_chunk_queue"],
            {
                "id": chunk.id,
                "queued": len(alive),
                "queued_bytes": sum(alive) + ENTRY_OVERHEAD_BYTES * len(alive),
                "latest_issue_date": chunk.latest_issue_date,
            },
        )

    async def _fail_held(self, connection: Connection, upload: Upload, *, now: datetime) -> None:
        finding = Finding(
            "upload-not-complete",
            Severity.ERROR,
            "The upload asked for all or nothing and could not be read to its end, so nothing of it is sent.",
            "Przesyłka miała zostać przyjęta w całości albo wcale, a nie dało się jej odczytać do końca; "
            "żadna faktura z niej nie zostanie wysłana.",
        )
        cursor = await connection.execute(
            _SQL["fail_held_invoices"],
            {"upload_id": upload.id, "finding": json.dumps([finding.as_dict()]), "now": now},
        )
        row = await cursor.fetchone()
        await connection.execute(_SQL["drop_held"], {"upload_id": upload.id})
        await self._uploads.shift(
            connection,
            {upload.id: row["failed"] if row else 0},
            old=InvoiceState.QUEUED,
            new=InvoiceState.FAILED,
        )


def _duplicate_finding(row: Mapping[str, Any], *, same: bool) -> Finding:
    holder = public_id("inv", row["holder"])
    known = f" ({row['holder_ksef_number']})" if row["holder_ksef_number"] else ""
    if same:
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
