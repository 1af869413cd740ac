"""Endpoints for a session's results: status, lists of sessions and of invoices."""

from datetime import datetime, timedelta
from typing import Any

from starlette.responses import JSONResponse, Response

from app.domain.timestamps import to_utc
from sandbox.clock import stamp
from sandbox.endpoints.batch import expire_session, find_session
from sandbox.endpoints.paging import page_of, page_size
from sandbox.endpoints.session_scripts import as_scripted
from sandbox.errors import bad
from sandbox.guard import Call, Endpoint
from sandbox.presigned_links import sign_link
from sandbox.service import Sandbox
from sandbox.state.records.sessions import Invoice, Session, UpoPage

UPO_LINK_LIFE = timedelta(hours=72)
READERS = frozenset({"InvoiceWrite", "Introspection", "PefInvoiceWrite", "EnforcementOperations"})
_LISTERS = frozenset({"InvoiceWrite", "Introspection", "EnforcementOperations"})
_FILTERS = {
    "dateCreatedFrom": ("created", 1),
    "dateCreatedTo": ("created", -1),
    "dateClosedFrom": ("closed", 1),
    "dateClosedTo": ("closed", -1),
    "dateModifiedFrom": ("updated", 1),
    "dateModifiedTo": ("updated", -1),
}
_STATUSES = frozenset({"InProgress", "Succeeded", "Failed", "Cancelled"})


# Session


def session_of(call: Call) -> Session:
    """Return the session in the path if the caller may see it."""
    return find_session(call, call.reference("reference"), to_read=True)


async def session_status(call: Call) -> Response:
    """GET /sessions/{referenceNumber}. Each call creates new receipt links."""
    session = session_of(call)
    body: dict[str, Any] = {
        "status": session.status.body(),
        "dateCreated": stamp(session.created),
        "dateUpdated": stamp(session.updated),
    }
    if session.status.code == 100:
        body["validUntil"] = stamp(session.valid_until)
    if session.upo_pages and session.is_final:
        body["upo"] = {"pages": [_page(call, session, page) for page in session.upo_pages]}
    counts = _counts(session)
    if counts is not None:
        names = ("invoiceCount", "successfulInvoiceCount", "failedInvoiceCount")
        body.update(zip(names, counts, strict=True))
    return JSONResponse(as_scripted(session, body))


def _counts(session: Session) -> tuple[int, int, int] | None:
    """Return the counts of all, accepted and rejected invoices: of a package at its end, online from the first invoice."""
    if session.kind == "Online":
        accepted = sum(invoice.ksef_number is not None for invoice in session.invoices)
        return len(session.invoices), accepted, sum(invoice.is_rejected for invoice in session.invoices)
    return session.counts if session.is_final else None


def _page(call: Call, session: Session, page: UpoPage) -> dict[str, str]:
    url, expires = _link(call, session, "session-upo", page.reference_number)
    return {
        "referenceNumber": page.reference_number,
        "downloadUrl": url,
        "downloadUrlExpirationDate": expires,
    }


def _link(call: Call, session: Session, folder: str, name: str) -> tuple[str, str]:
    """Return a download link and the end of its validity."""
    now = call.sandbox.clock.now()
    expires = (now + UPO_LINK_LIFE).replace(microsecond=0)
    path = f"/storage/01/{session.reference_number.lower()}/{folder}/{name.lower()}.xml"
    link = sign_link(path, "r", now, expires, call.sandbox.keys.link_secret)
    return f"{call.request.url.scheme}://{call.request.url.netloc}{link}", stamp(expires)


async def list_sessions(call: Call) -> Response:
    """GET /sessions: list sessions by the filters, newest first."""
    query = call.request.query_params
    kind = query.get("sessionType")
    if kind not in {"Online", "Batch"}:
        raise bad(21405, "'sessionType' jest wymagany: Online lub Batch.")
    statuses = set(query.getlist("statuses"))
    if not statuses <= _STATUSES:
        raise bad(21405, "'statuses' ma niedozwoloną wartość.")
    limits = {name: _moment(name, query[name]) for name in _FILTERS if name in query}
    login = call.principal.login
    everything = bool(call.principal.permissions & {"Introspection", "EnforcementOperations"})
    found = []
    for session in call.sandbox.state.sessions.values():
        if (
            session.kind != kind
            or session.context != login.context
            or not (everything or session.subject == login.subject)
        ):
            continue
        expire_session(call, session)
        if "referenceNumber" in query and session.reference_number != query["referenceNumber"]:
            continue
        if statuses and _common_status(session) not in statuses:
            continue
        if all(_within(session, name, moment) for name, moment in limits.items()):
            found.append(session)
    found.sort(key=lambda session: session.created, reverse=True)
    scope = f"sessions:{login.context.value}:{sorted(query.multi_items())}"
    page, token = page_of(call, found, page_size(call, maximum=1000), scope)
    items = [_session_item(session) for session in page]
    return JSONResponse({"continuationToken": token, "sessions": items} if token else {"sessions": items})


def _moment(name: str, text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        to_utc(moment)
    except ValueError as error:
        raise bad(21405, f"'{name}' nie jest datą.") from error
    if moment.tzinfo is None:
        raise bad(21405, f"'{name}' nie ma strefy czasowej.")
    return moment


def _within(session: Session, name: str, moment: datetime) -> bool:
    attribute, direction = _FILTERS[name]
    value: datetime | None = getattr(session, attribute)
    return value is not None and (value >= moment if direction > 0 else value <= moment)


def _common_status(session: Session) -> str:
    if not session.is_final:
        return "InProgress"
    return {200: "Succeeded", 440: "Cancelled"}.get(session.status.code, "Failed")


def _session_item(session: Session) -> dict[str, Any]:
    total, accepted, rejected = _counts(session) or (0, 0, 0)
    item: dict[str, Any] = {
        "referenceNumber": session.reference_number,
        "status": session.status.body(),
        "dateCreated": stamp(session.created),
        "dateUpdated": stamp(session.updated),
        "totalInvoiceCount": total,
        "successfulInvoiceCount": accepted,
        "failedInvoiceCount": rejected,
    }
    if session.status.code == 100:
        item["validUntil"] = stamp(session.valid_until)
    return item


# Invoices


async def list_invoices(call: Call) -> Response:
    """GET /sessions/{referenceNumber}/invoices: list invoices; a package's list is empty until the final status."""
    session = session_of(call)
    return _invoices(call, session, session.invoices, "all")


async def list_failed(call: Call) -> Response:
    """GET /sessions/{referenceNumber}/invoices/failed."""
    session = session_of(call)
    failed = [invoice for invoice in session.invoices if invoice.is_rejected]
    return _invoices(call, session, failed, "failed")


def _invoices(call: Call, session: Session, invoices: list[Invoice], kind: str) -> Response:
    size = page_size(call, maximum=1000)
    page, token = page_of(call, invoices, size, f"{kind}:{session.reference_number}")
    items = [_invoice_body(call, session, invoice) for invoice in page]
    return JSONResponse({"continuationToken": token, "invoices": items} if token else {"invoices": items})


async def show_invoice(call: Call) -> Response:
    """GET /sessions/{referenceNumber}/invoices/{invoiceReferenceNumber}."""
    session = session_of(call)
    return JSONResponse(_invoice_body(call, session, _invoice(call, session)))


def _invoice(call: Call, session: Session) -> Invoice:
    reference = call.reference("invoice")
    invoice = session.by_reference.get(reference)
    if invoice is None:
        raise bad(21405, f"Faktura o numerze referencyjnym {reference} nie istnieje w sesji.")
    return invoice


def _invoice_body(call: Call, session: Session, invoice: Invoice) -> dict[str, Any]:
    document = invoice.verdict
    status = invoice.status.body()
    if invoice.extensions:
        status["extensions"] = invoice.extensions
    body: dict[str, Any] = {
        "ordinalNumber": invoice.ordinal_number,
        "referenceNumber": invoice.reference_number,
        "invoiceHash": document.sha256,
        "invoicingDate": stamp(invoice.sent or session.created),
        "status": status,
    }
    if document.name:
        body["invoiceFileName"] = document.name
    # An invoice with a fault of its form has no number in KSeF's answers, even if its XML has one.
    if document.number is not None and document.code not in {430, 450}:
        body["invoiceNumber"] = document.number
    if invoice.ksef_number is not None and invoice.acquired is not None:
        url, expires = _link(call, session, "invoice-upo", invoice.reference_number)
        body |= {
            "ksefNumber": invoice.ksef_number,
            "acquisitionDate": stamp(invoice.acquired),
            "invoicingMode": invoice.invoicing_mode,
            "upoDownloadUrl": url,
            "upoDownloadUrlExpirationDate": expires,
        }
        if is_stored(call.sandbox, session, invoice):
            body["permanentStorageDate"] = stamp(stored_at(call.sandbox, invoice.acquired))
    return body


def is_stored(sandbox: Sandbox, session: Session, invoice: Invoice) -> bool:
    """Return whether an accepted invoice can be downloaded.

    This is some time after it got its KSeF number, and after the end of its package's processing.
    """
    if invoice.acquired is None or (session.kind == "Batch" and not session.is_final):
        return False
    return stored_at(sandbox, invoice.acquired) <= sandbox.clock.now()


def stored_at(sandbox: Sandbox, acquired: datetime) -> datetime:
    """Return when an invoice that got its number at a moment can be downloaded."""
    return acquired + timedelta(seconds=sandbox.options.storage_delay_seconds)


ENDPOINTS = (
    Endpoint("GET", "/sessions", list_sessions, "sessionList", any_of=_LISTERS),
    Endpoint("GET", "/sessions/{reference}", session_status, "sessionMisc", any_of=READERS),
    Endpoint("GET", "/sessions/{reference}/invoices", list_invoices, "sessionInvoiceList", any_of=READERS),
    Endpoint("GET", "/sessions/{reference}/invoices/failed", list_failed, "sessionInvoiceList", any_of=READERS),
    Endpoint("GET", "/sessions/{reference}/invoices/{invoice}", show_invoice, "invoiceStatus", any_of=READERS),
)
