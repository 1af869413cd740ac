"""Asking what became of a session. Every call here only reads: no answer means nothing but asking again.

Source: KSeF API 2.9, GET /sessions...; ksef-docs, faktury/sesja-sprawdzenie-stanu-i-pobranie-upo.md.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import anyio
import anyio.lowlevel
from pydantic import BaseModel, ValidationError

from app.ksef.answers import Answer
from app.ksef.error_classification import unreadable
from app.ksef.models import (
    ListedSession,
    SessionInvoice,
    SessionStatus,
    faults,
    read_json_object,
    read_model,
)
from app.ksef.storage import DownloadedUpo, Sink, save_document
from app.ksef.transport import Call, KsefTransport, LimitGroup

PAGE_SIZE = 1000
"""The largest page KSeF gives; every page counts against the limits."""
_ROWS_AT_A_TIME = 100
"""Rows turned into objects before others get a turn on the event loop."""
_CONTINUATION = "x-continuation-token"
_Row = TypeVar("_Row", bound=BaseModel)

_OK = frozenset({200})
_STATUS = Call(LimitGroup.SESSION_MISC, "GET", "/sessions/{referenceNumber}", _OK)
_INVOICES = Call(LimitGroup.SESSION_INVOICE_LIST, "GET", "/sessions/{referenceNumber}/invoices", _OK)
_FAILED = Call(LimitGroup.SESSION_INVOICE_LIST, "GET", "/sessions/{referenceNumber}/invoices/failed", _OK)
_INVOICE = Call(LimitGroup.INVOICE_STATUS, "GET", "/sessions/{referenceNumber}/invoices/{invoiceReferenceNumber}", _OK)
_LIST = Call(LimitGroup.SESSION_LIST, "GET", "/sessions", _OK)
_UPO = Call(LimitGroup.SESSION_MISC, "GET", "/sessions/{referenceNumber}/upo/{upoReferenceNumber}", _OK)


@dataclass(frozen=True, slots=True)
class InvoicePage:
    """One page of a session's invoices, and the token of the next one (None: this was the last)."""

    invoices: tuple[SessionInvoice, ...]
    continuation_token: str | None


@dataclass(frozen=True, slots=True)
class SessionPage:
    """One page of sessions, newest first, and the token of the next one."""

    sessions: tuple[ListedSession, ...]
    continuation_token: str | None


async def session_status(
    transport: KsefTransport, token: str, reference_number: str, *, attempt: int = 1
) -> SessionStatus:
    """How far a session is. Raises SessionNotFound when KSeF does not know it."""
    answer = await transport.send(_STATUS, path={"referenceNumber": reference_number}, token=token, attempt=attempt)
    return read_model(answer, SessionStatus)


async def session_invoices_page(
    transport: KsefTransport,
    token: str,
    reference_number: str,
    *,
    failed_only: bool,
    continuation_token: str | None = None,
    attempt: int = 1,
) -> InvoicePage:
    """One page (up to 1,000) of a session's invoices, or of the refused ones only.

    Before the session is final the list may be empty or incomplete. The order is not that of the package.
    Raises ContinuationRefused when the token is no longer taken: start over.
    """
    answer = await transport.send(
        _FAILED if failed_only else _INVOICES,
        path={"referenceNumber": reference_number},
        query=(("pageSize", str(PAGE_SIZE)),),
        headers=_continued(continuation_token),
        token=token,
        attempt=attempt,
    )
    return InvoicePage(*await _read_page(answer, "invoices", SessionInvoice))


async def session_invoice(
    transport: KsefTransport,
    token: str,
    reference_number: str,
    invoice_reference_number: str,
    *,
    attempt: int = 1,
) -> SessionInvoice:
    """What KSeF says about one invoice of a session."""
    answer = await transport.send(
        _INVOICE,
        path={"referenceNumber": reference_number, "invoiceReferenceNumber": invoice_reference_number},
        token=token,
        attempt=attempt,
    )
    return read_model(answer, SessionInvoice)


async def sessions_page(
    transport: KsefTransport,
    token: str,
    *,
    created_from: datetime | None = None,
    created_to: datetime | None = None,
    reference_number: str | None = None,
    statuses: Iterable[str] = (),
    continuation_token: str | None = None,
    attempt: int = 1,
) -> SessionPage:
    """One page (up to 1,000) of the context's batch sessions, newest first. Times must be aware."""
    query = [("sessionType", "Batch"), ("pageSize", str(PAGE_SIZE))]
    if created_from is not None:
        query.append(("dateCreatedFrom", _with_offset(created_from)))
    if created_to is not None:
        query.append(("dateCreatedTo", _with_offset(created_to)))
    if reference_number is not None:
        query.append(("referenceNumber", reference_number))
    query += [("statuses", status) for status in statuses]
    answer = await transport.send(
        _LIST,
        query=query,
        headers=_continued(continuation_token),
        token=token,
        attempt=attempt,
    )
    return SessionPage(*await _read_page(answer, "sessions", ListedSession))


async def upo_by_api(
    transport: KsefTransport,
    token: str,
    reference_number: str,
    upo_reference_number: str,
    sink: Sink,
    *,
    attempt: int = 1,
) -> DownloadedUpo:
    """Write one page of a session's UPO into `sink`, by the API: counted, for when the free link does not work.

    Raises as `storage.StorageClient.download_upo` does; what the sink holds then has to be thrown away.
    """
    async with transport.stream(
        _UPO,
        path={"referenceNumber": reference_number, "upoReferenceNumber": upo_reference_number},
        headers={"Accept": "application/xml, application/json;q=0.5"},
        token=token,
        attempt=attempt,
    ) as response:
        return await save_document(_UPO.operation, response, sink)


def _continued(continuation_token: str | None) -> dict[str, str]:
    return {} if continuation_token is None else {_CONTINUATION: continuation_token}


async def _read_page(answer: Answer, name: str, model: type[_Row]) -> tuple[tuple[_Row, ...], str | None]:
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


def _with_offset(moment: datetime) -> str:
    if moment.tzinfo is None:
        raise ValueError("KSeF reads times without an offset as it likes: give an aware one")
    return moment.isoformat()
