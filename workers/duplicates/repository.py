"""Evidence from KSeF's repository, which needs the permission InvoiceRead: metadata for many, documents for few."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

from app.domain.ksef_number import is_valid_ksef_number
from app.ksef.errors import InvoiceNotAvailable, KsefError, PermissionMissing
from app.ksef.models import InvoiceMetadata
from app.ksef.originals import MetadataQuery
from app.store.sessions.duplicate_findings import NotCompared
from app.store.sessions.duplicates import Evidence, Scan, Suspect
from app.store.sessions.settlements import Accepted
from workers.duplicates.search import FEW, Search, stop_if_limited

_MISSES_AT_MOST: Final = 3
"""Numbers that the metadata does not list, or lists alone, before the rest is left to single documents."""
_MARGIN: Final = timedelta(days=1)
"""The day in a KSeF number is Polish; the range of a query is wider on both sides."""
_AROUND: Final = timedelta(seconds=1)


async def by_metadata(search: Search) -> None:
    """Compare with the hashes that KSeF lists, 250 a call, when there are many.

    One original is found by its number; the invoices that KSeF took at the same moment are those of its session, and are listed
    page by page. How far that got is stored, since an hour allows 20 calls.
    """
    wanted = search.askable()
    if len(wanted) <= FEW or not search.may_read:
        return
    store = search.context.store.duplicates
    try:
        scan = await store.scan(search.tenant_id)
        misses = 0
        asked_for: set[str] = set()
        while misses < _MISSES_AT_MOST:
            before = len(search.open)
            if scan is None:
                pivot = next((one for one in search.askable() if one.original_ksef_number not in asked_for), None)
                if pivot is None:
                    return
                asked_for.add(pivot.original_ksef_number or "")
                moment = await _find_by_number(search, pivot)
                scan = Scan(moment - _AROUND, moment + _AROUND, 0) if moment is not None else None
                misses += scan is None
            else:
                scan = await _list_page(search, scan)
                misses += scan is None and before == len(search.open)
            await store.keep_scan(search.tenant_id, scan)
    except PermissionMissing:
        search.may_read = False
    except KsefError as error:
        stop_if_limited(error)
        search.reasons.update({one.invoice_id: NotCompared.NO_ANSWER for one in search.askable()})


async def _find_by_number(search: Search, pivot: Suspect) -> datetime | None:
    """Find one original by its number; return when KSeF took it, or None when the metadata does not list it."""
    number = pivot.original_ksef_number or ""
    if not is_valid_ksef_number(number):
        return None
    seller, day = number[:10], datetime.strptime(number[11:19], "%Y%m%d").replace(tzinfo=UTC)
    query = MetadataQuery(seller, day - _MARGIN, day + 2 * _MARGIN, ksef_number=number)
    page = await search.client.invoice_metadata(query, page=0)
    await _compare(search, page.invoices)
    return next((one.invoicing_date for one in page.invoices if one.ksef_number == number), None)


async def _list_page(search: Search, scan: Scan) -> Scan | None:
    """Compare one page of a listing; return what comes next, or None at its end."""
    seller = next((one.original_ksef_number[:10] for one in search.askable() if one.original_ksef_number), None)
    if seller is None:
        return None
    page = await search.client.invoice_metadata(MetadataQuery(seller, scan.since, scan.until), page=scan.next_page)
    await _compare(search, page.invoices)
    if not page.has_more:
        return None
    last = page.invoices[-1].invoicing_date if page.invoices else None
    if page.is_truncated and last is not None and last > scan.since:
        return Scan(last, scan.until, 0)
    return None if page.is_truncated else Scan(scan.since, scan.until, scan.next_page + 1)


async def _compare(search: Search, listed: Iterable[InvoiceMetadata]) -> None:
    by_number = {one.original_ksef_number: one for one in search.askable()}
    same: list[tuple[Suspect, InvoiceMetadata]] = []
    other: list[Suspect] = []
    for row in listed:
        suspect = by_number.get(row.ksef_number)
        if suspect is None or row.invoice_hash is None:
            continue
        if row.invoice_hash == suspect.sha256:
            same.append((suspect, row))
        else:
            other.append(suspect)
    await search.accept([(one, _accepted(one, row)) for one, row in same])
    await search.reject(other, Evidence.METADATA)


def _accepted(suspect: Suspect, row: InvoiceMetadata) -> Accepted:
    return Accepted(
        suspect.invoice_id,
        Evidence.METADATA,
        row.ksef_number,
        suspect.original_session,
        row.acquisition_date,
        row.invoicing_mode,
    )


async def by_documents(search: Search) -> None:
    """Compare with the documents themselves, one by one."""
    for suspect in search.askable():
        number = suspect.original_ksef_number
        if not search.may_read or number is None:
            return
        try:
            digest = await search.client.invoice_sha256(number)
        except PermissionMissing as error:
            # Any other reason is about this invoice: it may be another seller's.
            search.may_read = error.reason_code != "missing-permissions"
            search.reasons[suspect.invoice_id] = NotCompared.NO_PERMISSION
        except InvoiceNotAvailable:
            search.reasons[suspect.invoice_id] = NotCompared.NOT_AVAILABLE
        except KsefError as error:
            stop_if_limited(error)
            search.reasons[suspect.invoice_id] = NotCompared.NO_ANSWER
            return
        else:
            await search.prove(suspect, Evidence.DOCUMENT, digest, number)
