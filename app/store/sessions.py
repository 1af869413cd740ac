"""Sessions: which invoices travel together, the package's parts, every step towards KSeF and back, and the verdicts."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

from psycopg.rows import DictRow

from app.domain.ids import public_id
from app.domain.states import SESSION_MOVES, InvoiceState, SessionState
from app.errors import NotFound
from app.store.chunks import ENTRY_OVERHEAD_BYTES
from app.store.database import Connection, Database, queries
from app.store.secrets import SecretBox
from app.store.uploads import UploadStore, iso_utc

_SQL: Final = queries("sessions")


@dataclass(frozen=True, slots=True)
class Session:
    """One batch session, as its row has it."""

    id: UUID
    tenant_id: int
    lane_id: int
    state: SessionState
    form_code: str
    offline_mode: bool
    compression: str
    invoices: int
    latest_issue_date: date | None
    package_bytes: int | None
    package_sha256: bytes | None
    iv: bytes | None
    reference_number: str | None
    ksef_status: int | None
    polls: int
    key_renewals: int
    strikes: int
    incomplete_looks: int
    accepted: int
    rejected: int
    failed: int
    requeued: int
    sealed_at: datetime
    packed_at: datetime | None
    opened_at: datetime | None
    ksef_created_at: datetime | None
    closed_at: datetime | None
    processed_at: datetime | None
    completed_at: datetime | None

    @property
    def public_id(self) -> str:
        """The id that users see."""
        return public_id("ses", self.id)


@dataclass(frozen=True, slots=True)
class Part:
    """One encrypted part of a package; `uploaded` once KSeF's storage answered 201."""

    ordinal_number: int
    size: int
    sha256: bytes
    blob_key: str
    uploaded: bool


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits in a lane: invoices, their bytes as ready entries, and since when, all of it and those of today."""

    invoices: int
    bytes: int
    oldest: datetime | None
    oldest_of_today: datetime | None


@dataclass(frozen=True, slots=True)
class Receipt:
    """One document of a UPO."""

    invoice_hash: bytes
    ksef_number: str
    acquired_at: datetime | None
    mode: str | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """An invoice that ends without a number, and why."""

    invoice_id: UUID
    finding: Mapping[str, Any]
    invoice_reference_number: str | None = None


class SessionStore:
    """Rows of sessions, their parts, receipts and history."""

    def __init__(self, database: Database, uploads: UploadStore, box: SecretBox) -> None:
        self._database = database
        self._uploads = uploads
        self._box = box

    async def get_for_job(self, session_id: UUID) -> Session:
        """Give a session to a worker. Raises NotFound."""
        row = await self._database.fetch_one(_SQL["get_session_for_job"], {"id": session_id})
        if row is None:
            raise NotFound(f"there is no session {public_id('ses', session_id)}")
        return _session(row)

    async def get(self, tenant_id: int, session_id: UUID) -> Session:
        """Give one session of a tenant. Raises NotFound."""
        row = await self._database.fetch_one(_SQL["get_session"], {"id": session_id, "tenant_id": tenant_id})
        if row is None:
            raise NotFound(f"there is no session {public_id('ses', session_id)}")
        return _session(row)

    async def page(self, tenant_id: int, *, before: UUID | None, state: str | None, limit: int) -> list[Session]:
        """Give a tenant's sessions, newest first, older than `before`."""
        rows = await self._database.fetch_all(
            _SQL["list_sessions"], {"tenant_id": tenant_id, "before": before, "state": state, "limit": limit}
        )
        return [_session(row) for row in rows]

    async def unfinished(self) -> list[tuple[UUID, SessionState]]:
        """Give all sessions that have not ended, oldest first."""
        rows = await self._database.fetch_all(_SQL["unfinished_sessions"])
        return [(row["id"], SessionState(row["state"])) for row in rows]

    async def state_counts(self) -> dict[str, int]:
        """Count all sessions by state."""
        return {row["state"]: row["n"] for row in await self._database.fetch_all(_SQL["session_state_counts"])}

    # --- sealing ---

    async def lock_lane(self, connection: Connection, lane_id: int) -> DictRow | None:
        """Take a lane for sealing; gives its row with `disabled` of its tenant."""
        return await (await connection.execute(_SQL["lock_lane"], {"lane_id": lane_id})).fetchone()

    async def backlog(self, connection: Connection, lane_id: int, *, today: date) -> Backlog:
        """Say what waits in a lane. Chunks whose latest `P_1` is `today` or later count as today's."""
        parameters = {"lane_id": lane_id, "today": today}
        row = await (await connection.execute(_SQL["lane_backlog"], parameters)).fetchone()
        assert row is not None  # noqa: S101 - an aggregate without groups gives a row
        return Backlog(**row)

    async def seal(
        self,
        connection: Connection,
        lane: Mapping[str, Any],
        *,
        session_id: UUID,
        max_invoices: int,
        max_bytes: int,
        now: datetime,
    ) -> int:
        """Give a new session the oldest invoices of a lane, within both limits; returns how many it got.

        A single entry above `max_bytes` cannot exist: documents are limited to 3 MB long before.
        """
        await connection.execute(
            _SQL["add_session"],
            {
                "id": session_id,
                "tenant_id": lane["tenant_id"],
                "lane_id": lane["id"],
                "form_code": lane["form_code"],
                "offline_mode": lane["offline_mode"],
                "compression": lane["compression"],
                "now": now,
            },
        )
        taken, size = 0, 0
        latest: date | None = None
        by_upload: dict[UUID, int] = {}
        cursor = await connection.execute(_SQL["queued_chunks"], {"lane_id": lane["id"], "limit": max_invoices})
        for chunk in await cursor.fetchall():
            if taken >= max_invoices:
                break
            rows = await connection.execute(
                _SQL["take_invoices"],
                {
                    "session_id": session_id,
                    "first": chunk["id"],
                    "last": chunk["last_id"],
                    "limit": max_invoices - taken,
                    "max_bytes": max_bytes - size,
                    "overhead": ENTRY_OVERHEAD_BYTES,
                },
            )
            got = 0
            for row in await rows.fetchall():
                by_upload[row["upload_id"]] = by_upload.get(row["upload_id"], 0) + row["n"]
                got += row["n"]
                size += row["bytes"]
                latest = max(filter(None, (latest, row["latest"])), default=None)
            taken += got
            if got < chunk["queued"]:
                break
        await connection.execute(
            _SQL["set_session_size"], {"id": session_id, "invoices": taken, "latest_issue_date": latest}
        )
        await self._history(connection, session_id, "seal", "sealed", {"invoices": taken}, now=now)
        await self._uploads.shift(connection, by_upload, old=InvoiceState.QUEUED, new=InvoiceState.PACKED)
        return taken

    # --- packing ---

    async def entries(self, session_id: UUID) -> list[DictRow]:
        """Give what the package is made of: id, crc32, size, blob_key, blob_offset, blob_bytes, in the package's order."""
        return await self._database.fetch_all(_SQL["session_entries"], {"session_id": session_id})

    async def packed(
        self,
        connection: Connection,
        session_id: UUID,
        *,
        package_bytes: int,
        package_sha256: bytes,
        key: bytes,
        iv: bytes,
        parts: Sequence[Mapping[str, Any]],
        now: datetime,
    ) -> bool:
        """Record a finished package; False when an earlier run of the job did so already."""
        cursor = await connection.execute(
            _SQL["packed"],
            {
                "id": session_id,
                "package_bytes": package_bytes,
                "package_sha256": package_sha256,
                "encryption_key": self._box.encrypt(key, purpose=f"session-key:{session_id}"),
                "iv": iv,
                "now": now,
            },
        )
        if await cursor.fetchone() is None:
            return False
        await connection.execute(_SQL["drop_parts"], {"session_id": session_id})
        for part in parts:
            await connection.execute(_SQL["add_part"], {"session_id": session_id} | dict(part))
        detail = {"package_bytes": package_bytes, "parts": len(parts)}
        await self._history(connection, session_id, "pack", "packed", detail, now=now)
        return True

    async def encryption_key(self, session_id: UUID) -> bytes:
        """Decrypt a session's AES key. Raises NotFound when it is destroyed: the session is final."""
        row = await self._database.fetch_one(_SQL["get_session_for_job"], {"id": session_id})
        if row is None or row["encryption_key"] is None:
            raise NotFound("the session's key is destroyed")
        return self._box.decrypt(row["encryption_key"], purpose=f"session-key:{session_id}")

    async def parts(self, session_id: UUID) -> list[Part]:
        """Give a session's parts by ordinal number."""
        rows = await self._database.fetch_all(_SQL["list_parts"], {"session_id": session_id})
        return [
            Part(
                row["ordinal_number"],
                row["bytes"],
                bytes(row["sha256"]),
                row["blob_key"],
                row["uploaded_at"] is not None,
            )
            for row in rows
        ]

    async def upload_targets(self, session_id: UUID) -> dict[int, dict[str, Any]]:
        """Decrypt where each part goes: {ordinal: {method, url, headers}}. The links are secrets."""
        rows = await self._database.fetch_all(_SQL["list_parts"], {"session_id": session_id})
        return {
            row["ordinal_number"]: json.loads(
                self._box.decrypt(row["upload_target"], purpose=f"upload-target:{session_id}")
            )
            for row in rows
            if row["upload_target"] is not None
        }

    # --- dispatch ---

    async def move(
        self,
        session: Session,
        new: SessionState,
        *,
        action: str,
        outcome: str,
        now: datetime,
        detail: Mapping[str, Any] | None = None,
        connection: Connection | None = None,
    ) -> bool:
        """Move a session to another state with a line in its history; False when it is not in the old one any more."""
        if new not in SESSION_MOVES[session.state]:
            raise ValueError(f"a session does not go from {session.state} to {new}")
        if connection is None:
            async with self._database.transaction() as own:
                return await self._move(own, session, new, action, outcome, detail, now=now)
        return await self._move(connection, session, new, action, outcome, detail, now=now)

    async def _move(
        self,
        connection: Connection,
        session: Session,
        new: SessionState,
        action: str,
        outcome: str,
        detail: Mapping[str, Any] | None,
        *,
        now: datetime,
    ) -> bool:
        cursor = await connection.execute(
            _SQL["move_session"], {"id": session.id, "old": session.state.value, "new": new.value, "now": now}
        )
        if await cursor.fetchone() is None:
            return False
        await self._history(connection, session.id, action, outcome, detail or {}, now=now)
        return True

    async def opened(
        self,
        session_id: UUID,
        *,
        reference_number: str,
        targets: Mapping[int, Mapping[str, Any]],
        now: datetime,
    ) -> bool:
        """Record KSeF's answer to open, before any part goes out; False when another run was faster."""
        async with self._database.transaction() as connection:
            cursor = await connection.execute(
                _SQL["opened"], {"id": session_id, "reference_number": reference_number, "now": now}
            )
            if await cursor.fetchone() is None:
                return False
            for ordinal_number, target in targets.items():
                sealed = self._box.encrypt(json.dumps(dict(target)).encode(), purpose=f"upload-target:{session_id}")
                await connection.execute(
                    _SQL["set_upload_target"],
                    {"session_id": session_id, "ordinal_number": ordinal_number, "upload_target": sealed},
                )
            detail = {"reference_number": reference_number, "parts": len(targets)}
            await self._history(connection, session_id, "open", "opened", detail, now=now)
        return True

    async def part_uploaded(self, session_id: UUID, ordinal_number: int, *, now: datetime) -> None:
        """Record that storage answered 201 for a part."""
        async with self._database.transaction() as connection:
            await connection.execute(
                _SQL["part_uploaded"], {"session_id": session_id, "ordinal_number": ordinal_number, "now": now}
            )
            detail = {"ordinal_number": ordinal_number}
            await self._history(connection, session_id, "put-part", "stored", detail, now=now)

    async def renew_key(self, session_id: UUID) -> None:
        """Count that the session's AES key is wrapped with another public key."""
        await self._database.execute(_SQL["renew_key"], {"id": session_id})

    async def strike(self, session_id: UUID) -> int:
        """Count a look that found no such session; returns how many in a row."""
        row = await self._database.fetch_one(_SQL["strike"], {"id": session_id})
        return int(row["strikes"]) if row else 0

    async def incomplete_look(self, session_id: UUID) -> int:
        """Count a look after which some invoices still had no verdict; returns how many."""
        row = await self._database.fetch_one(_SQL["incomplete_look"], {"id": session_id})
        return int(row["incomplete_looks"]) if row else 0

    async def earlier(self, session_id: UUID, invoice_ids: Sequence[UUID]) -> list[tuple[UUID, str]]:
        """Give the sessions that carried any of these invoices before, newest first: id and reference number."""
        rows = await self._database.fetch_all(
            _SQL["earlier_sessions"], {"session_id": session_id, "ids": list(invoice_ids)}
        )
        return [(row["id"], row["reference_number"]) for row in rows]

    async def part_missing(self, session_id: UUID, ordinal_number: int, *, now: datetime) -> None:
        """Record that KSeF does not have a part that we sent."""
        async with self._database.transaction() as connection:
            await connection.execute(_SQL["part_missing"], {"session_id": session_id, "ordinal_number": ordinal_number})
            detail = {"ordinal_number": ordinal_number}
            await self._history(connection, session_id, "close", "part-missing", detail, now=now)

    async def mark_sent(self, connection: Connection, session_id: UUID) -> int:
        """Move the session's invoices from packed to sent; returns how many."""
        cursor = await connection.execute(_SQL["mark_sent"], {"session_id": session_id})
        moved = {row["upload_id"]: row["n"] for row in await cursor.fetchall()}
        await self._uploads.shift(connection, moved, old=InvoiceState.PACKED, new=InvoiceState.SENT)
        return sum(moved.values())

    async def note(
        self, session_id: UUID, action: str, outcome: str, *, now: datetime, detail: Mapping[str, Any] | None = None
    ) -> None:
        """Add a line to a session's history by itself."""
        async with self._database.connection() as connection:
            await self._history(connection, session_id, action, outcome, detail or {}, now=now)

    # --- tracking ---

    async def count_poll(
        self, session_id: UUID, ksef_status: int, *, now: datetime, ksef_created_at: datetime | None = None
    ) -> int:
        """Record one answer of the status call, with the `dateCreated` that it told; returns how many there were."""
        parameters = {"id": session_id, "ksef_status": ksef_status, "ksef_created_at": ksef_created_at, "now": now}
        row = await self._database.fetch_one(_SQL["count_poll"], parameters)
        return int(row["polls"]) if row else 0

    async def add_upo_page(
        self,
        connection: Connection,
        session_id: UUID,
        *,
        page: int,
        upo_reference_number: str,
        blob_key: str,
        size: int,
        sha256: bytes,
        documents: int,
        now: datetime,
    ) -> None:
        """Record a UPO page whose bytes are stored."""
        await connection.execute(
            _SQL["add_upo_page"],
            {
                "session_id": session_id,
                "page": page,
                "upo_reference_number": upo_reference_number,
                "blob_key": blob_key,
                "bytes": size,
                "sha256": sha256,
                "documents": documents,
                "now": now,
            },
        )

    async def accept(
        self, connection: Connection, session_id: UUID, receipts: Sequence[Receipt], *, page: int, now: datetime
    ) -> int:
        """Give the documents of a UPO page their KSeF numbers; returns how many invoices that were."""
        cursor = await connection.execute(
            _SQL["accept_invoices"],
            {
                "session_id": session_id,
                "page": page,
                "now": now,
                "hashes": [receipt.invoice_hash for receipt in receipts],
                "ksef_numbers": [receipt.ksef_number for receipt in receipts],
                "acquired": [receipt.acquired_at for receipt in receipts],
                "modes": [receipt.mode for receipt in receipts],
            },
        )
        moved = {row["upload_id"]: row["n"] for row in await cursor.fetchall()}
        await self._uploads.shift(connection, moved, old=InvoiceState.SENT, new=InvoiceState.ACCEPTED)
        return sum(moved.values())

    async def by_hash(self, session_id: UUID, hashes: Sequence[bytes]) -> dict[bytes, DictRow]:
        """Find invoices of a session by the SHA-256 of their XML."""
        rows = await self._database.fetch_all(
            _SQL["session_invoice_by_hash"], {"session_id": session_id, "hashes": list(hashes)}
        )
        return {bytes(row["sha256"]): row for row in rows}

    async def unaccounted(self, session_id: UUID) -> list[DictRow]:
        """Give the session's invoices that have no verdict: id, sha256, attempts."""
        return await self._database.fetch_all(_SQL["sent_invoices"], {"session_id": session_id})

    async def refuse(
        self,
        connection: Connection,
        session_id: UUID,
        refusals: Sequence[Refusal],
        *,
        new: InvoiceState,
        old: InvoiceState = InvoiceState.SENT,
        now: datetime,
    ) -> int:
        """End invoices without a number (`rejected` or `failed`), each with its finding; returns how many."""
        cursor = await connection.execute(
            _SQL["refuse_invoices"],
            {
                "session_id": session_id,
                "state": new.value,
                "old": old.value,
                "now": now,
                "ids": [refusal.invoice_id for refusal in refusals],
                "findings": [json.dumps(dict(refusal.finding), ensure_ascii=False) for refusal in refusals],
                "references": [refusal.invoice_reference_number for refusal in refusals],
            },
        )
        moved = {row["upload_id"]: row["n"] for row in await cursor.fetchall()}
        await self._uploads.shift(connection, moved, old=old, new=new)
        return sum(moved.values())

    async def requeue(
        self,
        connection: Connection,
        session_id: UUID,
        invoice_ids: Sequence[UUID],
        *,
        old: InvoiceState,
        finding: Mapping[str, Any],
        uncounted: bool = False,
    ) -> int:
        """Send invoices back to their lane: KSeF's own answer says that nothing of them was accepted.

        `uncounted`: the session does not count among the tries of an invoice.
        """
        cursor = await connection.execute(
            _SQL["requeue_invoices"],
            {
                "session_id": session_id,
                "ids": list(invoice_ids),
                "old": old.value,
                "finding": json.dumps(dict(finding), ensure_ascii=False),
                "overhead": ENTRY_OVERHEAD_BYTES,
                "uncounted": uncounted,
            },
        )
        moved = {row["upload_id"]: row["n"] for row in await cursor.fetchall()}
        await self._uploads.shift(connection, moved, old=old, new=InvoiceState.QUEUED)
        return sum(moved.values())

    async def finish(
        self,
        connection: Connection,
        session: Session,
        new: SessionState,
        *,
        accepted: int,
        rejected: int,
        failed: int,
        requeued: int,
        detail: Mapping[str, Any],
        now: datetime,
    ) -> bool:
        """End a session and destroy its key; False when it ended already."""
        cursor = await connection.execute(
            _SQL["finish_session"],
            {
                "id": session.id,
                "old": session.state.value,
                "state": new.value,
                "accepted": accepted,
                "rejected": rejected,
                "failed": failed,
                "requeued": requeued,
                "now": now,
            },
        )
        if await cursor.fetchone() is None:
            return False
        await self._history(connection, session.id, "finish", new.value, detail, now=now)
        return True

    async def oldest_opened(self) -> dict[SessionState, datetime]:
        """Give the moment at which the oldest session of each unfinished state was opened; only states that have one."""
        rows = await self._database.fetch_all(_SQL["oldest_opened"])
        return {SessionState(row["state"]): row["opened_at"] for row in rows}

    async def upo_pages(self, session_id: UUID) -> list[DictRow]:
        """Give the UPO pages of a session: page, upo_reference_number, blob_key, bytes, sha256, documents, fetched_at."""
        return await self._database.fetch_all(_SQL["list_upo_pages"], {"session_id": session_id})

    async def history(self, session_id: UUID) -> list[DictRow]:
        """Give what happened to a session, oldest first: at, action, outcome, detail."""
        return await self._database.fetch_all(_SQL["session_history"], {"session_id": session_id})

    async def read_for_event(self, connection: Connection, session_id: UUID) -> tuple[Session, int, list[DictRow]]:
        """Read a session as a transaction sees it: the row, how many parts, and the UPO pages."""
        row = await (await connection.execute(_SQL["get_session_for_job"], {"id": session_id})).fetchone()
        if row is None:
            raise NotFound(f"there is no session {public_id('ses', session_id)}")
        parts = await (await connection.execute(_SQL["list_parts"], {"session_id": session_id})).fetchall()
        pages = await (await connection.execute(_SQL["list_upo_pages"], {"session_id": session_id})).fetchall()
        return _session(row), len(parts), pages

    async def uploads_of(self, connection: Connection, session_id: UUID) -> list[UUID]:
        """Give the uploads that a session took invoices from."""
        cursor = await connection.execute(_SQL["uploads_of_session"], {"session_id": session_id})
        return [row["upload_id"] for row in await cursor.fetchall()]

    async def _history(
        self,
        connection: Connection,
        session_id: UUID,
        action: str,
        outcome: str,
        detail: Mapping[str, Any],
        *,
        now: datetime,
    ) -> None:
        await connection.execute(
            _SQL["add_history"],
            {
                "session_id": session_id,
                "now": now,
                "action": action,
                "outcome": outcome,
                "detail": json.dumps(dict(detail), ensure_ascii=False, default=str),
            },
        )


def session_document(session: Session, *, parts: int, upo_pages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Give the shape of a session that the API and its events show, without history."""
    return {
        "id": session.public_id,
        "state": session.state.value,
        "reference_number": session.reference_number,
        "form_code": session.form_code,
        "offline_mode": session.offline_mode,
        "compression": session.compression,
        "invoices": session.invoices,
        "parts": parts,
        "bytes": session.package_bytes,
        "ksef_status": session.ksef_status,
        "sealed_at": iso_utc(session.sealed_at),
        "opened_at": iso_utc(session.opened_at),
        "closed_at": iso_utc(session.closed_at),
        "completed_at": iso_utc(session.completed_at),
        "counts": {
            "accepted": session.accepted,
            "rejected": session.rejected,
            "failed": session.failed,
            "requeued": session.requeued,
        },
        "upo": [
            {
                "page": page["page"],
                "reference_number": page["upo_reference_number"],
                "documents": page["documents"],
                "bytes": page["bytes"],
                "sha256": bytes(page["sha256"]).hex(),
                "href": f"/v1/sessions/{session.public_id}/upo/{page['page']}",
            }
            for page in upo_pages
        ],
    }


def _session(row: Mapping[str, Any]) -> Session:
    fields = {name: row[name] for name in Session.__dataclass_fields__}
    fields["state"] = SessionState(row["state"])
    for name in ("package_sha256", "iv"):
        fields[name] = bytes(row[name]) if row[name] is not None else None
    return Session(**fields)
