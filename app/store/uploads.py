"""Uploads: request bodies that were made durable, how far they have been read, and what became of their invoices."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from psycopg.errors import UniqueViolation

from app.domain.ids import public_id
from app.domain.states import InvoiceState, UploadState
from app.errors import IdempotencyKeyReused, NotFound
from app.store.database import Connection, Database, queries
from app.store.events import EventType, Outbox
from app.store.jobs import JobQueue, Task

_SQL: Final = queries("uploads")


@dataclass(frozen=True, slots=True)
class Upload:
    """One request body. `kind` is a `BodyKind` value, or `invoices` for single posts that were stored together."""

    id: UUID
    tenant_id: int
    kind: str
    boundary: str | None
    state: UploadState
    blob_key: str | None
    size: int
    sha256: bytes
    reference: str | None
    offline_mode: bool
    flush: bool
    atomic: bool
    next_entry: int
    errors: list[dict[str, Any]]
    created_at: datetime
    read_at: datetime | None
    completed_at: datetime | None
    counts: dict[InvoiceState, int]
    content_encoding: str | None = None
    """`gzip` when the stored bytes have to be inflated before they are what `kind` says."""

    @property
    def public_id(self) -> str:
        """The id that users see."""
        return public_id("upl", self.id)


@dataclass(frozen=True, slots=True)
class NewUpload:
    """A body whose bytes are durable already and that is to be acknowledged."""

    id: UUID
    tenant_id: int
    kind: str
    boundary: str | None
    blob_key: str
    size: int
    sha256: bytes
    reference: str | None
    idempotency_key: str | None
    offline_mode: bool
    flush: bool
    atomic: bool
    content_encoding: str | None = None


class UploadStore:
    """Rows of uploads."""

    def __init__(self, database: Database, jobs: JobQueue, outbox: Outbox) -> None:
        self._database = database
        self._jobs = jobs
        self._outbox = outbox

    async def add(self, new: NewUpload, *, now: datetime) -> tuple[Upload, bool]:
        """Acknowledge an upload: its row and the job that reads it, in one transaction.

        Returns the upload and whether it is new: with an Idempotency-Key that was used for the same body, the first
        upload is given again. Raises IdempotencyKeyReused when the key was used for another body.
        """
        earlier = await self._by_idempotency_key(new)
        if earlier is not None:
            return earlier, False
        try:
            async with self._database.transaction() as connection:
                await connection.execute(
                    _SQL["add_upload"],
                    {field: getattr(new, field) for field in NewUpload.__dataclass_fields__}
                    | {"bytes": new.size, "now": now, "state": UploadState.RECEIVED.value, "received": 0},
                )
                await self._jobs.defer(
                    Task.READ_UPLOAD, connection=connection, lock=f"upload:{new.id}", upload_id=str(new.id)
                )
        except UniqueViolation:
            # The same key arrived twice at the same moment; the other request was first.
            earlier = await self._by_idempotency_key(new)
            if earlier is None:
                raise
            return earlier, False
        return await self.get(new.tenant_id, new.id), True

    async def _by_idempotency_key(self, new: NewUpload) -> Upload | None:
        if new.idempotency_key is None:
            return None
        row = await self._database.fetch_one(
            _SQL["upload_by_idempotency_key"],
            {"tenant_id": new.tenant_id, "idempotency_key": new.idempotency_key},
        )
        if row is None:
            return None
        told = (bytes(row["sha256"]), row["kind"], row["content_encoding"])
        if told != (new.sha256, new.kind, new.content_encoding):
            raise IdempotencyKeyReused(
                f"Idempotency-Key {new.idempotency_key[:64]!r} was used for another body; choose a new key for a new body"
            )
        return upload_from_row(row)

    async def get(self, tenant_id: int, upload_id: UUID) -> Upload:
        """Give one upload of a tenant. Raises NotFound."""
        row = await self._database.fetch_one(_SQL["get_upload"], {"tenant_id": tenant_id, "id": upload_id})
        if row is None:
            raise NotFound(f"there is no upload {public_id('upl', upload_id)}")
        return upload_from_row(row)

    async def page(self, tenant_id: int, *, before: UUID | None, limit: int) -> list[Upload]:
        """Give a tenant's uploads, newest first, older than `before`."""
        rows = await self._database.fetch_all(
            _SQL["list_uploads"], {"tenant_id": tenant_id, "before": before, "limit": limit}
        )
        return [upload_from_row(row) for row in rows]

    async def spooled_bytes(self) -> int:
        """Sum the bytes of all uploads that are stored but not read yet."""
        row = await self._database.fetch_one(_SQL["spooled_bytes"])
        return int(row["bytes"]) if row else 0

    async def start_reading(self, upload_id: UUID) -> Upload | None:
        """Mark an upload as being read and give it; None when it has been read to its end already."""
        row = await self._database.fetch_one(_SQL["start_reading"], {"id": upload_id})
        return upload_from_row(row) if row else None

    async def finish_reading(
        self, connection: Connection, upload: Upload, *, errors: Sequence[Mapping[str, Any]], now: datetime
    ) -> None:
        """Record that an upload was read to its end (no errors) or as far as it could be (errors)."""
        state = UploadState.FAILED if errors else UploadState.IN_PROGRESS
        await connection.execute(
            _SQL["finish_reading"],
            {"id": upload.id, "state": state.value, "errors": json.dumps(list(errors)), "now": now},
        )
        await self.complete(connection, [upload.id], now=now)

    async def shift(
        self,
        connection: Connection,
        by_upload: Mapping[UUID, int],
        *,
        old: InvoiceState,
        new: InvoiceState,
    ) -> None:
        """Move invoices between two counts of their uploads. Call it last in a transaction: the rows are locked."""
        if not by_upload:
            return
        ids = sorted(by_upload)
        await connection.execute(_SQL["lock_uploads"], {"ids": ids})
        await connection.execute(
            _SQL["shift_counts"],
            {"ids": ids, "counts": [by_upload[key] for key in ids], "old": old.value, "new": new.value},
        )

    async def complete(self, connection: Connection, ids: Iterable[UUID], *, now: datetime) -> None:
        """Complete those uploads of which nothing is on the way any more, and tell of it."""
        cursor = await connection.execute(_SQL["complete_uploads"], {"ids": sorted(ids), "now": now})
        for row in await cursor.fetchall():
            if row["kind"] == "invoices":
                # A group of single posts is our own grouping; its invoices have events of their own.
                continue
            upload = await connection.execute(_SQL["get_upload_for_job"], {"id": row["id"]})
            found = await upload.fetchone()
            assert found is not None  # noqa: S101 - the row was updated a moment ago in this transaction
            await self._outbox.add(
                connection,
                EventType.UPLOAD_COMPLETED,
                tenant_id=row["tenant_id"],
                data=upload_document(upload_from_row(found)),
                now=now,
            )

    async def unread(self) -> list[UUID]:
        """Give the uploads that are not read to their end."""
        return [row["id"] for row in await self._database.fetch_all(_SQL["unread_uploads"])]

    async def expired(self, *, before: datetime) -> list[UUID]:
        """Give uploads that completed before a moment and still have their bytes."""
        return [row["id"] for row in await self._database.fetch_all(_SQL["expired_uploads"], {"before": before})]

    async def mark_expired(self, upload_id: UUID, *, now: datetime) -> None:
        """Record that the bytes of an upload's invoices are removed."""
        await self._database.execute(_SQL["mark_expired"], {"id": upload_id, "now": now})

    async def unknown_blobs(self, keys: Sequence[str]) -> list[str]:
        """Give those of some blob keys that no row of any table speaks of."""
        rows = await self._database.fetch_all(_SQL["unknown_blobs"], {"keys": list(keys)})
        return [row["key"] for row in rows]

    async def forget_idempotency_keys(self, *, before: datetime) -> int:
        """Let keys of uploads older than `before` be used anew."""
        return await self._database.execute(_SQL["forget_idempotency_keys"], {"before": before})


def upload_from_row(row: Mapping[str, Any]) -> Upload:
    """Turn a row of `uploads` into an Upload."""
    return Upload(
        id=row["id"],
        tenant_id=row["tenant_id"],
        kind=row["kind"],
        boundary=row["boundary"],
        state=UploadState(row["state"]),
        blob_key=row["blob_key"],
        size=row["bytes"],
        sha256=bytes(row["sha256"]),
        reference=row["reference"],
        offline_mode=row["offline_mode"],
        flush=row["flush"],
        atomic=row["atomic"],
        next_entry=row["next_entry"],
        errors=row["errors"],
        created_at=row["created_at"],
        read_at=row["read_at"],
        completed_at=row["completed_at"],
        counts={state: row[state.value] for state in InvoiceState},
        content_encoding=row["content_encoding"],
    )


def upload_document(upload: Upload) -> dict[str, Any]:
    """Give the shape of an upload that the API and the `upload.completed` event show."""
    return {
        "id": upload.public_id,
        "state": upload.state.value,
        "bytes": upload.size,
        "sha256": upload.sha256.hex(),
        "reference": upload.reference,
        "counts": {state.value: count for state, count in upload.counts.items() if count},
        "errors": upload.errors,
        "created_at": iso_utc(upload.created_at),
        "completed_at": iso_utc(upload.completed_at),
    }


def iso_utc(moment: datetime | None) -> str | None:
    """Write a time as users see it: UTC, ISO 8601, milliseconds (as the database function of the same name does)."""
    if moment is None:
        return None
    offset = moment.utcoffset()
    naive = moment.replace(tzinfo=None) - offset if offset is not None else moment
    return naive.isoformat(timespec="milliseconds") + "Z"
