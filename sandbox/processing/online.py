"""Processing of an online session: each invoice by itself, and the receipt after the close.

100 open -> 170 closed -> 200, 440 (no invoice was sent) or 445 (none was accepted). Source: KSeF API 2.9,
SessionStatusResponse.status; ksef-docs, sesja-interaktywna.md.
"""

import asyncio
import logging
from datetime import datetime
from functools import partial
from pathlib import Path

from sandbox.pool.single import InvoiceJob, check_invoice
from sandbox.processing.batch import INVOICE_TEXTS, NOTHING_ACCEPTED, decide_invoice, document_rules, make_pages
from sandbox.service import Sandbox
from sandbox.state.records.common import Status
from sandbox.state.records.sessions import Invoice, Session
from sandbox.state.tables import taking_notes

logger = logging.getLogger("sandbox")

_CLOSED = Status(170, "Sesja interaktywna zamknięta")
_DONE = Status(200, "Sesja interaktywna przetworzona pomyślnie")
_NOTHING_SENT = Status(440, "Sesja anulowana", ("Nie przesłano faktur",))
ACCEPTED_FOR_PROCESSING = Status(100, INVOICE_TEXTS[100])
_IN_PROGRESS = Status(150, INVOICE_TEXTS[150])
_FAILED = Status(500, "Nieznany błąd (500)")


def start_invoice(sandbox: Sandbox, session: Session, invoice: Invoice) -> None:
    """Start the check of a new invoice; its session may be closed meanwhile."""
    sandbox.in_background(partial(_process, sandbox, session, invoice))


def close_online(sandbox: Sandbox, session: Session, moment: datetime) -> None:
    """Close an open session as of a moment; its receipt is made when every invoice has its final status."""
    session.closed = session.updated = moment
    session.status = _CLOSED
    sandbox.in_background(partial(_finish, sandbox, session))


def resume_online(sandbox: Sandbox) -> None:
    """Continue unfinished invoices and sessions after a restart. A second check gives the same verdict."""
    online = [item.reference_number for item in sandbox.state.sessions.peek() if item.kind == "Online"]
    for reference in online:
        with taking_notes():
            session = sandbox.state.sessions[reference]
            for invoice in session.invoices:
                if not invoice.is_final:
                    start_invoice(sandbox, session, invoice)
            if session.status.code == _CLOSED.code:
                session.counts = None
                sandbox.in_background(partial(_finish, sandbox, session))


async def _process(sandbox: Sandbox, session: Session, invoice: Invoice) -> None:
    try:
        await sandbox.clock.sleep(sandbox.options.processing_delay_seconds)
        invoice.status = _IN_PROGRESS
        job = _job(sandbox, session, invoice)
        invoice.verdict = await sandbox.in_pool(check_invoice, job)
        invoice.document = job.plain if invoice.verdict.code != 435 else None
        async with sandbox.deciding:
            decide_invoice(sandbox, session, invoice)
            await sandbox.save()
        await asyncio.to_thread(job.encrypted.unlink, missing_ok=True)
    except Exception:
        logger.exception("processing of invoice %s failed", invoice.reference_number)
        invoice.status = _FAILED
    session.updated = sandbox.clock.now()
    await _finish(sandbox, session)


def _job(sandbox: Sandbox, session: Session, invoice: Invoice) -> InvoiceJob:
    if invoice.document is None or session.key is None:
        raise RuntimeError("an online invoice was taken without its document or key")
    correction = invoice.corrected_hash is not None
    return InvoiceJob(
        encrypted=invoice.document,
        plain=Path(f"{invoice.document}.xml"),
        key=session.key,
        iv=session.iv,
        declared_size=invoice.verdict.size,
        declared_hash=invoice.verdict.sha256,
        rules=document_rules(sandbox, session, session.opened_by, may_have_attachment=correction),
    )


async def _finish(sandbox: Sandbox, session: Session) -> None:
    """Finish a closed session if all its invoices have their final status. Only the first call with effect does it."""
    if session.status.code != _CLOSED.code or session.counts is not None:
        return
    if not all(invoice.is_final for invoice in session.invoices):
        return
    accepted = [invoice for invoice in session.invoices if invoice.ksef_number is not None]
    session.counts = len(session.invoices), len(accepted), len(session.invoices) - len(accepted)
    try:
        session.upo_pages = await make_pages(sandbox, session, accepted)
    except Exception:
        logger.exception("the receipt of session %s failed", session.reference_number)
        status = _FAILED
    else:
        status = _DONE if accepted else NOTHING_ACCEPTED if session.invoices else _NOTHING_SENT
    session.status = status
    session.updated = sandbox.clock.now()
