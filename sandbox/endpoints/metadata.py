"""POST /invoices/query/metadata: what KSeF lists of accepted invoices. Source: KSeF API 2.9, InvoiceQueryFilters."""

import asyncio
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import Field
from starlette.responses import JSONResponse, Response

from sandbox.clock import stamp
from sandbox.endpoints.paging import page_number, page_size
from sandbox.endpoints.results import is_stored, stored_at
from sandbox.errors import bad
from sandbox.guard import Body, Call, Endpoint, Moment, read_json
from sandbox.ids import KSEF_NUMBER
from sandbox.pool.facts import Facts, OtherParty, facts_of, facts_of_package
from sandbox.state.records.sessions import Accepted, Session

MOST_RECORDS = 10_000
"""Records that one set of filters lists; a query from the last date on continues it."""
_LONGEST_RANGE = timedelta(days=100)
_KINDS = {
    "VAT": "Vat", "ZAL": "Zal", "KOR": "Kor", "ROZ": "Roz", "UPR": "Upr", "KOR_ZAL": "KorZal", "KOR_ROZ": "KorRoz",
    "VAT_RR": "VatRr", "KOR_VAT_RR": "KorVatRr",
}  # fmt: skip


class _DateRange(Body):
    date_type: Literal["Issue", "Invoicing", "PermanentStorage"]
    from_: Annotated[Moment, Field(alias="from")]
    to: Moment | None = None
    restrict_to_permanent_storage_hwm_date: bool | None = None


class _Amount(Body):
    type: Literal["Brutto", "Netto", "Vat"]
    from_: Annotated[float | None, Field(alias="from")] = None
    to: float | None = None


class _BuyerIdentifier(Body):
    type: Literal["Nip", "VatUe", "Other", "None"]
    value: Annotated[str, Field(max_length=50)] | None = None


class _Filters(Body):
    subject_type: Literal["Subject1", "Subject2", "Subject3", "SubjectAuthorized"]
    date_range: _DateRange
    ksef_number: str | None = None
    invoice_number: Annotated[str, Field(max_length=256)] | None = None
    amount: _Amount | None = None
    seller_nip: str | None = None
    buyer_identifier: _BuyerIdentifier | None = None
    currency_codes: list[str] | None = None
    invoicing_mode: Literal["Online", "Offline"] | None = None
    is_self_invoicing: bool | None = None
    form_type: Literal["FA", "PEF", "FA_RR"] | None = None
    invoice_types: list[str] | None = None
    has_attachment: bool | None = None


async def query_metadata(call: Call) -> Response:
    """POST /invoices/query/metadata: list accepted invoices of the context that match all filters, page by page."""
    filters = await read_json(call.request, _Filters)
    size, page = page_size(call, maximum=250), page_number(call)
    descending = call.request.query_params.get("sortOrder", "Asc")
    if descending not in {"Asc", "Desc"}:
        raise bad(21405, "'sortOrder' ma niedozwoloną wartość.")
    until = filters.date_range.to or call.sandbox.clock.now()
    if filters.ksef_number is not None and KSEF_NUMBER.fullmatch(filters.ksef_number) is None:
        raise bad(21405, "'ksefNumber' ma nieprawidłowy format.")
    if not timedelta(0) <= until - filters.date_range.from_ <= _LONGEST_RANGE:
        raise bad(21405, "'dateRange' może obejmować najwyżej 100 dni.")
    found = await _found(call, filters, until)
    found.sort(key=lambda item: _date(call, filters, item[0]), reverse=descending == "Desc")
    listed = found[:MOST_RECORDS]
    rows = listed[page * size : (page + 1) * size]
    is_last = (page + 1) * size >= len(listed)
    body: dict[str, Any] = {
        "hasMore": not is_last or len(found) > len(listed),
        "isTruncated": is_last and len(found) > len(listed),
        "invoices": [_metadata(call, place, facts) for place, facts in rows],
    }
    if filters.date_range.date_type == "PermanentStorage":
        body["permanentStorageHwmDate"] = stamp(min(until, call.sandbox.clock.now()))
    return JSONResponse(body)


async def _found(call: Call, filters: _Filters, until: datetime) -> list[tuple[Accepted, Facts]]:
    """Return the invoices that match, after the cheap filters those that need the documents."""
    since = filters.date_range.from_
    places = [
        place
        for number, place in call.sandbox.state.by_ksef_number.items()
        if filters.ksef_number in {None, number}
        and is_stored(call.sandbox, place.session, place.invoice)
        and filters.seller_nip in {None, place.invoice.verdict.seller_nip}
        and filters.invoice_number in {None, place.invoice.verdict.number}
        and filters.invoicing_mode in {None, place.invoice.invoicing_mode}
        and since <= _date(call, filters, place) <= until
    ]
    known: dict[str, dict[str, Facts]] = {}
    found = []
    for place in places:
        facts = await _facts(place, known)
        if _is_party(call, filters, place, facts) and _matches(filters, place, facts):
            found.append((place, facts))
    return found


async def _facts(place: Accepted, known: dict[str, dict[str, Facts]]) -> Facts:
    """Read the facts of an invoice; those of a package are read together, and kept for this query."""
    session: Session = place.session
    if place.invoice.document is not None:
        return facts_of(await asyncio.to_thread(place.invoice.document.read_bytes))
    reference = session.reference_number
    if reference not in known:
        if session.package is None:
            raise RuntimeError("an accepted invoice without its package")
        known[reference] = await asyncio.to_thread(facts_of_package, session.package, session.compression)
    return known[reference].get(place.invoice.verdict.name, Facts())


def _is_party(call: Call, filters: _Filters, place: Accepted, facts: Facts) -> bool:
    nip = call.principal.login.context.nip
    return {
        "Subject1": place.invoice.verdict.seller_nip == nip,
        "Subject2": facts.buyer_type == "Nip" and facts.buyer_value == nip,
        "Subject3": any(one.identifier == ("Nip", nip) for one in facts.third),
        "SubjectAuthorized": facts.authorized is not None and facts.authorized.identifier == ("Nip", nip),
    }.get(filters.subject_type, False)


def _matches(filters: _Filters, place: Accepted, facts: Facts) -> bool:
    amount, buyer = filters.amount, filters.buyer_identifier
    value = {"Brutto": facts.gross, "Netto": facts.net, "Vat": facts.vat}.get(amount.type if amount else "", 0.0)
    return (
        (amount is None or (amount.from_ or value) <= value <= (amount.to or value))
        and (buyer is None or (buyer.type == facts.buyer_type and buyer.value in {None, facts.buyer_value}))
        and (not filters.currency_codes or facts.currency in filters.currency_codes)
        and filters.is_self_invoicing in {None, facts.self_invoicing}
        and filters.has_attachment in {None, facts.attachment}
        and filters.form_type in {None, place.session.form.value}
        and (not filters.invoice_types or _kind(place) in filters.invoice_types)
    )


def _kind(place: Accepted) -> str:
    return _KINDS.get(place.invoice.verdict.kind or "", "Vat")


def _taken(place: Accepted) -> datetime:
    return place.invoice.sent or place.session.created


def _date(call: Call, filters: _Filters, place: Accepted) -> datetime:
    acquired, issued = place.invoice.acquired, place.invoice.verdict.issue_date
    if acquired is None or issued is None:
        raise RuntimeError("an accepted invoice without its dates")
    match filters.date_range.date_type:
        case "Invoicing":
            return _taken(place)
        case "PermanentStorage":
            return stored_at(call.sandbox, acquired)
        case _:
            return datetime(issued.year, issued.month, issued.day, tzinfo=acquired.tzinfo)


def _metadata(call: Call, place: Accepted, facts: Facts) -> dict[str, Any]:
    invoice, document, form = place.invoice, place.invoice.verdict, place.session.form
    if invoice.acquired is None or document.issue_date is None:
        raise RuntimeError("an accepted invoice without its dates")
    return {
        "ksefNumber": invoice.ksef_number,
        "invoiceNumber": document.number,
        "issueDate": document.issue_date.isoformat(),
        "invoicingDate": stamp(_taken(place)),
        "acquisitionDate": stamp(invoice.acquired),
        "permanentStorageDate": stamp(stored_at(call.sandbox, invoice.acquired)),
        "seller": {"nip": document.seller_nip, "name": facts.seller_name},
        "buyer": {"identifier": {"type": facts.buyer_type, "value": facts.buyer_value}, "name": facts.buyer_name},
        "netAmount": facts.net,
        "grossAmount": facts.gross,
        "vatAmount": facts.vat,
        "currency": facts.currency,
        "invoicingMode": invoice.invoicing_mode,
        "invoiceType": _kind(place),
        "formCode": {"systemCode": form.system_code, "schemaVersion": form.schema_version, "value": form.value},
        "isSelfInvoicing": facts.self_invoicing,
        "hasAttachment": facts.attachment,
        "invoiceHash": document.sha256,
        "hashOfCorrectedInvoice": invoice.corrected_hash,
        "thirdSubjects": [_third(party) for party in facts.third] or None,
        "authorizedSubject": _authorized(facts.authorized) if facts.authorized is not None else None,
    }


def _third(party: OtherParty) -> dict[str, Any]:
    kind, value = party.identifier
    return {"identifier": {"type": kind, "value": value}, "name": party.name, "role": party.role}


def _authorized(party: OtherParty) -> dict[str, Any]:
    return {"nip": party.identifier[1], "name": party.name, "role": party.role}


ENDPOINTS = (
    Endpoint(
        "POST",
        "/invoices/query/metadata",
        query_metadata,
        "invoiceMetadata",
        any_of=frozenset({"InvoiceRead"}),
    ),
)
