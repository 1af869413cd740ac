"""Uploads: durable request bodies, the progress of their reading, and the states of their invoices."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from psycopg.errors import UniqueViolation

from app.domain.fairness import behind
from app.domain.ids import public_id
from app.domain.states import InvoiceState, UploadState
from app.domain.timestamps import iso_utc
from app.errors import IdempotencyKeyReused, NotFound, TryLater
from app.store.database import Connection, Database, queries
from app.store.events.outbox import EventType, Outbox
from app.store.jobs import INTAKE_SHORT, QUEUES, JobQueue, Task

_SQL: Final = queries("uploads")

REPEAT_WINDOW: Final = timedelta(days=7)
"""How long the same body counts as a repeat of the first, and how long an Idempotency-Key is remembered."""

_EXPIRED_AT_ONCE: Final = 1_000

SHORT_UPLOAD_BYTES: Final = 4_000_000
"""Most bytes of a short upload: some thousands of invoices, read within seconds."""
SHORT_AT_A_TIME: Final = 2
LONG_AT_A_TIME: Final = 4
"""Most uploads of one tenant that are read at the same time, by all workers together. One keeps a machine busy."""


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
    sha256: bytes | None
    """None until a body that came in pieces has been read once."""
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
    segmented: bool = False
    """Whether it came in pieces: then its bytes are segments instead of one blob."""
    declared_sha256: bytes | None = None
    repeat_of: UUID | None = None
    """The first upload of the same body within `REPEAT_WINDOW`."""

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

        Returns the upload and whether it is new: with an Idempotency-Key that was used for the same body with the same
        parameters, the first upload is given again. Raises IdempotencyKeyReused when the key was used otherwise.
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
                await self._note_repeat(connection, new.tenant_id, new.id, new.sha256, now=now)
                await self.read_soon_for_job(connection, new.id)
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
        earlier = await self.with_key(new.tenant_id, new.idempotency_key)
        if earlier is None:
            await self._refuse_key_of_unfinished(new.tenant_id, new.idempotency_key)
            return None
        key = repr(new.idempotency_key[:64])
        if earlier.sha256 is None and earlier.size == new.size:
            raise TryLater(
                f"the body that came first with Idempotency-Key {key} is being hashed; ask again in a moment"
            )
        if (earlier.sha256, earlier.kind, earlier.content_encoding) != (new.sha256, new.kind, new.content_encoding):
            raise IdempotencyKeyReused(
                f"Idempotency-Key {key} was used for another body; choose a new key for a new body"
            )
        asked = (new.offline_mode, new.flush, new.atomic)
        if (earlier.offline_mode, earlier.flush, earlier.atomic) != asked:
            raise IdempotencyKeyReused(
                f"Idempotency-Key {key} was used for this body with another offline, flush or atomic; choose a new key"
            )
        return earlier

    async def with_key(self, tenant_id: int, idempotency_key: str) -> Upload | None:
        """Give the upload that came with an Idempotency-Key."""
        row = await self._database.fetch_one(
            _SQL["upload_by_idempotency_key"], {"tenant_id": tenant_id, "idempotency_key": idempotency_key}
        )
        return upload_from_row(row) if row else None

    async def _refuse_key_of_unfinished(self, tenant_id: int, idempotency_key: str) -> None:
        row = await self._database.fetch_one(
            _SQL["unfinished_with_key"], {"tenant_id": tenant_id, "idempotency_key": idempotency_key}
        )
        if row is not None:
            raise IdempotencyKeyReused(
                f"Idempotency-Key {idempotency_key[:64]!r} belongs to {public_id('upl', row['id'])}, which is arriving in pieces"
            )

    async def set_hash(self, upload: Upload, sha256: bytes, *, now: datetime) -> Upload:
        """Record the hash of a resumable upload, and whether it repeats an earlier one; return the changed upload."""
        async with self._database.transaction() as connection:
            await connection.execute(_SQL["set_hash"], {"id": upload.id, "sha256": sha256})
            await self._note_repeat(connection, upload.tenant_id, upload.id, sha256, now=now)
        return await self.get(upload.tenant_id, upload.id)

    async def _note_repeat(
        self, connection: Connection, tenant_id: int, upload_id: UUID, sha256: bytes, *, now: datetime
    ) -> None:
        # Of two equal bodies that arrive at the same moment, one waits here for the commit of the other, and then finds it.
        await connection.execute(_SQL["lock_hash"], {"tenant_id": tenant_id, "sha256": sha256})
        await connection.execute(
            _SQL["note_repeat"],
            {"tenant_id": tenant_id, "id": upload_id, "sha256": sha256, "since": now - REPEAT_WINDOW},
        )

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

    async def read_soon_for_job(self, connection: Connection, upload_id: UUID, *, once: str | None = None) -> None:
        """Defer the job that reads an upload, in the transaction that made its row, or for a missing job (`once`).

        Only a few uploads of one tenant are read at a time, and the more of them wait, the lower is the priority of the next one.
        Short uploads have a queue of their own, so that they never wait for a long one.
        """
        cursor = await connection.execute(_SQL["unread_beside"], {"id": upload_id})
        row = await cursor.fetchone()
        if row is None:
            return
        short = row["bytes"] <= SHORT_UPLOAD_BYTES
        queue = INTAKE_SHORT if short else QUEUES[Task.READ_UPLOAD]
        await self._jobs.defer(
            Task.READ_UPLOAD,
            connection=connection,
            queue=queue,
            # The same upload always has the same lock, so it is never read twice at a time either.
            lock=f"{queue}:{row['tenant_id']}:{upload_id.int % (SHORT_AT_A_TIME if short else LONG_AT_A_TIME)}",
            once=once,
            priority=-behind(row["others"]),
            upload_id=str(upload_id),
        )

    async def start_reading_for_job(self, upload_id: UUID) -> Upload | None:
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
        await self.complete_for_job(connection, [upload.id], now=now)

    async def complete_for_job(self, connection: Connection, ids: Iterable[UUID], *, now: datetime) -> None:
        """Complete those uploads whose invoices all have their last state, and add their events."""
        cursor = await connection.execute(_SQL["complete_uploads"], {"ids": sorted(ids), "now": now})
        for row in await cursor.fetchall():
            if row["kind"] == "invoices":
                # A group of single posts has no event: clients did not make it, and its invoices have events of their own.
                continue
            upload = await connection.execute(_SQL["get_upload_for_job"], {"id": row["id"]})
            found = await upload.fetchone()
            assert found is not None  # noqa: S101 - the row was updated a moment ago in this transaction
            await self._outbox.add(
                connection,
                EventType.UPLOAD_COMPLETED,
                tenant_id=row["tenant_id"],
                data=upload_json(upload_from_row(found)),
                now=now,
            )

    async def unread_for_job(self) -> list[UUID]:
        """Give the uploads that are not read to their end."""
        return [row["id"] for row in await self._database.fetch_all(_SQL["unread_uploads"])]

    async def expired_for_job(self, *, before: datetime) -> list[UUID]:
        """Return uploads that completed before a moment and still have their bytes, a bounded number."""
        parameters = {"before": before, "limit": _EXPIRED_AT_ONCE}
        return [row["id"] for row in await self._database.fetch_all(_SQL["expired_uploads"], parameters)]

    async def mark_expired_for_job(self, upload_ids: Sequence[UUID], *, now: datetime) -> None:
        """Record that the bytes of the invoices of these uploads are removed."""
        await self._database.execute(_SQL["mark_expired"], {"ids": list(upload_ids), "now": now})

    async def remove_expired_groups_for_job(self) -> int:
        """Delete the rows of expired groups of single posts; return how many. Their invoices stay. Safe to stop at any moment."""
        removed = 0
        while rows := await self._database.execute(_SQL["remove_expired_groups"], {"limit": _EXPIRED_AT_ONCE}):
            removed += rows
        return removed

    async def unknown_blobs_for_job(self, keys: Sequence[str]) -> list[str]:
        """Return those of some blob keys to which no row of any table refers."""
        rows = await self._database.fetch_all(_SQL["unknown_blobs"], {"keys": list(keys)})
        return [row["key"] for row in rows]

    async def forget_idempotency_keys_for_job(self, *, before: datetime) -> int:
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
        sha256=bytes(row["sha256"]) if row["sha256"] is not None else None,
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
        segmented=row["segmented"],
        declared_sha256=bytes(row["declared_sha256"]) if row["declared_sha256"] is not None else None,
        repeat_of=row["repeat_of"],
    )


def upload_json(upload: Upload) -> dict[str, Any]:
    """Return an upload as the API and the `upload.completed` event show it; `app.shapes.Upload` describes it."""
    return {
        "id": upload.public_id,
        "state": upload.state.value,
        "bytes": upload.size,
        "sha256": upload.sha256.hex() if upload.sha256 is not None else None,
        "reference": upload.reference,
        "counts": {state.value: count for state, count in upload.counts.items() if count},
        "errors": upload.errors,
        "repeat_of": public_id("upl", upload.repeat_of) if upload.repeat_of is not None else None,
        "created_at": iso_utc(upload.created_at),
        "completed_at": iso_utc(upload.completed_at),
    }
