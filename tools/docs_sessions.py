"""Generator of docs/sessions.md: the table of a session's states, its diagram, and the meaning of each answer of KSeF.

The rows of `ANSWERS` are written here; a test compares each with the workers' reaction to such an answer.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from app.domain.session_machine import OUTCOMES, TABLE, Action, Event, Move, Pause, event_of_status
from app.domain.states import SessionState

EVENT_WORDS: Final[dict[Event, str]] = {
    Event.RESUMED: "a job starts, perhaps after a crash at any point",
    Event.OPENED: "KSeF returned a reference number and links; both are stored",
    Event.KEY_UNKNOWN: "the public key with which we wrapped the AES key is unknown to KSeF",
    Event.OUR_FAULT: "our request is wrong: only a new version of ksef-dispatch helps",
    Event.PARTS_STORED: "KSeF has confirmed that every part is stored",
    Event.PARTS_UNSURE: "after three tries it is unknown whether some part is stored",
    Event.LINKS_EXPIRED: "a link was refused after its end",
    Event.PART_DAMAGED: "our own copy of a part has not the declared size",
    Event.CLOSED: "204",
    Event.CLOSE_FORBIDDEN: "the session's state forbids it: closed already, or cancelled",
    Event.TOO_LATE: "the time for sending has passed",
    Event.PART_MISSING: "a part is missing at KSeF, or has another size",
    Event.SEEN_WAITING: "KSeF waits for parts or for the close",
    Event.SEEN_WORKING: "KSeF processes it",
    Event.SEEN_PROCESSED: "processed; 445: no invoice was accepted, each has a verdict",
    Event.SEEN_KEY_REFUSED: "KSeF cannot decrypt the AES key",
    Event.SEEN_BROKEN: "KSeF cannot verify, unpack or decrypt the package",
    Event.SEEN_TOO_MANY: "more invoices than the limit",
    Event.SEEN_CANCELLED: "cancelled: not closed in time, or no part sent",
    Event.SEEN_ERROR: "unknown error of KSeF; some may have been accepted",
    Event.SEEN_DEAD: "any other final status from 300 to 499",
    Event.NOT_SEEN: "the status poll right after opening had no answer; the poll is only a precaution",
    Event.SESSION_UNKNOWN: "KSeF finds no such session",
    Event.SESSION_GONE: "the same at eight polls in a row",
    Event.RESULTS_COMPLETE: "every invoice has its verdict, or is a suspected duplicate",
    Event.RESULTS_INCOMPLETE: "some invoices are neither on a receipt nor in the list of rejected ones",
    Event.NOT_DONE: "certainly not done",
    Event.NO_ANSWER: "no answer, or one that proves nothing: it may have been done",
    Event.RATE_LIMITED: "429, or our own quota is used up",
    Event.BLOCKED: "the firewall in front of KSeF blocks our address",
    Event.REFUSED: "KSeF rejected the request",
}
ACTION_WORDS: Final[dict[Action, str]] = {
    Action.OPEN: "open a session",
    Action.RENEW_KEY: "fetch KSeF's keys, wrap the same AES key again, open",
    Action.CHECK_OPENED: "poll the status once before the first part is sent",
    Action.STORE_PARTS: "send the parts without a confirmation",
    Action.CLOSE: "close",
    Action.POLL_STATUS: "poll the status",
    Action.READ_RESULTS: "fetch receipts, then the list of rejected invoices",
    Action.LIST_INVOICES: "fetch receipts, then the list of all invoices",
    Action.END_DEAD: "end; the invoices are sent again in another session",
    Action.END_REBUILD: "verify our package, end; the invoices are sent once more",
    Action.END_SPLIT: "end; the invoices are sent again in smaller sessions",
    Action.REST: "none: the session has ended",
}
PAUSE_WORDS: Final[dict[Pause, str]] = {
    Pause.NONE: "",
    Pause.GROWING: "2 s, growing to 5 min",
    Pause.POLL: "the time that the last sessions of this size took, else 1.5 s (4.5 s for 10,000 invoices), growing to 1 min",
    Pause.RETRY_AFTER: "the wait that the answer names",
    Pause.WATCH: "5 min",
    Pause.PEOPLE: "15 min",
    Pause.BLOCKED: "30 min",
}
_STATUS_CODES: Final = (100, 150, 200, 405, 415, 420, 430, 435, 440, 445, 500, 199, 299, 499, 599)
_FAILED: Final = SessionState.FAILED


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """One answer to one call, and the event that the workers derive from it."""

    call: str
    """open, close, status or results."""
    answer: str
    """Description of the answer for readers."""
    event: Event
    http_status: int | None = None
    """None: no answer came."""
    codes: tuple[int, ...] = ()
    body: str = "problem"
    """Body of an answer: problem details with `codes`, `html`, `empty`, or `permission` (403 with its reason)."""
    sent: bool = True
    """Without an answer: whether the request may have arrived."""


def _always(call: str) -> tuple[AnswerRow, ...]:
    """Return the answers that any call may get, which prove nothing about the session."""
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
        AnswerRow(call, "21184, temporarily not available", Event.NOT_DONE, 400, (21184,)),
        AnswerRow(call, "any other refusal", Event.REFUSED, 400, (20001,)),
        AnswerRow(call, "400 with a body in none of KSeF's formats", Event.NO_ANSWER, 400, body="empty"),
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
"""The workers' events for every answer but success."""

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
    ("401, 403, 404 or 410 before the link's end", Event.PARTS_UNSURE),
    ("the same after the link's end", Event.LINKS_EXPIRED),
    ("403 as a web page or with an incident id", Event.BLOCKED),
    ("(before sending) our stored part is missing or of another size", Event.PART_DAMAGED),
)


def sessions_page() -> str:
    """Return docs/sessions.md."""
    return (
        "# The life of a session\n\n"
        "Generated from the code by `python -m tools.docs_reference --write`; a test fails when it is out of date.\n\n"
        "The state and every attempt are stored before and after each call, with codes and KSeF's trace ids;\n"
        "`GET /v1/sessions/{id}` shows them. If a job is killed, the next one reads the state and continues by this table.\n"
        "The code is `app/domain/session_machine.py`; the reasons are in [decision 0012](decisions/0012-no-answer.md).\n\n"
        "The states before this table are `sealed` (the session's invoices are chosen) and `packed` (its parts are encrypted and\n"
        "stored).\n\n"
        "## Diagram\n\nThe diagram has the moves to another state. Events that do not change the state are only in the table.\n\n"
        + _diagram()
        + "\n## State and event\n\n"
        "*Alert*: written to the log as an error, for people. "
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
            ("Action", "Work", "Possible events"),
            (
                (f"`{action.value}`", ACTION_WORDS[action], ", ".join(f"`{e.value}`" for e in OUTCOMES[action]) or "-")
                for action in Action
            ),
        )
        + "\n## Meaning of a session's status\n\n"
        + _table(
            ("Status", "Event", "Once it was closed"),
            (
                (_code_words(code), f"`{event.value}`", _does(TABLE[SessionState.PROCESSING, event]))
                for code, event in _statuses()
            ),
        )
        + "\n## Meaning of each answer\n\n"
        + "".join(f"- **{call}**: {words}.\n" for call, words in _CALLS.items())
        + "- **part**: the method, link and headers of the opening answer, without our token. Each part is tried three times by itself.\n\n"
        "No row ends a session because time has passed. Rows with the same meaning for several calls are joined.\n\n"
        + _table(("Call", "Answer", "Event", "Meaning", "What we do"), _answers())
        + "\n*What we do* is for an opening session in rows of open, an open session in rows of part, and a closed one in rows of status\n"
        "and results; in other states the first table decides.\n"
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
    if move.pause is Pause.RETRY_AFTER:
        pause = f" ({PAUSE_WORDS[Pause.RETRY_AFTER]})"
    return ACTION_WORDS[move.action] + pause + ("; alert" if move.alert else "")


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    lines += ["| " + " | ".join(value.replace("|", "\\|") for value in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"
