"""The states of uploads, invoices and sessions, and the moves between them that are allowed.

    invoice   received -> invalid | duplicate | queued
              queued -> packed -> sent -> accepted | rejected | failed
              packed | sent -> queued            (KSeF's own answer says that the session is dead)

    upload    received -> reading -> in_progress -> completed
              reading -> failed                  (it cannot be read to its end)

    session   sealed -> packed -> opening -> open -> closing -> processing -> completed | failed
              opening -> opening                 (no answer: an empty session may exist that cannot be filled)
              open -> opening                    (KSeF could not read the key: wrapped again)
              processing -> closing              (KSeF reports it as not closed)
              any state -> failed                (KSeF's own answer says that nothing of it was accepted)

    `session_machine` has the whole table, event by event.

The database repeats the lists as constraints; `tests/app/domain/test_states.py` holds them together.
"""

from enum import StrEnum
from typing import Final


class InvoiceState(StrEnum):
    """State of an invoice. The last five are final."""

    RECEIVED = "received"
    QUEUED = "queued"
    PACKED = "packed"
    SENT = "sent"
    INVALID = "invalid"
    DUPLICATE = "duplicate"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        """Return whether the state of an invoice is final."""
        return self in FINAL_INVOICE_STATES


FINAL_INVOICE_STATES: Final = frozenset(
    {
        InvoiceState.INVALID,
        InvoiceState.DUPLICATE,
        InvoiceState.ACCEPTED,
        InvoiceState.REJECTED,
        InvoiceState.FAILED,
    }
)

INVOICE_MOVES: Final[dict[InvoiceState, frozenset[InvoiceState]]] = {
    InvoiceState.RECEIVED: frozenset(
        {InvoiceState.INVALID, InvoiceState.DUPLICATE, InvoiceState.QUEUED, InvoiceState.FAILED}
    ),
    InvoiceState.QUEUED: frozenset({InvoiceState.PACKED, InvoiceState.FAILED}),
    InvoiceState.PACKED: frozenset({InvoiceState.SENT, InvoiceState.QUEUED, InvoiceState.FAILED}),
    InvoiceState.SENT: frozenset(
        {InvoiceState.ACCEPTED, InvoiceState.REJECTED, InvoiceState.QUEUED, InvoiceState.FAILED}
    ),
    **{state: frozenset() for state in FINAL_INVOICE_STATES},
}


class UploadState(StrEnum):
    """State of an upload. `completed` means that every invoice of it has its last state."""

    RECEIVED = "received"
    READING = "reading"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"


class SessionState(StrEnum):
    """State of a session. It is written before the call that it names and again after it."""

    SEALED = "sealed"
    PACKED = "packed"
    OPENING = "opening"
    OPEN = "open"
    CLOSING = "closing"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        """Return whether the session has ended, completed or failed."""
        return self in {SessionState.COMPLETED, SessionState.FAILED}


SESSION_MOVES: Final[dict[SessionState, frozenset[SessionState]]] = {
    SessionState.SEALED: frozenset({SessionState.PACKED, SessionState.FAILED}),
    SessionState.PACKED: frozenset({SessionState.OPENING, SessionState.FAILED}),
    SessionState.OPENING: frozenset({SessionState.OPENING, SessionState.OPEN, SessionState.FAILED}),
    SessionState.OPEN: frozenset(
        {SessionState.OPENING, SessionState.CLOSING, SessionState.PROCESSING, SessionState.FAILED}
    ),
    SessionState.CLOSING: frozenset({SessionState.CLOSING, SessionState.PROCESSING, SessionState.FAILED}),
    SessionState.PROCESSING: frozenset({SessionState.CLOSING, SessionState.COMPLETED, SessionState.FAILED}),
    SessionState.COMPLETED: frozenset(),
    SessionState.FAILED: frozenset(),
}
