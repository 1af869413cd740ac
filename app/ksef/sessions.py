"""Calls that read sessions and their results, and the reading of their answers. They may be repeated after no answer.

Source: KSeF API 2.9, GET /sessions...; ksef-docs, faktury/sesja-sprawdzenie-stanu-i-pobranie-upo.md.
"""

from dataclasses import dataclass
from typing import TypeVar

import anyio
import anyio.lowlevel
from pydantic import BaseModel, ValidationError

from app.ksef.answers import Answer
from app.ksef.error_classification import unreadable
from app.ksef.models import ListedSession, SessionInvoice, faults, read_json_object
from app.ksef.transport import Call, LimitGroup

PAGE_SIZE = 1000
"""The largest page that KSeF returns; every page counts against the limits."""
_ROWS_AT_A_TIME = 100
"""The number of rows parsed before other tasks of the event loop may run."""
_CONTINUATION = "x-continuation-token"
_Row = TypeVar("_Row", bound=BaseModel)

_OK = frozenset({200})
STATUS = Call(LimitGroup.SESSION_MISC, "GET", "/sessions/{referenceNumber}", _OK)
INVOICES = Call(LimitGroup.SESSION_INVOICE_LIST, "GET", "/sessions/{referenceNumber}/invoices", _OK)
FAILED = Call(LimitGroup.SESSION_INVOICE_LIST, "GET", "/sessions/{referenceNumber}/invoices/failed", _OK)
LIST = Call(LimitGroup.SESSION_LIST, "GET", "/sessions", _OK)
UPO = Call(LimitGroup.SESSION_MISC, "GET", "/sessions/{referenceNumber}/upo/{upoReferenceNumber}", _OK)


@dataclass(frozen=True, slots=True)
class InvoicePage:
    """One page of a session's invoices, and the token of the next one (None: this is the last)."""

    invoices: tuple[SessionInvoice, ...]
    continuation_token: str | None


async def read_invoice_page(answer: Answer) -> InvoicePage:
    """Read one page of a session's invoices; other tasks of the event loop run in between."""
    return InvoicePage(*await read_page(answer, "invoices", SessionInvoice))


@dataclass(frozen=True, slots=True)
class SessionPage:
    """One page of a context's sessions, newest first, and the token of the next one (None: this is the last)."""

    sessions: tuple[ListedSession, ...]
    continuation_token: str | None


async def read_session_page(answer: Answer) -> SessionPage:
    """Read one page of a context's sessions."""
    return SessionPage(*await read_page(answer, "sessions", ListedSession))


def continued(continuation_token: str | None) -> dict[str, str]:
    """Return the headers that request the page of a continuation token, none for the first page."""
    return {} if continuation_token is None else {_CONTINUATION: continuation_token}


async def read_page(answer: Answer, name: str, model: type[_Row]) -> tuple[tuple[_Row, ...], str | None]:
    """Read the rows under a name, and the token of the next page."""
    document = read_json_object(answer)
    rows = document.get(name)
    if not isinstance(rows, list):
        raise unreadable(answer, f"'{name}' is not a list")
    read: list[_Row] = []
    for number, row in enumerate(rows, start=1):
        try:
            read.append(model.model_validate(row))
        except ValidationError as error:
            raise unreadable(answer, f"row {number}: {faults(error)}") from error
        if number % _ROWS_AT_A_TIME == 0:
            await anyio.lowlevel.checkpoint()
    token = document.get("continuationToken")
    return tuple(read), token if isinstance(token, str) and token else None
