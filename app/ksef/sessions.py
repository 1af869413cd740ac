"""Calls that read sessions and their results. They change nothing, so after no answer they may be repeated.

Source: KSeF API 2.9, GET /sessions...; ksef-docs, faktury/sesja-sprawdzenie-stanu-i-pobranie-upo.md.
"""

from dataclasses import dataclass
from typing import TypeVar

import anyio
import anyio.lowlevel
from pydantic import BaseModel, ValidationError

from app.ksef.answers import Answer
from app.ksef.error_classification import unreadable
from app.ksef.models import (
    SessionInvoice,
    SessionStatus,
    faults,
    read_json_object,
    read_model,
)
from app.ksef.storage import DownloadedUpo, Sink, save_upo
from app.ksef.transport import Call, KsefTransport, LimitGroup

PAGE_SIZE = 1000
"""The largest page that KSeF returns; every page counts against the limits."""
_ROWS_AT_A_TIME = 100
"""The number of rows parsed before other tasks of the event loop may run."""
_CONTINUATION = "x-continuation-token"
_Row = TypeVar("_Row", bound=BaseModel)

_OK = frozenset({200})
_STATUS = Call(LimitGroup.SESSION_MISC, "GET", "/sessions/{referenceNumber}", _OK)
_INVOICES = Call(LimitGroup.SESSION_INVOICE_LIST, "GET", "/sessions/{referenceNumber}/invoices", _OK)
_FAILED = Call(LimitGroup.SESSION_INVOICE_LIST, "GET", "/sessions/{referenceNumber}/invoices/failed", _OK)
_UPO = Call(LimitGroup.SESSION_MISC, "GET", "/sessions/{referenceNumber}/upo/{upoReferenceNumber}", _OK)


@dataclass(frozen=True, slots=True)
class InvoicePage:
    """One page of a session's invoices, and the token of the next one (None: this is the last)."""

    invoices: tuple[SessionInvoice, ...]
    continuation_token: str | None


async def session_status(
    transport: KsefTransport, token: str, reference_number: str, *, attempt: int = 1
) -> SessionStatus:
    """Request a session's status. Raises SessionNotFound when KSeF does not find the session."""
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
    """Request one page (up to 1,000) of a session's invoices, or of its rejected ones.

    Before the session's final status the list may be empty or incomplete. Its order is not that of the package.
    Raises ContinuationRefused when KSeF refuses the token: start the list again.
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


async def upo_by_api(
    transport: KsefTransport,
    token: str,
    reference_number: str,
    upo_reference_number: str,
    sink: Sink,
    *,
    attempt: int = 1,
) -> DownloadedUpo:
    """Write one page of a session's UPO into `sink`, through the API. It is counted: use it when the free link fails.

    Raises the errors of `storage.StorageClient.download_upo`; the content of the sink must then be discarded.
    """
    async with transport.stream(
        _UPO,
        path={"referenceNumber": reference_number, "upoReferenceNumber": upo_reference_number},
        headers={"Accept": "application/xml, application/json;q=0.5"},
        token=token,
        attempt=attempt,
    ) as response:
        return await save_upo(_UPO.operation, response, sink)


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
