"""Processing of a closed batch session up to its final status.

The pool checks the package and its invoices. Duplicates and KSeF numbers depend on all invoices accepted before, so they are
decided here, on the event loop's thread, one invoice after the other, and no number is given twice.
"""

import asyncio
import logging
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from sandbox.clock import polish_stamp, warsaw_day
from sandbox.ids import new_ksef_number, new_reference
from sandbox.options import Validation
from sandbox.pool.outcome import DocumentRules, PackageJob, PackageVerdict, UpoDocument, UpoJob, Verdict
from sandbox.pool.package import check_package
from sandbox.pool.upo import make_upo
from sandbox.processing.context_limits import limits_of
from sandbox.service import Sandbox
from sandbox.state.faults import InvoiceRule
from sandbox.state.records.common import Status
from sandbox.state.records.limits import SessionLimits
from sandbox.state.records.logins import AuthOperation
from sandbox.state.records.sessions import Invoice, Session, UpoPage
from sandbox.state.tables import taking_notes

logger = logging.getLogger("sandbox")

UPO_PAGE_DOCUMENTS = 10_000
_DUPLICATE = 440
_SLICE = 200
"""Invoices decided before other requests may run: about a millisecond of work."""

PROCESSED = Status(200, "Sesja wsadowa przetworzona pomyślnie")
NOTHING_ACCEPTED = Status(445, "Błąd weryfikacji, brak poprawnych faktur")
PROCESSING = Status(150, "Trwa przetwarzanie")
SESSION_TEXTS = {
    405: "Błąd weryfikacji poprawności dostarczonych elementów paczki",
    420: "Przekroczony limit faktur w sesji",
    430: "Błąd dekompresji pierwotnego archiwum",
    435: "Błąd odszyfrowania zaszyfrowanych części archiwum",
    415: "Błąd odszyfrowania dostarczonego klucza",
    440: "Sesja anulowana",
    500: "Nieznany błąd (500)",
}
INVOICE_TEXTS = {
    100: "Faktura przyjęta do dalszego przetwarzania",
    150: "Trwa przetwarzanie",
    200: "Sukces",
    405: "Przetwarzanie anulowane z powodu błędu sesji",
    410: "Nieprawidłowy zakres uprawnień",
    415: "Brak możliwości wysyłania faktury z załącznikiem",
    430: "Błąd weryfikacji pliku faktury",
    435: "Błąd odszyfrowania pliku",
    440: "Duplikat faktury",
    450: "Błąd weryfikacji semantyki dokumentu faktury",
    500: "Nieznany błąd (500)",
    550: "Operacja została anulowana przez system",
}


async def process_session(sandbox: Sandbox, session: Session) -> None:
    """Process a closed session up to its final status, also after a failure.

    After a restart it is called again for every session without a final status. Decisions are saved before the next step uses
    them, and parts are deleted last, so that the second run has the same result.
    """
    try:
        await _wait_before_processing(sandbox, session)
        if not session.is_final:
            await _process(sandbox, session)
    except Exception:
        logger.exception("processing of session %s failed", session.reference_number)
        sandbox.state.forget_session_results(session)
        session.decided = []
        _finish(sandbox, session, Status(500, SESSION_TEXTS[500]))
    await sandbox.save()
    await asyncio.to_thread(_delete_parts, session)


def resume_batch(sandbox: Sandbox) -> None:
    """Continue, after a restart, every closed package without a final status, in the order of closing."""
    waiting = [item for item in sandbox.state.sessions.peek() if item.kind == "Batch" and item.closed is not None]
    for session in sorted(waiting, key=lambda item: item.closed or item.created):
        if not session.is_final:
            with taking_notes():
                found = sandbox.state.sessions[session.reference_number]
                sandbox.in_background(partial(process_session, sandbox, found))


async def _wait_before_processing(sandbox: Sandbox, session: Session) -> None:
    """Wait as long as the session's script demands, then for the processing delay of the options."""
    script, closed = session.script, session.closed or sandbox.clock.now()
    held = timedelta(seconds=script.hold_seconds or 0)
    if script.hold_at is not None and not session.released:
        until = None if script.hold_seconds is None else closed + held
        await sandbox.clock.wait(until, lambda: session.released or session.is_final)
    if not session.is_final:
        session.status = PROCESSING
        seconds = script.processing_seconds
        delay = sandbox.options.processing_delay_seconds if seconds is None else seconds
        start = sandbox.clock.now() if session.released else closed + held
        await sandbox.clock.sleep_until(start + timedelta(seconds=delay))


async def _process(sandbox: Sandbox, session: Session) -> None:
    forced = session.script.status
    if forced is not None and forced != NOTHING_ACCEPTED.code:
        _finish(sandbox, session, Status(forced, SESSION_TEXTS[forced], session.script.details))
        return
    if not session.decided:
        verdict = await sandbox.in_pool(check_package, _job(sandbox, session))
        if verdict.code != 200:
            _finish(sandbox, session, Status(verdict.code, SESSION_TEXTS[verdict.code], verdict.details))
            return
        async with sandbox.deciding:
            session.decided = await _decide(sandbox, session, verdict)
            await sandbox.save()
    await _publish(sandbox, session)


def _delete_parts(session: Session) -> None:
    for part in session.parts.values():
        if part.path is not None:
            part.path.unlink(missing_ok=True)


def _finish(sandbox: Sandbox, session: Session, status: Status) -> None:
    session.status = status
    session.updated = sandbox.clock.now()


def _job(sandbox: Sandbox, session: Session) -> PackageJob:
    parts: list[tuple[Path, int, str]] = []
    for _, part in sorted(session.parts.items()):
        if part.path is None or session.key is None:
            raise RuntimeError("a session without all parts and its key cannot have been closed")
        parts.append((part.path, part.declared_size, part.declared_hash))
    session.package = sandbox.new_file(session.reference_number)
    return PackageJob(
        parts=tuple(parts),
        package=session.package,
        key=session.key or b"",
        iv=session.iv,
        file_size=session.file_size,
        file_hash=session.file_hash,
        compression=session.compression,
        max_invoices=session_limits(sandbox, session).max_invoices,
        rules=document_rules(sandbox, session, session.opened_by),
    )


def document_rules(
    sandbox: Sandbox, session: Session, sender: AuthOperation, *, may_have_attachment: bool = True
) -> DocumentRules:
    """Return the current rules for an invoice of this session. `sender` is the login that sent it."""
    nip = session.context.nip
    authorizations = sandbox.state.authorizations
    limits = session_limits(sandbox, session)
    # A package is checked by the day of its close, so that a restart after midnight changes no verdict.
    taken = session.closed if session.kind == "Batch" else None
    today = warsaw_day(taken or sandbox.clock.now())
    return DocumentRules(
        today=today,
        context_nip=nip,
        self_invoiced_sellers=_sellers(authorizations, nip, "SelfInvoicing"),
        represented_sellers=_sellers(authorizations, nip, "TaxRepresentative"),
        enforcement="EnforcementOperations" in sender.permissions,
        attachment_sellers=sandbox.state.may_attach(today),
        may_have_attachment=may_have_attachment,
        max_bytes=limits.max_invoice_mb * 1_000_000,
        max_bytes_with_attachment=limits.max_invoice_with_attachment_mb * 1_000_000,
        check_identifiers=session.check_identifiers,
        check_schema=sandbox.options.validation is Validation.FULL,
        form=session.form,
    )


def session_limits(sandbox: Sandbox, session: Session) -> SessionLimits:
    """Return the limits of the session's content."""
    limits = limits_of(sandbox, session.context)
    return limits.online if session.kind == "Online" else limits.batch


def _sellers(authorizations: set[tuple[str, str, str]], nip: str | None, kind: str) -> frozenset[str]:
    return frozenset(seller for seller, authorised, given in authorizations if authorised == nip and given == kind)


async def _decide(sandbox: Sandbox, session: Session, verdict: PackageVerdict) -> list[Invoice]:
    """Decide duplicates and KSeF numbers; the session does not show them yet."""
    invoices: list[Invoice] = []
    # KSeF's ordinal numbers do not follow the archive. Ordering by hash prevents clients from relying on that order.
    ordered = sorted(verdict.documents, key=lambda item: item.sha256)
    for start in range(0, len(ordered), _SLICE):
        for ordinal, document in enumerate(ordered[start : start + _SLICE], start=start + 1):
            invoices.append(_new_invoice(sandbox, ordinal, document))
            decide_invoice(sandbox, session, invoices[-1])
        await asyncio.sleep(0)
    return invoices


async def _publish(sandbox: Sandbox, session: Session) -> None:
    """Make the receipt, then publish status, verdicts and receipt together."""
    invoices = session.decided
    accepted = [invoice for invoice in invoices if invoice.ksef_number is not None]
    session.upo_pages = await make_pages(sandbox, session, accepted)
    session.invoices, session.decided = invoices, []
    session.by_reference = {invoice.reference_number: invoice for invoice in invoices}
    session.counts = len(invoices), len(accepted), len(invoices) - len(accepted)
    _finish(sandbox, session, PROCESSED if accepted else NOTHING_ACCEPTED)


def _new_invoice(sandbox: Sandbox, ordinal: int, document: Verdict) -> Invoice:
    reference = new_reference("EE", sandbox.clock.now().date())
    return Invoice(ordinal, reference, document, Status(document.code, INVOICE_TEXTS[document.code]))


def decide_invoice(sandbox: Sandbox, session: Session, invoice: Invoice) -> None:
    """Set a checked invoice's final status: rejected, duplicate, or accepted with a KSeF number."""
    document = invoice.verdict
    rule = sandbox.faults.invoice_status(session.context.nip, document.number, document.sha256)
    if rule is not None and rule.status == _DUPLICATE and document.code == 200:
        _take_as_duplicate(sandbox, session, invoice, has_receipt=rule.has_receipt)
        return
    invoice.status = _ordered_status(session, rule) or Status(
        document.code, INVOICE_TEXTS[document.code], document.details
    )
    if invoice.status.code == 200:
        _accept_unless_known(sandbox, session, invoice)


def _take_as_duplicate(sandbox: Sandbox, session: Session, invoice: Invoice, *, has_receipt: bool) -> None:
    """Accept an invoice and report it as a duplicate of itself."""
    taken = replace(invoice, reference_number=new_reference("EE", sandbox.clock.now().date()), has_receipt=has_receipt)
    taken.status = Status(200, INVOICE_TEXTS[200])
    _accept_unless_known(sandbox, session, taken)
    if taken.status.code == _DUPLICATE:
        invoice.status, invoice.extensions = taken.status, taken.extensions
        return
    invoice.phantom = taken
    _report_duplicate(invoice, session, taken.ksef_number or "")


def _report_duplicate(invoice: Invoice, named: Session, number: str) -> None:
    text = f"Duplikat faktury. Faktura o numerze KSeF: {number} już istnieje."
    invoice.status = Status(_DUPLICATE, INVOICE_TEXTS[_DUPLICATE], (text,))
    invoice.extensions = {
        "originalSessionReferenceNumber": named.reference_number,
        "originalKsefNumber": number,
    }


def _accept_unless_known(sandbox: Sandbox, session: Session, invoice: Invoice) -> None:
    state, document = sandbox.state, invoice.verdict
    key = document.key
    if document.issue_date is None:
        raise RuntimeError("a document without its date cannot have passed")
    original = state.by_key.get(key)
    if original is not None:
        state.duplicate_attempts += 1
        named = session if session.script.duplicates_name_this_session else original.session
        _report_duplicate(invoice, named, original.invoice.ksef_number or "")
        return
    now = sandbox.clock.now()
    invoice.ksef_number = _fresh_number(sandbox, key[0], now)
    invoice.acquired = now
    earlier_day = document.issue_date < warsaw_day(invoice.sent or session.created)
    offline = session.offline_mode or invoice.offline_mode or earlier_day
    invoice.invoicing_mode = "Offline" if offline else "Online"
    state.accept(key, session, invoice)
    if invoice.corrected_hash is not None:
        state.corrected[session.context, invoice.corrected_hash] = invoice.ksef_number


def _ordered_status(session: Session, rule: InvoiceRule | None) -> Status | None:
    """Return the status that a test ordered for this invoice or its whole session, or None."""
    if rule is not None:
        return Status(rule.status, INVOICE_TEXTS[rule.status], rule.details)
    if session.script.status == NOTHING_ACCEPTED.code:
        return Status(450, INVOICE_TEXTS[450], session.script.details)
    return None


def _fresh_number(sandbox: Sandbox, nip: str, now: datetime) -> str:
    while True:
        number = new_ksef_number(nip, warsaw_day(now))
        if number not in sandbox.state.by_ksef_number:
            return number


async def make_pages(sandbox: Sandbox, session: Session, accepted: list[Invoice]) -> list[UpoPage]:
    """Make the receipt of a session, a page for every 10,000 accepted invoices."""
    pages: list[UpoPage] = []
    count = -(-len(accepted) // UPO_PAGE_DOCUMENTS)
    for number in range(1, count + 1):
        first = (number - 1) * UPO_PAGE_DOCUMENTS
        chosen = accepted[first : first + UPO_PAGE_DOCUMENTS]
        position = (number, count, first + 1, first + len(chosen), len(accepted))
        pages.append(await make_receipt(sandbox, session, chosen, position))
    return pages


async def make_receipt(
    sandbox: Sandbox, session: Session, invoices: list[Invoice], position: tuple[int, int, int, int, int] | None
) -> UpoPage:
    """Make a signed receipt for some accepted invoices of a session; `position` is the page's place in the receipt."""
    # The job has thousands of small objects; it is built in a thread, so that other requests are not delayed.
    target = sandbox.new_file("upo")
    job = await asyncio.to_thread(_upo_job, sandbox, session, invoices, position, target)
    digest = await sandbox.in_pool(make_upo, job)
    return UpoPage(new_reference("EU", sandbox.clock.now().date()), target, digest)


def _upo_job(
    sandbox: Sandbox,
    session: Session,
    invoices: list[Invoice],
    position: tuple[int, int, int, int, int] | None,
    target: Path,
) -> UpoJob:
    seal = sandbox.keys.seal
    return UpoJob(
        target=target,
        session_reference_number=session.reference_number,
        context=(session.context.type, session.context.value),
        token_reference=session.opened_by.token_reference,
        document_hash=session.opened_by.document_hash,
        page=position,
        documents=tuple(_upo_document(invoice, polish_stamp(invoice.sent or session.created)) for invoice in invoices),
        form=session.form,
        seal_key_pem=seal.private_key_pem,
        seal_certificate_pem=seal.certificate_pem,
    )


def _upo_document(invoice: Invoice, sent: str) -> UpoDocument:
    document = invoice.verdict
    if (
        invoice.ksef_number is None
        or invoice.acquired is None
        or document.issue_date is None
        or invoice.invoicing_mode is None
    ):
        raise RuntimeError("only accepted invoices may be on a receipt")
    return UpoDocument(
        seller_nip=document.seller_nip or "",
        ksef_number=invoice.ksef_number,
        number=document.number or "",
        issue_date=document.issue_date,
        sent=sent,
        acquired=polish_stamp(invoice.acquired),
        sha256=document.sha256,
        mode=invoice.invoicing_mode,
    )
