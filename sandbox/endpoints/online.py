"""Endpoints of online sessions: open, send single invoices and technical corrections, close.

Source: KSeF API 2.9, /sessions/online; ksef-docs, sesja-interaktywna.md and korekta-techniczna.md.
"""

import asyncio
import base64
import hashlib
from datetime import timedelta

from pydantic import Field
from starlette.responses import JSONResponse, Response

from sandbox.clock import stamp
from sandbox.endpoints.batch import (
    BAD_KEY,
    EncryptionInfo,
    FormCode,
    Hash,
    checks_identifiers,
    decode_base64,
    find_session,
    read_encryption,
    unwrap_key,
)
from sandbox.errors import BadRequest, bad
from sandbox.guard import Body, Call, Endpoint, read_json
from sandbox.ids import new_reference
from sandbox.pool.outcome import Verdict
from sandbox.processing.batch import session_limits
from sandbox.processing.online import ACCEPTED_FOR_PROCESSING, close_online, start_invoice
from sandbox.state.records.common import Status
from sandbox.state.records.sessions import Invoice, Session

SESSION_LIFE = timedelta(hours=12)
_SENDERS = frozenset({"InvoiceWrite", "PefInvoiceWrite", "EnforcementOperations"})
_OPENED = Status(100, "Sesja interaktywna otwarta")
_MAX_BODY = 15_000_000
"""The largest body: the largest invoice that a context can be allowed, 10 MB, encrypted and in Base64."""


class _OpenRequest(Body):
    form_code: FormCode
    encryption: EncryptionInfo


class _SendRequest(Body):
    invoice_hash: Hash
    invoice_size: int = Field(ge=1, le=2**63 - 1)
    encrypted_invoice_hash: Hash
    encrypted_invoice_size: int = Field(ge=1, le=2**63 - 1)
    encrypted_invoice_content: str
    offline_mode: bool = False
    hash_of_corrected_invoice: Hash | None = None


async def open_session(call: Call) -> Response:
    """POST /sessions/online."""
    sandbox = call.sandbox
    wanted = await read_json(call.request, _OpenRequest)
    faults: list[str] = []
    encrypted_key, iv = read_encryption(sandbox, wanted.form_code, wanted.encryption, faults)
    if faults:
        raise bad(21405, *faults)
    key = await unwrap_key(sandbox, wanted.encryption, encrypted_key)
    now = sandbox.clock.now()
    login = call.principal.login
    session = Session(
        reference_number=new_reference("SO", now.date()),
        context=login.context,
        subject=login.subject,
        opened_by=login,
        offline_mode=False,
        compression="",
        file_size=0,
        file_hash="",
        parts={},
        key=key,
        iv=iv,
        check_identifiers=checks_identifiers(call),
        created=now,
        updated=now,
        valid_until=now + SESSION_LIFE,
        status=_OPENED if key is not None else BAD_KEY,
        kind="Online",
        form=sandbox.forms[wanted.form_code.codes],
    )
    sandbox.state.sessions[session.reference_number] = session
    body = {"referenceNumber": session.reference_number, "validUntil": stamp(session.valid_until)}
    return JSONResponse(body, status_code=201)


async def send_invoice(call: Call) -> Response:
    """POST /sessions/online/{referenceNumber}/invoices: a 202 confirms the receipt of the bytes, not a valid invoice."""
    sandbox = call.sandbox
    wanted = await read_json(call.request, _SendRequest, _MAX_BODY)
    content = await asyncio.to_thread(_content, wanted)
    session = find_session(call, call.reference("reference"), kind="Online")
    corrected = wanted.hash_of_corrected_invoice
    if corrected is not None:
        await asyncio.to_thread(_check_correction, call, session, corrected)
    _check_session(call, session)
    document = sandbox.new_file(session.reference_number)
    await asyncio.to_thread(document.write_bytes, content)
    try:
        # Check again, because the session may have been closed or filled during the await. No await follows.
        _check_session(call, session)
    except BadRequest:
        await asyncio.to_thread(document.unlink)
        raise
    now = sandbox.clock.now()
    invoice = Invoice(
        ordinal_number=len(session.invoices) + 1,
        reference_number=new_reference("EE", now.date()),
        verdict=Verdict(name="", sha256=wanted.invoice_hash, size=wanted.invoice_size, code=100),
        status=ACCEPTED_FOR_PROCESSING,
        sent=now,
        offline_mode=wanted.offline_mode,
        document=document,
        corrected_hash=corrected,
    )
    session.invoices.append(invoice)
    session.by_reference[invoice.reference_number] = invoice
    session.updated = now
    start_invoice(sandbox, session, invoice)
    return JSONResponse({"referenceNumber": invoice.reference_number}, status_code=202)


def _content(wanted: _SendRequest) -> bytes:
    """Return the encrypted invoice; raises BadRequest if it does not fit the request's size or hash."""
    faults = [
        f"'{name}' nie jest skrótem SHA-256 w Base64."
        for name, value in (
            ("invoiceHash", wanted.invoice_hash),
            ("encryptedInvoiceHash", wanted.encrypted_invoice_hash),
            ("hashOfCorrectedInvoice", wanted.hash_of_corrected_invoice),
        )
        if value is not None and len(decode_base64(value) or b"") != 32
    ]
    content = decode_base64(wanted.encrypted_invoice_content)
    if not content:
        faults.append("'encryptedInvoiceContent' nie jest w Base64.")
    if wanted.hash_of_corrected_invoice is not None and not wanted.offline_mode:
        faults.append("Korekta techniczna wymaga 'offlineMode' równego true.")
    if faults or content is None:
        raise bad(21405, *faults)
    if len(content) != wanted.encrypted_invoice_size:
        raise bad(21402, "Długość treści nie zgadza się z rozmiarem pliku.")
    if base64.b64encode(hashlib.sha256(content).digest()).decode("ascii") != wanted.encrypted_invoice_hash:
        raise bad(21403, "Skrót treści nie zgadza się ze skrótem pliku.")
    return content


def _check_session(call: Call, session: Session) -> None:
    if session.status.code != 100:
        raise bad(21180, f"Status sesji {session.status.code} uniemożliwia wysyłkę faktur.")
    limit = session_limits(call.sandbox, session).max_invoices
    if len(session.invoices) >= limit:
        raise bad(
            21155,
            f"Sesja o numerze referencyjnym {session.reference_number} osiągnęła dozwolony limit liczby faktur {limit}.",
        )


def _check_correction(call: Call, session: Session, corrected: str) -> None:
    """Check that a technical correction is of a rejected invoice of this context, and the first accepted one of it.

    An invoice rejected for a missing permission (status 410) cannot be corrected: ksef-docs exclude it, and the sandbox
    answers 21167. KSeF's answer to an unknown hash is not documented; the sandbox answers 21167 too.
    """
    state = call.sandbox.state
    if (session.context, corrected) in state.corrected:
        raise bad(21166, "Faktura posiada już przetworzoną prawidłowo korektę techniczną.")
    codes = {
        invoice.status.code
        for other in list(state.sessions.peek())
        if other.context == session.context
        for invoice in list(other.invoices)
        if invoice.verdict.sha256 == corrected
    }
    if 200 in codes:
        raise bad(21167, "Nie można wysłać korekty technicznej do prawidłowo przetworzonej faktury.")
    if not any(code >= 400 and code != 410 for code in codes):
        raise bad(21167, "Nie ma odrzuconej faktury o wskazanym skrócie, którą można skorygować technicznie.")


async def close_session(call: Call) -> Response:
    """POST /sessions/online/{referenceNumber}/close: start the receipt, once, and answer 204."""
    session = find_session(call, call.reference("reference"), kind="Online")
    if session.status.code != 100:
        raise bad(21180, f"Status sesji {session.status.code} uniemożliwia jej zamknięcie.")
    close_online(call.sandbox, session, call.sandbox.clock.now())
    return Response(status_code=204)


ENDPOINTS = (
    Endpoint("POST", "/sessions/online", open_session, "onlineSession", any_of=_SENDERS),
    Endpoint("POST", "/sessions/online/{reference}/invoices", send_invoice, "invoiceSend", any_of=_SENDERS),
    Endpoint("POST", "/sessions/online/{reference}/close", close_session, "onlineSessionClose", any_of=_SENDERS),
)
