"""The chain of audit rows: the hash of a row, the seal of the newest one, and the check of all. No input or output.

A row's hash covers its fields and the hash of the row before it. The seal is a MAC over the newest number and hash, so that
removed newest rows are found as well.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

BEGINNING: Final = bytes(32)
"""The previous hash of the first row."""

BROKEN: Final = b""
"""The seal after one that did not fit. It never fits again, so that the check goes on finding it."""

_ROW: Final = b"ksefd-audit-row-1\0"
_HEAD: Final = b"ksefd-audit-head-1\0"


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One row as the database has it. `details` is the JSON text whose bytes were hashed."""

    number: int
    at: datetime
    actor_kind: str
    actor: str
    act: str
    tenant_id: int | None
    object: str | None
    request_id: str | None
    outcome: str
    details: str
    previous_hash: bytes
    hash: bytes


@dataclass(frozen=True, slots=True)
class Head:
    """The newest number and hash, with their seal."""

    number: int
    hash: bytes
    mac: bytes


@dataclass(frozen=True, slots=True)
class Fault:
    """The first row that does not fit, with the reason."""

    number: int
    reason: str


def plain_text(text: str, most: int = 300) -> str:
    """Return a text that PostgreSQL stores unchanged: no NUL, no lone surrogates, at most `most` characters."""
    return text[:most].encode("utf-8", "replace").decode("utf-8").replace("\0", "\N{REPLACEMENT CHARACTER}")


def canonical_details(details: Mapping[str, Any] | None) -> str:
    """Return details as JSON text: members in the order of their names, ASCII only."""
    return json.dumps(dict(details or {}), sort_keys=True, separators=(",", ":"), default=_plain)


def row_hash(
    previous_hash: bytes,
    *,
    number: int,
    at: datetime,
    actor_kind: str,
    actor: str,
    act: str,
    tenant_id: int | None,
    object: str | None,  # noqa: A002 - the name of the column
    request_id: str | None,
    outcome: str,
    details: str,
) -> bytes:
    """Hash a row: its fields as one JSON array, after the hash of the row before it.

    The time is taken to the microsecond, since PostgreSQL stores no less.
    """
    moment = at.astimezone(UTC).isoformat(timespec="microseconds")
    fields = [number, moment, actor_kind, actor, act, tenant_id, object, request_id, outcome, details]
    encoded = json.dumps(fields, separators=(",", ":")).encode("ascii")
    return hashlib.sha256(_ROW + previous_hash + encoded).digest()


def head_mac(key: bytes, number: int, newest_hash: bytes) -> bytes:
    """Seal the newest number and hash."""
    return hmac.digest(key, _HEAD + number.to_bytes(8, "big") + newest_hash, "sha256")


def is_sealed(key: bytes, head: Head) -> bool:
    """Return whether the seal was made with this key for this number and hash."""
    return hmac.compare_digest(head.mac, head_mac(key, head.number, head.hash))


class ChainCheck:
    """Checks rows in the order of their numbers, then the head."""

    def __init__(self) -> None:
        self.rows = 0
        self.newest_hash = BEGINNING
        self._number = 0

    def fault_of(self, row: AuditRow) -> Fault | None:
        """Return why the next row does not fit; None when it does."""
        expected = self._number + 1
        if row.number > expected:
            return Fault(expected, f"row {expected} is missing: the next one is {row.number}")
        if row.number < expected:
            return Fault(row.number, f"number {row.number} is there twice, or is no number of the chain")
        if row.previous_hash != self.newest_hash:
            return Fault(row.number, f"row {row.number} does not follow the row before it")
        if row.hash != row_hash(
            row.previous_hash,
            number=row.number,
            at=row.at,
            actor_kind=row.actor_kind,
            actor=row.actor,
            act=row.act,
            tenant_id=row.tenant_id,
            object=row.object,
            request_id=row.request_id,
            outcome=row.outcome,
            details=row.details,
        ):
            return Fault(row.number, f"row {row.number} was changed")
        self.rows, self._number, self.newest_hash = self.rows + 1, row.number, row.hash
        return None

    def fault_of_end(self, head: Head | None, key: bytes) -> Fault | None:
        """Return why the end of the chain does not fit its seal; None when it does."""
        if head is None:
            return Fault(self._number, "the seal of the newest row is missing") if self._number else None
        if not is_sealed(key, head):
            return Fault(self._number, "the seal of the newest row was not made by this installation")
        if head.number > self._number:
            missing = self._number + 1
            return Fault(missing, f"row {missing} is missing: {head.number} rows were sealed")
        if head.number < self._number or head.hash != self.newest_hash:
            return Fault(self._number, f"row {self._number} is not the one that was sealed as the newest")
        return None


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
