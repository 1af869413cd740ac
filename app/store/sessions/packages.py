"""Packages: the entries, the key and the parts of a session's package."""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from app.domain.history import HistoryAction, HistoryOutcome
from app.errors import NotFound
from app.store.database import Connection, Database, queries
from app.store.keys.envelope import Envelope
from app.store.keys.places import session_key_of
from app.store.sessions.journal import add_history

_SQL: Final = queries("session_packages")

_ENTRY: Final = struct.Struct(">HqIII")


@dataclass(frozen=True, slots=True)
class Part:
    """One encrypted part of a package; `uploaded` once KSeF's storage answered 201."""

    ordinal_number: int
    size: int
    sha256: bytes
    blob_key: str
    uploaded: bool


@dataclass(frozen=True, slots=True)
class ChunkEntries:
    """The invoices of one chunk that travel in a session, and the blob in which their ready entries lie."""

    chunk_id: UUID
    blob_key: str
    invoices: int
    entries: bytes

    def __iter__(self) -> Iterator[tuple[int, int, int, int, int]]:
        """Go through them in order: position in the chunk, CRC-32, size, and where in the blob (offset, bytes)."""
        return _ENTRY.iter_unpack(self.entries)


class PackageStore:
    """The entries, the key and the parts of a session's package."""

    def __init__(self, database: Database, box: Envelope) -> None:
        self._database = database
        self._box = box

    async def entries(self, session_id: UUID) -> list[ChunkEntries]:
        """Return the entries of the package, in its order."""
        rows = await self._database.fetch_all(_SQL["session_entries"], {"session_id": session_id}, binary=True)
        return [ChunkEntries(**row) for row in rows]

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
        owner = await (await connection.execute(_SQL["tenant_of_session"], {"id": session_id})).fetchone()
        if owner is None:
            raise NotFound("there is no such session")
        cursor = await connection.execute(
            _SQL["packed"],
            {
                "id": session_id,
                "package_bytes": package_bytes,
                "package_sha256": package_sha256,
                "encryption_key": self._box.encrypt(key, session_key_of(owner["tenant_id"], session_id)),
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
        await add_history(connection, session_id, HistoryAction.PACK, HistoryOutcome.PACKED, detail, now=now)
        return True

    async def encryption_key(self, session_id: UUID) -> bytes:
        """Decrypt a session's AES key. Raises NotFound when it is destroyed: the session is final."""
        row = await self._database.fetch_one(_SQL["encryption_key"], {"id": session_id})
        if row is None or row["encryption_key"] is None:
            raise NotFound("the session's key is destroyed")
        return self._box.decrypt(row["encryption_key"], session_key_of(row["tenant_id"], session_id))

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
