"""Calls that prove whether an accepted invoice is the same document as ours: its receipt, its metadata, its bytes.

They change nothing and may be repeated after no answer. The receipt needs no permission beyond that of sending; the other two need
InvoiceRead. Source: KSeF API 2.9, GET /sessions/.../invoices/ksef/{ksefNumber}/upo, POST /invoices/query/metadata, GET /invoices/ksef/...
"""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from app.ksef.answers import Answer
from app.ksef.models import InvoiceMetadata, read_json_object
from app.ksef.sessions import read_page
from app.ksef.transport import Call, LimitGroup

METADATA_PAGE: Final = 250
"""The largest page of metadata that KSeF returns; every page counts against the limits."""

_OK = frozenset({200})
RECEIPT = Call(LimitGroup.SESSION_MISC, "GET", "/sessions/{referenceNumber}/invoices/ksef/{ksefNumber}/upo", _OK)
METADATA = Call(LimitGroup.INVOICE_METADATA, "POST", "/invoices/query/metadata", _OK)
DOCUMENT = Call(LimitGroup.INVOICE_DOWNLOAD, "GET", "/invoices/ksef/{ksefNumber}", _OK)


@dataclass(frozen=True, slots=True)
class MetadataQuery:
    """Which invoices of a seller are listed: those that KSeF took within a range of time, or one of them by its number."""

    seller_nip: str
    since: datetime
    until: datetime
    ksef_number: str | None = None

    def body(self) -> bytes:
        """Return the body of the request. Times have an offset, which KSeF requires."""
        filters: dict[str, object] = {
            "subjectType": "Subject1",
            "dateRange": {
                "dateType": "Invoicing",
                "from": self.since.isoformat(timespec="milliseconds"),
                "to": self.until.isoformat(timespec="milliseconds"),
            },
            "sellerNip": self.seller_nip,
        }
        if self.ksef_number is not None:
            filters["ksefNumber"] = self.ksef_number
        return json.dumps(filters).encode()


@dataclass(frozen=True, slots=True)
class MetadataPage:
    """One page of metadata. `is_truncated`: KSeF ends the list here, and a query from the last time on continues it."""

    invoices: tuple[InvoiceMetadata, ...]
    has_more: bool
    is_truncated: bool


async def read_metadata_page(answer: Answer) -> MetadataPage:
    """Read one page of metadata; other tasks of the event loop run in between."""
    invoices, _ = await read_page(answer, "invoices", InvoiceMetadata)
    document = read_json_object(answer)
    return MetadataPage(invoices, document.get("hasMore") is True, document.get("isTruncated") is True)
