"""Receipts (UPO) of single invoices: fetched by their free link or by the counted call, verified, and stored unchanged."""

import hashlib
from dataclasses import dataclass
from uuid import UUID

import anyio.to_thread
from pydantic import SecretStr

from app.ksef.client import KsefClient
from app.ksef.errors import KsefError, Unreadable
from app.ksef.upo.reader import UpoDocument, parse_upo
from app.ksef.upo.signature import SignatureState, check_signature
from app.observability.logs import get_logger
from app.store.sessions.invoice_receipts import StoredReceipt
from workers.context import WorkerContext

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class FetchedReceipt:
    """A receipt of one invoice that is not stored yet."""

    document: UpoDocument
    session_reference_number: str
    data: bytes

    async def store(self, context: WorkerContext, invoice_id: UUID) -> StoredReceipt:
        """Store the bytes as the receipt of this invoice of ours. Safe to repeat."""
        blob_key = f"upo/invoices/{invoice_id.hex}.xml"
        await context.store.blobs.put(blob_key, self.data)
        digest = hashlib.sha256(self.data).digest()
        return StoredReceipt(self.session_reference_number, blob_key, len(self.data), digest)


async def fetch_receipt(
    context: WorkerContext,
    client: KsefClient,
    tenant_id: int,
    reference_number: str,
    ksef_number: str,
    *,
    link: SecretStr | None = None,
) -> FetchedReceipt:
    """Fetch the receipt of an invoice that KSeF accepted in this session. The free link is used first.

    The counted call takes from the share of a search. Raises UpoNotFound and the other errors of KSeF; Unreadable for a receipt that
    does not name the invoice.
    """
    pieces: list[bytes] = []

    async def keep(piece: bytes) -> None:
        pieces.append(piece)

    if link is not None:
        try:
            await client.download_upo(link, keep)
            return await _read(context, b"".join(pieces), ksef_number)
        except KsefError as error:
            log.info("receipt_link_failed", ksef_number=ksef_number, **error.as_dict())
            pieces.clear()
    await context.quota.book_search(tenant_id)
    await client.receipt_of_invoice(reference_number, ksef_number, keep)
    return await _read(context, b"".join(pieces), ksef_number)


async def _read(context: WorkerContext, data: bytes, ksef_number: str) -> FetchedReceipt:
    fetched, state = await anyio.to_thread.run_sync(_parse, data, ksef_number, limiter=context.receipts)
    if state is not SignatureState.VALID:
        # Log and continue: without its receipt an accepted invoice would seem lost.
        log.warning("receipt_not_verified", ksef_number=ksef_number, signature=state.value)
    return fetched


def _parse(data: bytes, ksef_number: str) -> tuple[FetchedReceipt, SignatureState]:
    upo = parse_upo(data)
    for document in upo.documents:
        if document.ksef_number == ksef_number:
            return FetchedReceipt(document, upo.session_reference_number, data), check_signature(data)
    raise Unreadable(f"the receipt does not name {ksef_number}", operation="UPO")
