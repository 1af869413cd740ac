"""A batch session as its row has it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from app.domain.ids import public_id
from app.domain.states import SessionState


@dataclass(frozen=True, slots=True)
class Session:
    """One batch session, as its row has it."""

    id: UUID
    tenant_id: int
    lane_id: int
    owner_epoch: int
    """Counted on at each change of owner; every write of an owner compares it."""
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
    not_found_polls: int
    incomplete_polls: int
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

    @property
    def opened_reference_number(self) -> str:
        """Reference number of a session that KSeF has opened. Raises RuntimeError for one that was never opened."""
        if self.reference_number is None:
            raise RuntimeError(f"{self.public_id} is {self.state} without a reference number")
        return self.reference_number


def session_from_row(row: Mapping[str, Any]) -> Session:
    """Turn a row of `sessions` into a Session."""
    fields = {name: row[name] for name in Session.__dataclass_fields__}
    fields["state"] = SessionState(row["state"])
    for name in ("package_sha256", "iv"):
        fields[name] = bytes(row[name]) if row[name] is not None else None
    return Session(**fields)
