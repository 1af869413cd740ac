"""Changes of a session's status answer by the script of a test. Source of the oddities: issues in ksef-api."""

from typing import Any

from sandbox.clock import stamp
from sandbox.processing.batch import PROCESSING
from sandbox.state.records.common import Status
from sandbox.state.records.sessions import Session

_OPENED = Status(100, "Sesja wsadowa rozpoczęta")
_ONLY_WHEN_DONE = ("upo", "invoiceCount", "successfulInvoiceCount", "failedInvoiceCount")


def as_scripted(session: Session, body: dict[str, Any]) -> dict[str, Any]:
    """Change the answer to GET /sessions/{referenceNumber} by the session's script, and count the request."""
    if session.closed is None:
        return body
    script = session.script
    session.looks += 1
    session.looks_when_done += session.is_final
    if session.looks <= len(script.shown):
        return _with_status(session, body, script.shown[session.looks - 1])
    changed = dict(body)
    if session.looks_when_done <= script.looks_without_upo:
        changed.pop("upo", None)
    if script.null_failed_count and changed.get("failedInvoiceCount") == 0:
        changed["failedInvoiceCount"] = None
    return changed


def _with_status(session: Session, body: dict[str, Any], code: int) -> dict[str, Any]:
    changed = {name: value for name, value in body.items() if name not in _ONLY_WHEN_DONE}
    changed["status"] = (_OPENED if code == _OPENED.code else PROCESSING).body()
    if code == _OPENED.code:
        changed["validUntil"] = stamp(session.valid_until)
    else:
        changed.pop("validUntil", None)
    return changed
