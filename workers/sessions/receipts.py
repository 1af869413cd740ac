"""Receipts (UPO): fetches their pages by the free link, verifies and stores them, and reads the KSeF numbers by hash."""

import hashlib
import time
from collections.abc import Iterable
from dataclasses import dataclass

import anyio.to_thread

from app.domain.history import HistoryAction, HistoryOutcome
from app.domain.ksef_number import is_valid_ksef_number
from app.ksef.client import KsefClient
from app.ksef.errors import KsefError, Unreadable
from app.ksef.models import UpoPage as OfferedPage
from app.ksef.upo.plain_reader import take_apart
from app.ksef.upo.reader import parse_upo
from app.ksef.upo.signature import SignatureState, check_signature
from app.observability import metrics
from app.observability.logs import get_logger
from app.process.memory import trim_heap
from app.store.sessions.session import Session
from app.store.sessions.verdicts import Receipt, Receipts
from workers.context import WorkerContext

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class UpoPage:
    """A page of a receipt whose bytes are stored. `receipts` are the documents that concern the session."""

    page: int
    upo_reference_number: str
    blob_key: str
    size: int
    sha256: bytes
    documents: int
    receipts: Receipts


async def fetch_page(
    context: WorkerContext,
    client: KsefClient,
    session: Session,
    number: int,
    offered: OfferedPage,
) -> UpoPage:
    """Fetch one page, read it and store it unchanged. The free link is used first, the counted call when the link fails.

    Raises Unreadable for a receipt of another session: KSeF is asked again later, and no invoice gets a verdict from it.
    """
    started = time.perf_counter()
    reference = session.opened_reference_number
    pieces: list[bytes] = []

    async def keep(piece: bytes) -> None:
        pieces.append(piece)

    try:
        downloaded = await client.download_upo(offered.download_url, keep)
        data = b"".join(pieces)
        receipts, state = await anyio.to_thread.run_sync(read_receipts, data, reference, limiter=context.receipts)
    except KsefError as error:
        await context.record_step(session, HistoryAction.UPO_LINK, HistoryOutcome(error.outcome), error.as_dict())
        pieces.clear()
        downloaded = await client.upo_by_api(reference, offered.reference_number, keep)
        data = b"".join(pieces)
        receipts, state = await anyio.to_thread.run_sync(read_receipts, data, reference, limiter=context.receipts)
    if state is not SignatureState.VALID or not downloaded.hash_verified:
        # Log and continue: without its receipt an accepted invoice would seem lost.
        detail = {"signature": state.value, "hash_verified": downloaded.hash_verified}
        log.warning("receipt_not_verified", session=session.public_id, **detail)
        await context.record_step(session, HistoryAction.UPO, HistoryOutcome.DOUBTFUL, detail)
    # A worker that lost the session meanwhile writes to another key than its new owner.
    blob_key = f"upo/{session.id.hex}/{number:04d}-{session.owner_epoch}.xml"
    await context.store.blobs.put(blob_key, data)
    metrics.STAGE_SECONDS.labels(stage="upo").observe(time.perf_counter() - started)
    digest = hashlib.sha256(data).digest()
    return UpoPage(number, offered.reference_number, blob_key, len(data), digest, len(receipts), receipts)


def read_receipts(data: bytes, reference_number: str) -> tuple[Receipts, SignatureState]:
    """Read a page of a session's receipt and check its signature. Raises Unreadable for another session's."""
    try:
        plain = take_apart(data)
        if plain is None:
            return _receipts_in(data, reference_number), check_signature(data)
        _check_session(plain.session_reference_number, reference_number)
        _check_numbers(plain.ksef_numbers)
        receipts = Receipts(plain.hashes, plain.ksef_numbers, plain.acquired, plain.modes)
        return receipts, check_signature(data, plain)
    finally:
        trim_heap()


def _receipts_in(data: bytes, reference_number: str) -> Receipts:
    upo = parse_upo(data)
    _check_session(upo.session_reference_number, reference_number)
    documents = list(upo.documents)
    _check_numbers(document.ksef_number for document in documents)
    return Receipts.of(
        Receipt(document.invoice_hash, document.ksef_number, document.acquired_at, document.mode)
        for document in documents
    )


def _check_session(found: str, wanted: str) -> None:
    if found != wanted:
        raise Unreadable(f"the receipt is of session {found}, not {wanted}")


def _check_numbers(ksef_numbers: Iterable[str]) -> None:
    for ksef_number in ksef_numbers:
        if not is_valid_ksef_number(ksef_number):
            # Log and continue: rejecting the receipt would make accepted invoices seem lost.
            log.warning("ksef_number_invalid", ksef_number=ksef_number)
