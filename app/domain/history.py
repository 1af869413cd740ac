"""Actions and outcomes in the history of invoices and sessions.

Users see them in `GET /v1/invoices/{id}` and `GET /v1/sessions/{id}`, and the database stores them, so a value never changes.
"""

from enum import StrEnum


class HistoryAction(StrEnum):
    """Action of a history entry, in the order in which an invoice meets them."""

    RECEIVE = "receive"
    CHECK = "check"
    SEAL = "seal"
    PACK = "pack"
    ENTER = "enter"
    """The session entered another state."""
    OPEN = "open"
    PUT_PART = "put-part"
    CLOSE = "close"
    STATUS = "status"
    """KSeF was asked for the session's status. The outcome is the status code, or an outcome below when KSeF gave none."""
    RESULTS = "results"
    UPO = "upo"
    UPO_LINK = "upo-link"
    """A UPO page could not be read by its link; it is fetched by a call that counts against a limit."""
    DUPLICATES = "duplicates"
    FINISH = "finish"
    RESOLVE = "resolve"
    """A person decided on an invoice that KSeF called a duplicate and that could not be compared."""
    VERDICT = "verdict"


class HistoryOutcome(StrEnum):
    """Outcome of a history entry. The outcome of `status` may also be a status code of KSeF."""

    # States of an invoice.
    RECEIVED = "received"
    QUEUED = "queued"
    INVALID = "invalid"
    DUPLICATE = "duplicate"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    FAILED = "failed"
    """Also a state of a session."""

    # States of a session.
    SEALED = "sealed"
    PACKED = "packed"
    OPENING = "opening"
    OPEN = "open"
    CLOSING = "closing"
    PROCESSING = "processing"
    COMPLETED = "completed"

    # Results of calls, see `app.domain.session_machine.Event`.
    ASKING = "asking"
    """Written before a call, whose answer follows in another entry unless the process died."""
    OPENED = "opened"
    KEY_UNKNOWN = "key-unknown"
    OUR_FAULT = "our-fault"
    STORED = "stored"
    PART_DAMAGED = "part-damaged"
    CLOSED = "closed"
    CLOSE_FORBIDDEN = "close-forbidden"
    TOO_LATE = "too-late"
    PART_MISSING = "part-missing"
    NOT_SEEN = "not-seen"
    SESSION_UNKNOWN = "session-unknown"
    SESSION_GONE = "session-gone"
    RESULTS_INCOMPLETE = "results-incomplete"
    NOT_DONE = "not-done"
    NO_ANSWER = "no-answer"
    RATE_LIMITED = "rate-limited"
    BLOCKED = "blocked"
    REFUSED = "refused"
    TRY_AGAIN = "try_again"
    """Of a part or a UPO link: certainly not done."""
    UNKNOWN = "unknown"
    """Of a part or a UPO link: no answer, so it may have been done."""

    DOUBTFUL = "doubtful"
    """The UPO's signature or hash could not be verified."""
    SUSPECTED = "suspected"
    """KSeF called invoices duplicates (440); their originals are searched for."""
    UNRESOLVED = "unresolved"
    """The originals could not be compared with our documents for an hour; the tenant got an event."""
    FOUND_OURS = "found-ours"
    """In histories of earlier versions: the invoices were accepted in an earlier session of ours."""
