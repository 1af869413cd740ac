"""What became of a session: status, invoice lists, receipts; and one accepted invoice read back."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

from starlette.responses import FileResponse, JSONResponse, Response

from sandbox.batch import expire_session, find_session
from sandbox.clock import stamp
from sandbox.gate import Call, Endpoint
from sandbox.ids import KSEF_NUMBER, REFERENCE
from sandbox.links import sign_link
from sandbox.paging import page_of, page_size
from sandbox.processing import make_receipt
from sandbox.refusals import BadRequest, Forbidden, bad
from sandbox.scripted import as_scripted
from sandbox.service import Sandbox
from sandbox.state import Accepted, Invoice, Session, UpoPage
from sandbox.work.package import read_document

UPO_LINK_LIFE = timedelta(hours=72)
_READERS = frozenset({"InvoiceWrite", "Introspection", "PefInvoiceWrite", "EnforcementOperations"})
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


def _session(call: Call) -> Session:
    return find_session(call, _reference(call, "reference"), to_read=True)


def _reference(call: Call, name: str) -> str:
    reference = call.path(name)
    if REFERENCE.fullmatch(reference) is None:
        raise bad(21405, f"Numer referencyjny '{reference}' ma nieprawidłowy format.")
    return reference


async def session_status(call: Call) -> Response:
    """GET /sessions/{referenceNumber}. Receipt links are new on every call."""
    session = _session(call)
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
    """All, accepted, rejected: of a package when it is done, online from the first invoice on."""
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
    """A download link and when it ends."""
    now = call.sandbox.clock.now()
    expires = (now + UPO_LINK_LIFE).replace(microsecond=0)
    path = f"/storage/01/{session.reference_number.lower()}/{folder}/{name.lower()}.xml"
    link = sign_link(path, "r", now, expires, call.sandbox.keys.link_secret)
    return f"{call.request.url.scheme}://{call.request.url.netloc}{link}", stamp(expires)


async def list_sessions(call: Call) -> Response:
    """GET /sessions: newest first, filtered."""
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
    """GET /sessions/{referenceNumber}/invoices: of a package, empty until the session is final."""
    session = _session(call)
    return _invoices(call, session, session.invoices, "all")


async def list_failed(call: Call) -> Response:
    """GET /sessions/{referenceNumber}/invoices/failed."""
    session = _session(call)
    failed = [invoice for invoice in session.invoices if invoice.is_rejected]
    return _invoices(call, session, failed, "failed")


def _invoices(call: Call, session: Session, invoices: list[Invoice], kind: str) -> Response:
    size = page_size(call, maximum=1000)
    page, token = page_of(call, invoices, size, f"{kind}:{session.reference_number}")
    items = [_invoice_body(call, session, invoice) for invoice in page]
    return JSONResponse({"continuationToken": token, "invoices": items} if token else {"invoices": items})


async def show_invoice(call: Call) -> Response:
    """GET /sessions/{referenceNumber}/invoices/{invoiceReferenceNumber}."""
    session = _session(call)
    return JSONResponse(_invoice_body(call, session, _invoice(call, session)))


def _invoice(call: Call, session: Session) -> Invoice:
    reference = _reference(call, "invoice")
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
    # A document that broke a rule of form has no number in KSeF's answers, even where a reader could find one.
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
            body["permanentStorageDate"] = stamp(_stored_at(call.sandbox, invoice.acquired))
    return body


def is_stored(sandbox: Sandbox, session: Session, invoice: Invoice) -> bool:
    """Whether an accepted invoice can be read back: some time after it got its number, and never from a package
    that is still being processed."""
    if invoice.acquired is None or (session.kind == "Batch" and not session.is_final):
        return False
    return _stored_at(sandbox, invoice.acquired) <= sandbox.clock.now()


def _stored_at(sandbox: Sandbox, acquired: datetime) -> datetime:
    return acquired + timedelta(seconds=sandbox.options.storage_delay_seconds)


# Receipts


async def invoice_upo(sandbox: Sandbox, session: Session, invoice: Invoice) -> UpoPage:
    """One invoice's receipt, made when first asked for and kept."""
    receipts = sandbox.state.receipts
    if invoice.reference_number not in receipts:
        receipts[invoice.reference_number] = await make_receipt(sandbox, session, [invoice], None)
    return receipts[invoice.reference_number]


async def session_upo(call: Call) -> Response:
    """GET /sessions/{referenceNumber}/upo/{upoReferenceNumber}."""
    session = _session(call)
    wanted = _reference(call, "upo")
    for page in session.upo_pages if session.is_final else ():
        if page.reference_number == wanted:
            return _xml(page)
    reference = session.reference_number
    raise bad(21178, f"UPO o numerze referencyjnym {wanted} dla sesji {reference} nie zostało znalezione.")


async def upo_by_invoice(call: Call) -> Response:
    """GET /sessions/{referenceNumber}/invoices/{invoiceReferenceNumber}/upo."""
    session = _session(call)
    invoice = session.by_reference.get(_reference(call, "invoice"))
    if invoice is None or invoice.ksef_number is None:
        raise _no_upo(session, call.path("invoice"))
    return _xml(await invoice_upo(call.sandbox, session, invoice))


async def upo_by_ksef_number(call: Call) -> Response:
    """GET /sessions/{referenceNumber}/invoices/ksef/{ksefNumber}/upo."""
    session = _session(call)
    place = call.sandbox.state.by_ksef_number.get(_ksef_number(call))
    if place is None or place.session is not session or not (session.is_final or session.kind == "Online"):
        raise _no_upo(session, call.path("ksef_number"))
    return _xml(await invoice_upo(call.sandbox, session, place.invoice))


def _no_upo(session: Session, what: str) -> BadRequest:
    reference = session.reference_number
    return bad(21178, f"UPO o numerze KSeF {what} i numerze referencyjnym sesji {reference} nie zostało znalezione.")


def _xml(page: UpoPage) -> Response:
    return FileResponse(page.path, media_type="application/xml", headers={"x-ms-meta-hash": page.sha256})


# One invoice


async def read_invoice(call: Call) -> Response:
    """GET /invoices/ksef/{ksefNumber}: the document as it was sent, to its seller's context."""
    number = _ksef_number(call)
    place = call.sandbox.state.by_ksef_number.get(number)
    if place is None:
        raise bad(21164, f"Faktura o numerze KSeF {number} nie została znaleziona.")
    if not is_stored(call.sandbox, place.session, place.invoice):
        raise bad(
            21165,
            f"Faktura o numerze KSeF {number} została przetworzona, ale nie jest jeszcze dostępna do pobrania. "
            "Spróbuj ponownie później.",
        )
    login, document = call.principal.login, place.invoice.verdict
    if login.context != place.session.context and login.context.nip != document.seller_nip:
        raise Forbidden("insufficient-resource-access", "Brak dostępu do wskazanego zasobu.")
    content = await asyncio.to_thread(_content, place)
    return Response(content, media_type="application/xml", headers={"x-ms-meta-hash": document.sha256})


def _content(place: Accepted) -> bytes | None:
    if place.invoice.document is not None:
        return place.invoice.document.read_bytes()
    if place.session.package is None:
        raise RuntimeError("an accepted invoice without its package")
    return read_document(place.session.package, place.session.compression, place.invoice.verdict.name)


def _ksef_number(call: Call) -> str:
    number = call.path("ksef_number")
    if KSEF_NUMBER.fullmatch(number) is None:
        raise bad(21405, f"Numer KSeF '{number}' ma nieprawidłowy format.")
    return number


ENDPOINTS = (
    Endpoint("GET", "/sessions", list_sessions, "sessionList", any_of=_LISTERS),
    Endpoint("GET", "/sessions/{reference}", session_status, "sessionMisc", any_of=_READERS),
    Endpoint("GET", "/sessions/{reference}/invoices", list_invoices, "sessionInvoiceList", any_of=_READERS),
    Endpoint("GET", "/sessions/{reference}/invoices/failed", list_failed, "sessionInvoiceList", any_of=_READERS),
    Endpoint(
        "GET",
        "/sessions/{reference}/invoices/ksef/{ksef_number}/upo",
        upo_by_ksef_number,
        "sessionMisc",
        any_of=_READERS,
    ),
    Endpoint("GET", "/sessions/{reference}/invoices/{invoice}", show_invoice, "invoiceStatus", any_of=_READERS),
    Endpoint("GET", "/sessions/{reference}/invoices/{invoice}/upo", upo_by_invoice, "sessionMisc", any_of=_READERS),
    Endpoint("GET", "/sessions/{reference}/upo/{upo}", session_upo, "sessionMisc", any_of=_READERS),
    Endpoint(
        "GET",
        "/invoices/ksef/{ksef_number}",
        read_invoice,
        "invoiceDownload",
        any_of=frozenset({"InvoiceRead"}),
    ),
)
