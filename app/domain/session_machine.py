"""State table of a batch session: for a state and an event, the next state and the next action.

Pure: the workers perform an action and pass its result as an event to get the next action. Three rules are
the reason of the table (ksef-docs, sesja-wsadowa.md; issues 334, 786, 822 of the ministry's repository):

- No answer to `open` leaves at worst an empty session that cannot be filled or closed: another one is opened.
- No answer to `close` leaves the result unknown: the status is read, and the same session is closed again.
- The invoices of a session go into another one only after KSeF's own answer that nothing of the first was accepted.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from app.domain.states import SessionState


class Event(StrEnum):
    """Result of an action."""

    RESUMED = "resumed"
    """A job begins, perhaps after a crash in the middle of anything."""

    OPENED = "opened"
    KEY_UNKNOWN = "key-unknown"
    OUR_FAULT = "our-fault"
    """KSeF rejects the request itself (21157, 21161, 21405): only a corrected version of this software helps."""

    PARTS_STORED = "parts-stored"
    PARTS_UNSURE = "parts-unsure"
    LINKS_EXPIRED = "links-expired"
    PART_DAMAGED = "part-damaged"
    """Our copy of a part differs from its declared hash."""

    CLOSED = "closed"
    CLOSE_FORBIDDEN = "close-forbidden"
    TOO_LATE = "too-late"
    PART_MISSING = "part-missing"

    SEEN_WAITING = "seen-100"
    SEEN_WORKING = "seen-1xx"
    SEEN_PROCESSED = "seen-200-or-445"
    SEEN_KEY_REFUSED = "seen-415"
    SEEN_BROKEN = "seen-405-430-435"
    SEEN_TOO_MANY = "seen-420"
    SEEN_CANCELLED = "seen-440"
    SEEN_ERROR = "seen-500"
    SEEN_DEAD = "seen-other-final"
    NOT_SEEN = "not-seen"
    """The status poll right after opening had no answer. It is only a precaution."""
    SESSION_UNKNOWN = "session-unknown"
    SESSION_GONE = "session-gone"
    """After several polls KSeF still answers that there is no such session."""

    RESULTS_COMPLETE = "results-complete"
    RESULTS_INCOMPLETE = "results-incomplete"

    NOT_DONE = "not-done"
    NO_ANSWER = "no-answer"
    RATE_LIMITED = "rate-limited"
    BLOCKED = "blocked"
    REFUSED = "refused"


class Action(StrEnum):
    """Next action of a worker."""

    OPEN = "open"
    RENEW_KEY = "renew-key"
    """Fetch the public keys, wrap the same AES key again and open."""
    CHECK_OPENED = "check-opened"
    """Poll the status once before the upload: KSeF may have found the key unreadable at once."""
    STORE_PARTS = "store-parts"
    """Send the parts that are not known to be stored; there may be none."""
    CLOSE = "close"
    POLL_STATUS = "look"
    """Ask for the session's status. The value is the word in histories that are stored already."""
    READ_RESULTS = "read-results"
    LIST_INVOICES = "list-invoices"
    """Ask for every invoice: after an unknown error some may have been accepted."""
    END_DEAD = "end-dead"
    """Nothing was accepted: the invoices go into another session."""
    END_REBUILD = "end-rebuild"
    """Nothing was accepted, perhaps by a fault of the package: verify our copy; the invoices go into another session once."""
    END_SPLIT = "end-split"
    """Nothing was accepted because there were too many: the invoices go into smaller sessions."""
    REST = "rest"


class Pause(StrEnum):
    """Pause before the action."""

    NONE = "none"
    GROWING = "growing"
    POLL = "poll"
    RETRY_AFTER = "retry-after"
    """As long as the answer states."""
    WATCH = "watch"
    """Minutes: only KSeF's next answer decides."""
    PEOPLE = "people"
    """A quarter of an hour: a person has to correct the cause."""
    BLOCKED = "blocked"
    """Half an hour: more tries prolong the block."""


@dataclass(frozen=True, slots=True)
class Move:
    """Result of an event: next state, action and pause. `alert`: an operator should see it."""

    state: SessionState
    action: Action
    pause: Pause = Pause.NONE
    alert: bool = False


_PACKED, _OPENING, _OPEN = SessionState.PACKED, SessionState.OPENING, SessionState.OPEN
_CLOSING, _PROCESSING = SessionState.CLOSING, SessionState.PROCESSING
_COMPLETED, _FAILED = SessionState.COMPLETED, SessionState.FAILED

# Events that say nothing about the session repeat the same action in every state, after the pause for the event.
_TROUBLE: Final = (Event.NOT_DONE, Event.NO_ANSWER, Event.RATE_LIMITED, Event.BLOCKED, Event.REFUSED)
_PAUSE_AFTER: Final = {
    Event.NOT_DONE: Pause.GROWING,
    Event.NO_ANSWER: Pause.GROWING,
    Event.RATE_LIMITED: Pause.RETRY_AFTER,
    Event.BLOCKED: Pause.BLOCKED,
    Event.REFUSED: Pause.PEOPLE,
}


def _again(state: SessionState, action: Action) -> dict[tuple[SessionState, Event], Move]:
    return {
        (state, event): Move(state, action, _PAUSE_AFTER[event], alert=event in {Event.BLOCKED, Event.REFUSED})
        for event in _TROUBLE
    }


_DEAD: Final = Move(_FAILED, Action.END_DEAD)
_REBUILD: Final = Move(_FAILED, Action.END_REBUILD, alert=True)
_POLL_NOW: Final = Move(_PROCESSING, Action.POLL_STATUS)

TABLE: Final[dict[tuple[SessionState, Event], Move]] = {
    (_PACKED, Event.RESUMED): Move(_OPENING, Action.OPEN),
    # --- opening: nothing is at KSeF but, at worst, an empty session ---
    **_again(_OPENING, Action.OPEN),
    (_OPENING, Event.RESUMED): Move(_OPENING, Action.OPEN),
    (_OPENING, Event.OPENED): Move(_OPEN, Action.CHECK_OPENED),
    (_OPENING, Event.KEY_UNKNOWN): Move(_OPENING, Action.RENEW_KEY),
    (_OPENING, Event.OUR_FAULT): Move(_OPENING, Action.OPEN, Pause.PEOPLE, alert=True),
    # --- open: no close was sent, so KSeF processes nothing ---
    **_again(_OPEN, Action.STORE_PARTS),
    (_OPEN, Event.RESUMED): Move(_OPEN, Action.STORE_PARTS),
    (_OPEN, Event.SEEN_WAITING): Move(_OPEN, Action.STORE_PARTS),
    # Another program closed it; the processing decides.
    (_OPEN, Event.SEEN_WORKING): Move(_PROCESSING, Action.POLL_STATUS, Pause.POLL, alert=True),
    (_OPEN, Event.SEEN_PROCESSED): _POLL_NOW,
    (_OPEN, Event.SEEN_ERROR): _POLL_NOW,
    (_OPEN, Event.SEEN_KEY_REFUSED): Move(_OPENING, Action.RENEW_KEY),
    (_OPEN, Event.SEEN_BROKEN): _REBUILD,
    (_OPEN, Event.SEEN_TOO_MANY): Move(_FAILED, Action.END_SPLIT),
    (_OPEN, Event.SEEN_CANCELLED): _DEAD,
    (_OPEN, Event.SEEN_DEAD): _DEAD,
    # Also 21173, which was seen to end seconds after the opening; the parts go to storage, which does not check it.
    (_OPEN, Event.NOT_SEEN): Move(_OPEN, Action.STORE_PARTS),
    (_OPEN, Event.PARTS_STORED): Move(_CLOSING, Action.CLOSE),
    (_OPEN, Event.PARTS_UNSURE): Move(_OPEN, Action.STORE_PARTS, Pause.GROWING),
    (_OPEN, Event.LINKS_EXPIRED): _DEAD,
    (_OPEN, Event.PART_DAMAGED): _REBUILD,
    # --- closing: a close may have arrived, or not ---
    **_again(_CLOSING, Action.POLL_STATUS),
    (_CLOSING, Event.NOT_DONE): Move(_CLOSING, Action.CLOSE, Pause.GROWING),
    (_CLOSING, Event.RATE_LIMITED): Move(_CLOSING, Action.CLOSE, Pause.RETRY_AFTER),
    (_CLOSING, Event.RESUMED): Move(_CLOSING, Action.POLL_STATUS),
    (_CLOSING, Event.CLOSED): Move(_PROCESSING, Action.POLL_STATUS, Pause.POLL),
    (_CLOSING, Event.CLOSE_FORBIDDEN): _POLL_NOW,
    (_CLOSING, Event.TOO_LATE): _POLL_NOW,
    (_CLOSING, Event.PART_MISSING): Move(_CLOSING, Action.STORE_PARTS, Pause.GROWING),
    (_CLOSING, Event.PARTS_STORED): Move(_CLOSING, Action.CLOSE),
    (_CLOSING, Event.PARTS_UNSURE): Move(_CLOSING, Action.STORE_PARTS, Pause.GROWING),
    # It can no longer be completed, yet only KSeF may say that it is dead: about twelve hours after opening it does.
    (_CLOSING, Event.LINKS_EXPIRED): Move(_CLOSING, Action.POLL_STATUS, Pause.WATCH, alert=True),
    (_CLOSING, Event.PART_DAMAGED): Move(_CLOSING, Action.POLL_STATUS, Pause.WATCH, alert=True),
    (_CLOSING, Event.SEEN_WAITING): Move(_CLOSING, Action.STORE_PARTS),
    (_CLOSING, Event.SEEN_WORKING): Move(_PROCESSING, Action.POLL_STATUS, Pause.POLL),
    (_CLOSING, Event.SEEN_PROCESSED): _POLL_NOW,
    (_CLOSING, Event.SEEN_ERROR): _POLL_NOW,
    (_CLOSING, Event.SEEN_KEY_REFUSED): _POLL_NOW,
    (_CLOSING, Event.SEEN_BROKEN): _POLL_NOW,
    (_CLOSING, Event.SEEN_TOO_MANY): _POLL_NOW,
    (_CLOSING, Event.SEEN_CANCELLED): _POLL_NOW,
    (_CLOSING, Event.SEEN_DEAD): _POLL_NOW,
    (_CLOSING, Event.SESSION_UNKNOWN): Move(_CLOSING, Action.POLL_STATUS, Pause.GROWING),
    # Close and status agree, many times over minutes: there is no such session, so nothing of it can be accepted.
    (_CLOSING, Event.SESSION_GONE): Move(_FAILED, Action.END_DEAD, alert=True),
    # --- processing: without a time limit ---
    **_again(_PROCESSING, Action.POLL_STATUS),
    (_PROCESSING, Event.RESUMED): _POLL_NOW,
    # KSeF reports it as open: close it again.
    (_PROCESSING, Event.SEEN_WAITING): Move(_CLOSING, Action.STORE_PARTS, Pause.GROWING),
    (_PROCESSING, Event.SEEN_WORKING): Move(_PROCESSING, Action.POLL_STATUS, Pause.POLL),
    (_PROCESSING, Event.SEEN_PROCESSED): Move(_PROCESSING, Action.READ_RESULTS),
    (_PROCESSING, Event.SEEN_ERROR): Move(_PROCESSING, Action.LIST_INVOICES),
    (_PROCESSING, Event.SEEN_KEY_REFUSED): _REBUILD,
    (_PROCESSING, Event.SEEN_BROKEN): _REBUILD,
    (_PROCESSING, Event.SEEN_TOO_MANY): Move(_FAILED, Action.END_SPLIT),
    (_PROCESSING, Event.SEEN_CANCELLED): _DEAD,
    (_PROCESSING, Event.SEEN_DEAD): Move(_FAILED, Action.END_DEAD, alert=True),
    (_PROCESSING, Event.SESSION_UNKNOWN): Move(_PROCESSING, Action.POLL_STATUS, Pause.GROWING),
    # It was closed, so it existed: KSeF does not find it now, and only a person can ask the ministry.
    (_PROCESSING, Event.SESSION_GONE): Move(_PROCESSING, Action.POLL_STATUS, Pause.WATCH, alert=True),
    (_PROCESSING, Event.RESULTS_COMPLETE): Move(_COMPLETED, Action.REST),
    (_PROCESSING, Event.RESULTS_INCOMPLETE): Move(_PROCESSING, Action.POLL_STATUS, Pause.POLL),
}

# Possible results of each action; a test proves by it that the table always has a next step.
_SEEN: Final = (
    Event.SEEN_WAITING, Event.SEEN_WORKING, Event.SEEN_PROCESSED, Event.SEEN_KEY_REFUSED, Event.SEEN_BROKEN,
    Event.SEEN_TOO_MANY, Event.SEEN_CANCELLED, Event.SEEN_ERROR, Event.SEEN_DEAD,
)  # fmt: skip
_POLLED: Final = (*_SEEN, Event.SESSION_UNKNOWN, Event.SESSION_GONE, *_TROUBLE)
_OPENS: Final = (Event.OPENED, Event.KEY_UNKNOWN, Event.OUR_FAULT, *_TROUBLE)
_STORES: Final = (
    Event.PARTS_STORED, Event.PARTS_UNSURE, Event.LINKS_EXPIRED, Event.PART_DAMAGED, Event.BLOCKED,
)  # fmt: skip
_RESULTS: Final = (Event.RESULTS_COMPLETE, Event.RESULTS_INCOMPLETE, *_TROUBLE)
OUTCOMES: Final[dict[Action, tuple[Event, ...]]] = {
    Action.OPEN: _OPENS,
    Action.RENEW_KEY: _OPENS,
    Action.CHECK_OPENED: (*_SEEN, Event.NOT_SEEN),
    Action.STORE_PARTS: _STORES,
    Action.CLOSE: (
        Event.CLOSED, Event.CLOSE_FORBIDDEN, Event.TOO_LATE, Event.PART_MISSING, Event.SESSION_UNKNOWN, *_TROUBLE,
    ),
    Action.POLL_STATUS: _POLLED,
    Action.READ_RESULTS: _RESULTS,
    Action.LIST_INVOICES: _RESULTS,
    Action.END_DEAD: (),
    Action.END_REBUILD: (),
    Action.END_SPLIT: (),
    Action.REST: (),
}  # fmt: skip

KEY_RENEWALS: Final = 1
"""Most renewals of the wrapped AES key of a package; after them the fault is ours."""


def next_move(state: SessionState, event: Event, *, key_renewals: int = 0) -> Move:
    """Return the decision. Raises ValueError for an event that cannot happen in the state: a fault of this software."""
    if event in {Event.KEY_UNKNOWN, Event.SEEN_KEY_REFUSED} and key_renewals >= KEY_RENEWALS:
        if state is _OPENING:
            return Move(_OPENING, Action.OPEN, Pause.PEOPLE, alert=True)
        if state is _OPEN:
            return _REBUILD
    try:
        return TABLE[state, event]
    except KeyError:
        raise ValueError(f"a session that is {state} cannot meet {event}") from None


def event_of_status(code: int) -> Event:
    """Read a session's status code. Codes of the future fall into their class (ksef-docs, api-changelog 2.1.2)."""
    known = {
        100: Event.SEEN_WAITING,
        200: Event.SEEN_PROCESSED,
        445: Event.SEEN_PROCESSED,
        415: Event.SEEN_KEY_REFUSED,
        405: Event.SEEN_BROKEN,
        430: Event.SEEN_BROKEN,
        435: Event.SEEN_BROKEN,
        420: Event.SEEN_TOO_MANY,
        440: Event.SEEN_CANCELLED,
        500: Event.SEEN_ERROR,
    }
    if code in known:
        return known[code]
    if code < 200:
        return Event.SEEN_WORKING
    if code < 300:
        return Event.SEEN_PROCESSED
    return Event.SEEN_ERROR if code >= 500 else Event.SEEN_DEAD
