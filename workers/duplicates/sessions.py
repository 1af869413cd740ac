"""Evidence from sessions: our own records, receipts of single invoices, and lists of the invoices of a session.

The session that KSeF names can be the duplicate's own (ksef-api, issue 450). So only a receipt, or a row of status 200 with the KSeF
number of the original, proves anything.
"""

from collections.abc import Sequence
from typing import Final

import anyio

from app.ksef.errors import KsefError, RequestRefused
from app.ksef.models import SessionInvoice
from app.store.sessions.duplicates import Evidence, Suspect
from app.store.sessions.settlements import Accepted
from workers.duplicates.receipts import FetchedReceipt, fetch_receipt
from workers.duplicates.search import FEW, Search, ends_search, stop_if_limited

_ACCEPTED: Final = 200
_PROVED_AT_ONCE: Final = 200
_LINKS_AT_ONCE: Final = 8
_PROBES: Final = 3
"""Receipts that are asked for one by one after the list of the session had no row of them."""
_UNANSWERED_AT_MOST: Final = 2
"""Questions without an answer in a row after which a session is not asked any more in this search."""


async def by_own_records(search: Search) -> None:
    """Compare with our own accepted invoices. Another hash is a verdict; the same one says which session has the receipt."""
    store = search.context.store.duplicates
    rejected: dict[Suspect, None] = {}
    for invoice_id, digest, _ in await store.originals_of_ours(search.tenant_id, sorted(search.open)):
        suspect = search.open.get(invoice_id)
        if suspect is not None and digest != suspect.sha256:
            rejected[suspect] = None
        elif suspect is not None:
            search.ours[invoice_id] = suspect.original_ksef_number or ""
    await search.reject(list(rejected), Evidence.OWN_RECORDS)


async def by_sessions(search: Search) -> None:
    """Ask the sessions that may have accepted the originals: of our records, then those that KSeF names, then earlier ones."""
    for reference, suspects in (await _sessions(search)).items():
        wanted = search.still_open(suspects)
        if wanted:
            await _ask_session(search, reference, wanted)
    # Our own records are proof enough where KSeF gives no receipt.
    for suspect in search.still_open(search.askable()):
        if suspect.invoice_id in search.ours:
            await search.prove(suspect, Evidence.OWN_RECORDS, suspect.sha256, search.ours[suspect.invoice_id])


async def _sessions(search: Search) -> dict[str, list[Suspect]]:
    """Return the reference numbers of sessions to ask, each with the invoices whose originals it may have."""
    store, keys = search.context.store.duplicates, sorted(search.open)
    found: dict[str, dict[Suspect, None]] = {}
    for invoice_id, _, reference in await store.originals_of_ours(search.tenant_id, keys):
        if reference is not None and invoice_id in search.open:
            found.setdefault(reference, {})[search.open[invoice_id]] = None
    for suspect in search.open.values():
        if suspect.original_session is not None:
            found.setdefault(suspect.original_session, {})[suspect] = None
    for invoice_id, reference in await store.earlier_sessions(search.tenant_id, keys):
        found.setdefault(reference, {})[search.open[invoice_id]] = None
    return {reference: list(suspects) for reference, suspects in found.items()}


async def _ask_session(search: Search, reference: str, wanted: Sequence[Suspect]) -> None:
    if len(wanted) > FEW:
        await _read_list(search, reference, wanted)
        wanted = search.still_open(wanted)
        if not wanted or wanted[0].invoice_id in search.unanswered:
            return
        # The list is complete, so these questions only confirm it.
        await _ask_one_by_one(search, reference, wanted[:_PROBES])
        if len(search.still_open(wanted[:_PROBES])) == len(wanted[:_PROBES]):
            search.refused.update(one.invoice_id for one in wanted)
            return
        wanted = search.still_open(wanted)
    await _ask_one_by_one(search, reference, wanted)


async def _ask_one_by_one(search: Search, reference: str, wanted: Sequence[Suspect]) -> None:
    silent = 0
    for suspect in wanted:
        number = suspect.original_ksef_number
        if number is None or silent >= _UNANSWERED_AT_MOST:
            if number is not None:
                search.unanswered.add(suspect.invoice_id)
            continue
        try:
            fetched = await fetch_receipt(search.context, search.client, search.tenant_id, reference, number)
        except KsefError as error:
            silent = silent + 1 if _note(search, [suspect], error) else 0
            continue
        silent = 0
        if fetched.document.invoice_hash != suspect.sha256:
            await search.reject([suspect], Evidence.RECEIPT)
        else:
            one = await _with_receipt(search, suspect, Evidence.RECEIPT, fetched)
            await search.accept([(suspect, one)])


async def _read_list(search: Search, reference: str, wanted: Sequence[Suspect]) -> None:
    by_number = {one.original_ksef_number: one for one in wanted if one.original_ksef_number is not None}
    by_hash = {one.sha256: one for one in wanted}
    found: list[tuple[Suspect, SessionInvoice]] = []
    listing = aiter(search.client.session_invoices(reference))
    while True:
        try:
            row = await anext(listing, None)
        except KsefError as error:
            await _prove_rows(search, reference, found)
            _note(search, search.still_open(wanted), error)
            return
        if row is None:
            await _prove_rows(search, reference, found)
            return
        if row.status.code == _ACCEPTED and row.ksef_number is not None and row.invoice_hash is not None:
            suspect = by_number.get(row.ksef_number) or by_hash.get(row.invoice_hash)
            if suspect is not None and suspect.invoice_id in search.open:
                found.append((suspect, row))
        if len(found) >= _PROVED_AT_ONCE:
            await _prove_rows(search, reference, found)
            found = []


async def _prove_rows(search: Search, reference: str, found: Sequence[tuple[Suspect, SessionInvoice]]) -> None:
    """Write the verdicts of rows of a session's list, with receipts, several of which are fetched at the same time."""
    await search.reject([one for one, row in found if row.invoice_hash != one.sha256], Evidence.SESSION_LIST)
    proved: list[tuple[Suspect, Accepted]] = []
    errors: list[KsefError] = []
    limiter = anyio.CapacityLimiter(_LINKS_AT_ONCE)

    async def fetch(suspect: Suspect, row: SessionInvoice) -> None:
        async with limiter:
            number = row.ksef_number or ""
            evidence = Evidence.SESSION_LIST
            if errors:
                return
            try:
                fetched = await fetch_receipt(
                    search.context, search.client, search.tenant_id, reference, number, link=row.upo_download_url
                )
            except KsefError as error:
                if ends_search(error):
                    errors.append(error)
                    return
                if _note(search, [suspect], error) and suspect not in search.askable():
                    return
                missing = Accepted(
                    suspect.invoice_id, evidence, number, reference, row.acquisition_date, row.invoicing_mode
                )
                proved.append((suspect, missing))
                return
            if fetched.document.invoice_hash == suspect.sha256:
                proved.append((suspect, await _with_receipt(search, suspect, evidence, fetched)))

    async with anyio.create_task_group() as tasks:
        for suspect, row in found:
            if row.invoice_hash == suspect.sha256:
                tasks.start_soon(fetch, suspect, row)
    await search.accept(proved)
    for error in errors:
        stop_if_limited(error)


async def _with_receipt(search: Search, suspect: Suspect, evidence: Evidence, fetched: FetchedReceipt) -> Accepted:
    receipt = await fetched.store(search.context, suspect.invoice_id)
    document = fetched.document
    return Accepted(
        suspect.invoice_id,
        evidence,
        document.ksef_number,
        fetched.session_reference_number,
        document.acquired_at,
        document.mode,
        receipt,
    )


def _note(search: Search, suspects: Sequence[Suspect], error: KsefError) -> bool:
    """Note that KSeF refused receipts, or did not answer; return whether it did not answer. Raises what ends the search."""
    stop_if_limited(error)
    keys = [one.invoice_id for one in suspects]
    if isinstance(error, RequestRefused):
        search.refused.update(keys)
        return False
    search.unanswered.update(keys)
    return True
