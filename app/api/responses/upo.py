"""Answers with the pages of a UPO, byte for byte as KSeF signed them."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from fastapi import Request
from fastapi.responses import Response

from app.api.http.conditional import answer_unchanged, kept_by_client
from app.api.http.streaming import stream_answer
from app.store.store import Store


async def find_upo_page(request: Request, store: Store, tenant_id: int, session_id: UUID, page: int) -> Response | None:
    """Return the answer with one page of a session's UPO, pages counted from 1; None when that page is not stored."""
    for found in await store.sessions.upo_pages(tenant_id, session_id):
        if found["page"] == page:
            return await upo_answer(request, store, found)
    return None


async def upo_answer(request: Request, store: Store, page: Mapping[str, Any]) -> Response:
    """Return the answer with the stored bytes of a page, which is a row of `upo_pages`; 304 when the client has them."""
    return await _stored(request, store, page, f"upo_{page['upo_reference_number']}.xml")


async def receipt_answer(request: Request, store: Store, receipt: Mapping[str, Any], invoice: str) -> Response:
    """Return the answer with an invoice's own receipt, a row of `invoice_receipts`; 304 when the client has it."""
    return await _stored(request, store, receipt, f"upo_{invoice}.xml")


async def _stored(request: Request, store: Store, row: Mapping[str, Any], name: str) -> Response:
    digest = bytes(row["sha256"])
    if (unchanged := answer_unchanged(request, digest)) is not None:
        return unchanged
    return await stream_answer(
        store.blobs.stream(row["blob_key"]),
        media_type="application/xml",
        headers={
            "Content-Length": str(row["bytes"]),
            "Content-Disposition": f'attachment; filename="{name}"',
            **kept_by_client(digest),
        },
    )
