"""Endpoints for accepted invoices: their receipts, by all paths, and the invoices themselves."""

import asyncio

from starlette.responses import FileResponse, Response

from sandbox.endpoints.results import READERS, is_stored, session_of
from sandbox.errors import BadRequest, Forbidden, bad
from sandbox.guard import Call, Endpoint
from sandbox.ids import KSEF_NUMBER
from sandbox.pool.package import read_document
from sandbox.processing.batch import make_receipt
from sandbox.service import Sandbox
from sandbox.state.records.sessions import Accepted, Invoice, Session, UpoPage

# Receipts


async def invoice_upo(sandbox: Sandbox, session: Session, invoice: Invoice) -> UpoPage:
    """Return one invoice's receipt; it is made at the first request and stored."""
    receipts = sandbox.state.receipts
    if invoice.reference_number not in receipts:
        receipts[invoice.reference_number] = await make_receipt(sandbox, session, [invoice], None)
    return receipts[invoice.reference_number]


async def session_upo(call: Call) -> Response:
    """GET /sessions/{referenceNumber}/upo/{upoReferenceNumber}."""
    session = session_of(call)
    wanted = call.reference("upo")
    for page in session.upo_pages if session.is_final else ():
        if page.reference_number == wanted:
            return _xml(page)
    reference = session.reference_number
    raise bad(21178, f"UPO o numerze referencyjnym {wanted} dla sesji {reference} nie zostało znalezione.")


async def upo_by_invoice(call: Call) -> Response:
    """GET /sessions/{referenceNumber}/invoices/{invoiceReferenceNumber}/upo."""
    session = session_of(call)
    invoice = session.by_reference.get(call.reference("invoice"))
    if invoice is None or invoice.ksef_number is None:
        raise _no_upo(session, call.path("invoice"))
    return _xml(await invoice_upo(call.sandbox, session, invoice))


async def upo_by_ksef_number(call: Call) -> Response:
    """GET /sessions/{referenceNumber}/invoices/ksef/{ksefNumber}/upo."""
    session = session_of(call)
    place = call.sandbox.state.by_ksef_number.get(_ksef_number(call))
    given = place is not None and place.session is session and place.invoice.has_receipt
    if place is None or not given or not (session.is_final or session.kind == "Online"):
        raise _no_upo(session, call.path("ksef_number"))
    return _xml(await invoice_upo(call.sandbox, session, place.invoice))


def _no_upo(session: Session, what: str) -> BadRequest:
    reference = session.reference_number
    return bad(21178, f"UPO o numerze KSeF {what} i numerze referencyjnym sesji {reference} nie zostało znalezione.")


def _xml(page: UpoPage) -> Response:
    return FileResponse(page.path, media_type="application/xml", headers={"x-ms-meta-hash": page.sha256})


# One invoice


async def read_invoice(call: Call) -> Response:
    """GET /invoices/ksef/{ksefNumber}: return the XML as it was sent, to its seller's context."""
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
    Endpoint(
        "GET",
        "/sessions/{reference}/invoices/ksef/{ksef_number}/upo",
        upo_by_ksef_number,
        "sessionMisc",
        any_of=READERS,
    ),
    Endpoint("GET", "/sessions/{reference}/invoices/{invoice}/upo", upo_by_invoice, "sessionMisc", any_of=READERS),
    Endpoint("GET", "/sessions/{reference}/upo/{upo}", session_upo, "sessionMisc", any_of=READERS),
    Endpoint(
        "GET",
        "/invoices/ksef/{ksef_number}",
        read_invoice,
        "invoiceDownload",
        any_of=frozenset({"InvoiceRead"}),
    ),
)
