"""docs/sessions.md made from the code: the table of a session's life, its diagram, and what each answer of KSeF means.

The rows of `ANSWERS` are written here; a test holds each against what the workers really make of such an answer.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from app.domain.session_machine import OUTCOMES, TABLE, Action, Event, Move, Pause, event_of_status
from app.domain.states import SessionState

EVENT_WORDS: Final[dict[Event, str]] = {
    Event.RESUMED: "a job begins, perhaps after a crash in the middle of anything",
    Event.OPENED: "KSeF gave a reference number and links; both are stored",
    Event.KEY_UNKNOWN: "KSeF does not know the public key that we wrapped the AES key with",
    Event.OUR_FAULT: "the request itself is wrong: only a better version of us helps",
    Event.PARTS_STORED: "every part is known to be stored",
    Event.PARTS_UNSURE: "some part may not be stored, after three tries",
    Event.LINKS_EXPIRED: "a link was refused after its time",
    Event.PART_DAMAGED: "our own copy of a part is not what was declared",
    Event.CLOSED: "204",
    Event.CLOSE_FORBIDDEN: "the session's state forbids it: closed already, or dead",
    Event.TOO_LATE: "the time for sending is over",
    Event.PART_MISSING: "KSeF misses a part, or finds it of another size",
    Event.SEEN_WAITING: "KSeF waits for parts or for the close",
    Event.SEEN_WORKING: "KSeF works on it",
    Event.SEEN_PROCESSED: "processed; 445: nothing was accepted, with a verdict for each",
    Event.SEEN_KEY_REFUSED: "KSeF cannot decrypt the AES key",
    Event.SEEN_BROKEN: "KSeF cannot verify, unpack or decrypt the package",
    Event.SEEN_TOO_MANY: "more invoices than the limit",
    Event.SEEN_CANCELLED: "cancelled: not closed in time, or nothing sent",
    Event.SEEN_ERROR: "unknown error of KSeF; some may have been accepted",
    Event.SEEN_DEAD: "any other final status from 300 to 499",
    Event.NOT_SEEN: "the look right after opening brought no answer; it was a precaution",
    Event.SESSION_UNKNOWN: "KSeF knows no such session",
    Event.SESSION_GONE: "the same, eight looks in a row",
    Event.RESULTS_COMPLETE: "every invoice has its verdict",
    Event.RESULTS_INCOMPLETE: "some are neither on a receipt nor in the list of refused ones",
    Event.NOT_DONE: "certainly not done",
    Event.NO_ANSWER: "no answer, or none that can be trusted: it may have been done",
    Event.RATE_LIMITED: "429, or our own count says that there is no room",
    Event.BLOCKED: "the front layer of KSeF blocks our address",
    Event.REFUSED: "KSeF understood and said no",
}
ACTION_WORDS: Final[dict[Action, str]] = {
    Action.OPEN: "open a session",
    Action.RENEW_KEY: "fetch KSeF's keys, wrap the same AES key again, open",
    Action.CHECK_OPENED: "look once before anything is sent",
    Action.STORE_PARTS: "send the parts that are not known to be stored",
    Action.CLOSE: "close",
    Action.LOOK: "ask for the status",
    Action.READ_RESULTS: "fetch receipts, then the refused ones",
    Action.LIST_INVOICES: "fetch receipts, then ask for every invoice",
    Action.END_DEAD: "end; the invoices travel again",
    Action.END_REBUILD: "verify our package, end; the invoices travel once more",
    Action.END_SPLIT: "end; the invoices travel again in smaller sessions",
    Action.REST: "nothing: it has ended",
}
PAUSE_WORDS: Final[dict[Pause, str]] = {
    Pause.NONE: "",
    Pause.GROWING: "2 s, growing to 5 min",
    Pause.POLL: "what the last such sessions took, else 1.5 s (4.5 s for 10,000 invoices), growing to 1 min",
    Pause.TOLD: "as long as the answer says",
    Pause.WATCH: "5 min",
    Pause.PEOPLE: "15 min",
    Pause.BLOCKED: "30 min",
}
_STATUS_CODES: Final = (100, 150, 200, 405, 415, 420, 430, 435, 440, 445, 500, 199, 299, 499, 599)
_FAILED: Final = SessionState.FAILED


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """One answer to one call, and the event that the workers make of it."""

    call: str
    """open, close, status or results."""
    answer: str
    """As a reader knows it."""
    event: Event
    http_status: int | None = None
    """None: no answer came."""
    codes: tuple[int, ...] = ()
    body: str = "problem"
    """Of an answer: a problem document with `codes`, `html`, `empty`, or `permission` (403 with its reason)."""
    sent: bool = True
    """Without an answer: whether the request can have arrived."""


def _always(call: str) -> tuple[AnswerRow, ...]:
    """Return what any call can meet: it says nothing of the session."""
    return (
        AnswerRow(call, "connection refused, no name, no TLS", Event.NOT_DONE, sent=False),
        AnswerRow(call, "a timeout or a broken connection after sending", Event.NO_ANSWER),
        AnswerRow(call, "a success that cannot be read", Event.NO_ANSWER, 200, body="empty"),
        AnswerRow(call, "a web page in place of an answer, but with 403 or 429", Event.NO_ANSWER, 200, body="html"),
        AnswerRow(call, "500, 502, 503, 504", Event.NO_ANSWER, 503),
        AnswerRow(call, "429", Event.RATE_LIMITED, 429),
        AnswerRow(call, "401, after one new login", Event.NOT_DONE, 401),
        AnswerRow(call, "403 with a reason", Event.REFUSED, 403, body="permission"),
        AnswerRow(call, "403 without a reason, or “Request blocked”", Event.BLOCKED, 403, body="html"),
        AnswerRow(call, "410", Event.REFUSED, 410),
        AnswerRow(call, "21184, not available for the moment", Event.NOT_DONE, 400, (21184,)),
        AnswerRow(call, "any other refusal", Event.REFUSED, 400, (20001,)),
        AnswerRow(call, "400 with a body that KSeF would not write", Event.NO_ANSWER, 400, body="empty"),
    )


ANSWERS: Final[tuple[AnswerRow, ...]] = (
    AnswerRow("open", "21470, the key is unknown", Event.KEY_UNKNOWN, 400, (21470,)),
    *(
        AnswerRow("open", f"{code}, the request is wrong", Event.OUR_FAULT, 400, (code,))
        for code in (21001, 21157, 21161, 21405)
    ),
    *_always("open"),
    AnswerRow("close", "21180, the state forbids it", Event.CLOSE_FORBIDDEN, 400, (21180,)),
    AnswerRow("close", "21208, too late", Event.TOO_LATE, 400, (21208,)),
    AnswerRow("close", "21205, a part is missing", Event.PART_MISSING, 400, (21205,)),
    AnswerRow("close", "21157, a part of another size", Event.PART_MISSING, 400, (21157,)),
    AnswerRow("close", "21173, no such session", Event.SESSION_UNKNOWN, 400, (21173,)),
    *_always("close"),
    AnswerRow("status", "21173, no such session", Event.SESSION_UNKNOWN, 400, (21173,)),
    *_always("status"),
    *_always("results"),
)
"""What the workers make of every answer but success."""

_STATE_OF: Final = {
    "open": SessionState.OPENING,
    "close": SessionState.CLOSING,
    "status": SessionState.PROCESSING,
    "results": SessionState.PROCESSING,
}
_CALLS: Final = {
    "open": "`POST /sessions/batch`. 201 with a reference number and a link for each part is success",
    "close": "`POST /sessions/batch/{referenceNumber}/close`. Only 204 is success",
    "status": "`GET /sessions/{referenceNumber}`. 200 is success, and its code is the event of the table above",
    "results": "status, receipt by its link or by `GET /sessions/{referenceNumber}/upo/{upoReferenceNumber}`, "
    "`GET .../invoices/failed`, `GET .../invoices`",
}
_PARTS: Final = (
    ("201", Event.PARTS_STORED),
    ("200 or another success, a web page, 408, 409, 5xx, a refusal, no answer", Event.PARTS_UNSURE),
    ("401, 403, 404 or 410 while the link should live", Event.PARTS_UNSURE),
    ("the same after the link's time", Event.LINKS_EXPIRED),
    ("403 as a web page or with an incident id", Event.BLOCKED),
    ("(before sending) our stored part is missing or of another size", Event.PART_DAMAGED),
)


def sessions_page() -> str:
    """Return docs/sessions.md."""
    return (
        "# The life of a session\n\n"
        "Made from the code by `python -m tools.docs_reference --write`; a test finds it out of date.\n\n"
        "The state and every attempt are written before and after each call, with codes and KSeF's trace ids;\n"
        "`GET /v1/sessions/{id}` shows them. A job may end at any moment: the next one reads the state and goes on by this table.\n"
        "The code is `app/domain/session_machine.py`; why it is so stands in [decision 0012](decisions/0012-no-answer.md).\n\n"
        "Before the table begins a session is `sealed` (its invoices are chosen) and `packed` (its parts are encrypted and stored).\n\n"
        "## Diagram\n\nMoves from one state to another. What stays in its state is in the table only.\n\n"
        + _diagram()
        + "\n## State and event\n\n"
        "*Alert*: written to the log as an error, since people should know. "
        f"An empty pause means at once. The table has {len(TABLE)} rows.\n\n"
        + _table(("State", "Event", "Next state", "Action", "Pause", "Alert"), _moves())
        + "\nOne exception: the AES key is wrapped again once for a package. After that "
        f"`{Event.KEY_UNKNOWN.value}` while opening waits\n"
        f"for people ({PAUSE_WORDS[Pause.PEOPLE]}), and `{Event.SEEN_KEY_REFUSED.value}` of an open session ends it "
        f"(`{Action.END_REBUILD.value}`).\n\n"
        "## Events\n\n"
        + _table(("Event", "Meaning"), ((f"`{event.value}`", EVENT_WORDS[event]) for event in Event))
        + "\n## Actions\n\n"
        + _table(
            ("Action", "What is done", "What may come of it"),
            (
                (f"`{action.value}`", ACTION_WORDS[action], ", ".join(f"`{e.value}`" for e in OUTCOMES[action]) or "-")
                for action in Action
            ),
        )
        + "\n## What a session's status means\n\n"
        + _table(
            ("Status", "Event", "Once it was closed"),
            (
                (_code_words(code), f"`{event.value}`", _does(TABLE[SessionState.PROCESSING, event]))
                for code, event in _statuses()
            ),
        )
        + "\n## What each answer means\n\n"
        + "".join(f"- **{call}**: {words}.\n" for call, words in _CALLS.items())
        + "- **part**: the method, link and headers that opening gave, without our token. Each part is tried three times by itself.\n\n"
        "Nothing here gives up because time passed. Rows that say the same for several calls stand together.\n\n"
        + _table(("Call", "Answer", "Event", "Meaning", "What we do"), _answers())
        + "\n*What we do* is said of an opening session for open, of an open one for part, of one that was closed for status and results;\n"
        "in other states the first table decides.\n"
    )


def _diagram() -> str:
    edges: dict[tuple[SessionState, SessionState], list[str]] = {}
    for (state, event), move in TABLE.items():
        if move.state is not state:
            edges.setdefault((state, move.state), []).append(event.value)
    lines = ["  [*] --> sealed", "  sealed --> packed: its parts are stored"]
    lines += [f"  {old.value} --> {new.value}: {', '.join(events)}" for (old, new), events in edges.items()]
    lines += [f"  {end.value} --> [*]" for end in (SessionState.COMPLETED, _FAILED)]
    return "```mermaid\nstateDiagram-v2\n" + "\n".join(lines) + "\n```\n"


def _moves() -> Iterable[tuple[str, ...]]:
    for (state, event), move in TABLE.items():
        yield (
            f"`{state.value}`",
            f"`{event.value}`",
            f"`{move.state.value}`" if move.state is not state else "the same",
            ACTION_WORDS[move.action],
            PAUSE_WORDS[move.pause],
            "yes" if move.alert else "",
        )


def _statuses() -> Iterable[tuple[int, Event]]:
    return ((code, event_of_status(code)) for code in _STATUS_CODES)


def _code_words(code: int) -> str:
    unknown = {199: "another below 200", 299: "another of 2xx", 499: "another of 3xx and 4xx", 599: "another from 500"}
    return unknown.get(code, str(code))


def _answers() -> Iterable[tuple[str, ...]]:
    together: dict[tuple[str, Event, str], list[str]] = {}
    for row in ANSWERS:
        does = _does(TABLE[_STATE_OF[row.call], row.event])
        together.setdefault((row.answer, row.event, does), []).append(row.call)
    for (answer, event, does), calls in together.items():
        yield ", ".join(calls), answer, f"`{event.value}`", EVENT_WORDS[event], does
    for answer, event in _PARTS:
        yield "part", answer, f"`{event.value}`", EVENT_WORDS[event], _does(TABLE[SessionState.OPEN, event])


def _does(move: Move) -> str:
    pause = f" (after {PAUSE_WORDS[move.pause]})" if move.pause is not Pause.NONE else ""
    if move.pause is Pause.TOLD:
        pause = f" ({PAUSE_WORDS[Pause.TOLD]})"
    return ACTION_WORDS[move.action] + pause + ("; alert" if move.alert else "")


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    lines += ["| " + " | ".join(value.replace("|", "\\|") for value in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"
