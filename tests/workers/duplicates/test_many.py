"""Ten thousand suspected duplicates: the calls that they cost, and the time under KSeF's limits, with a KSeF that only counts."""

import hashlib
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

import pytest
from pydantic import SecretStr

from app.domain.ids import chunk_id, invoice_id, time_ordered_id
from app.domain.ksef_number import make_ksef_number
from app.ksef.errors import PermissionMissing, QuotaExhausted, UpoNotFound
from app.ksef.models import InvoiceMetadata, SessionInvoice
from app.ksef.originals import METADATA_PAGE, MetadataPage, MetadataQuery
from app.ksef.storage import DownloadedUpo, Sink
from app.ksef.transport import LimitGroup
from app.ksef.upo.reader import UpoDocument
from app.settings import Settings
from app.store.store import Store
from app.store.tenants.tenants import Tenant
from tests.support.road import NIP, add_tenant
from workers.context import RetryLater, WorkerContext
from workers.duplicates import receipts
from workers.duplicates.originals import find_originals
from workers.duplicates.receipts import FetchedReceipt
from workers.ksef.quota_gate import Quota

NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)
ELSEWHERE = "20261124-SB-AAAAAAAAAA-AAAAAAAAAA-AA"
MANY = 10_000


def sha(position: int) -> bytes:
    return hashlib.sha256(str(position).encode()).digest()


def number(position: int) -> str:
    return make_ksef_number(NIP, NOW.date(), position.to_bytes(6))


@dataclass
class CountingKsef:
    """A KSeF whose calls pass our real gate. `visible`: whether the original session may be seen; `readable`: InvoiceRead."""

    gate: Any
    clock: Any
    visible: bool = True
    readable: bool = True
    links: bool = True
    count: int = MANY
    calls: Counter[str] = field(default_factory=Counter)
    hours: Counter[tuple[str, int]] = field(default_factory=Counter)

    async def _call(self, name: str, group: LimitGroup) -> None:
        async with self.gate.passing(group):
            self.calls[name] += 1
            self.hours[group.value, int(self.clock.time.timestamp() // 3600)] += 1

    async def session_invoices(self, reference: str) -> AsyncIterator[SessionInvoice]:
        for start in range(0, self.count, 1000):
            await self._call("list", LimitGroup.SESSION_INVOICE_LIST)
            if not self.visible:
                raise PermissionMissing("not yours")
            for position in range(start, start + 1000):
                yield SessionInvoice.model_construct(
                    reference_number=f"row {position}", ksef_number=number(position), invoice_hash=sha(position),
                    status=_STATUS, acquisition_date=NOW, invoicing_date=NOW, invoicing_mode="Online",
                    upo_download_url=SecretStr(f"https://ksef.example/{position}") if self.links else None,
                )  # fmt: skip

    async def receipt_of_invoice(self, reference: str, ksef_number: str, sink: Sink) -> DownloadedUpo:
        await self._call("receipt", LimitGroup.SESSION_MISC)
        if not self.visible:
            raise UpoNotFound("21178")
        await sink(ksef_number.encode())
        return DownloadedUpo(1, b"", hash_verified=True)

    async def download_upo(self, url: SecretStr, sink: Sink) -> DownloadedUpo:
        self.calls["link"] += 1
        await sink(number(int(url.get_secret_value().rpartition("/")[2])).encode())
        return DownloadedUpo(1, b"", hash_verified=True)

    async def invoice_metadata(self, query: MetadataQuery, *, page: int) -> MetadataPage:
        await self._call("metadata", LimitGroup.INVOICE_METADATA)
        if not self.readable:
            raise _NO_PERMISSION
        wanted = range(page * METADATA_PAGE, min(self.count, (page + 1) * METADATA_PAGE))
        if query.ksef_number is not None:
            wanted = range(_position(query.ksef_number), _position(query.ksef_number) + 1)
        rows = tuple(
            InvoiceMetadata.model_construct(
                ksef_number=number(position), invoice_hash=sha(position), invoicing_date=NOW, acquisition_date=NOW,
                invoicing_mode="Online",
            )
            for position in wanted
        )  # fmt: skip
        return MetadataPage(rows, query.ksef_number is None and wanted.stop < self.count, is_truncated=False)

    async def invoice_sha256(self, ksef_number: str) -> bytes:
        await self._call("document", LimitGroup.INVOICE_DOWNLOAD)
        if not self.readable:
            raise _NO_PERMISSION
        return sha(_position(ksef_number))


class _Status:
    code = 200


_STATUS = cast("Any", _Status())
_NO_PERMISSION = PermissionMissing("InvoiceRead")
_NO_PERMISSION.reason_code = "missing-permissions"


def _position(ksef_number: str) -> int:
    return int(ksef_number[20:32], 16)


class Clock:
    def __init__(self) -> None:
        self.time = NOW

    def __call__(self) -> datetime:
        return self.time

    def seconds(self) -> float:
        return self.time.timestamp()


_ROWS = """
INSERT INTO uploads (id, tenant_id, kind, state, bytes, sha256, created_at, read_at, sent)
VALUES (%(upload)s, %(tenant)s, 'zip', 'in_progress', 1, '\\x00', %(now)s, %(now)s, %(n)s);
INSERT INTO chunks (id, last_id, tenant_id, upload_id, lane_id, first_entry, encoding, blob_key, created_at)
VALUES (%(chunk)s, %(last)s, %(tenant)s, %(upload)s, %(lane)s, 0, 'deflate', 'chunks/x', %(now)s);
INSERT INTO sessions (id, tenant_id, lane_id, state, form_code, offline_mode, compression, invoices, sealed_at,
    reference_number, completed_at)
VALUES (%(session)s, %(tenant)s, %(lane)s, 'completed', 'FA (3)', false, 'zip', %(n)s, %(now)s,
    '20261124-SB-BBBBBBBBBB-BBBBBBBBBB-BB', %(now)s);
INSERT INTO session_chunks VALUES (%(session)s, %(chunk)s, %(n)s);
INSERT INTO invoices (id, tenant_id, upload_id, session_id, state, name, sha256, size, crc32, blob_offset, blob_bytes)
SELECT v.id, %(tenant)s, %(upload)s, %(session)s, 'sent', 'a.xml', v.sha256, 1, 1, 0, 1
FROM unnest(%(ids)s::uuid[], %(hashes)s::bytea[]) AS v (id, sha256);
INSERT INTO suspected_duplicates (invoice_id, tenant_id, session_id, sha256, words, original_ksef_number,
    original_session, suspected_at, next_at)
SELECT v.id, %(tenant)s, %(session)s, v.sha256, 'Duplikat', v.number, %(elsewhere)s, %(now)s, %(now)s
FROM unnest(%(ids)s::uuid[], %(hashes)s::bytea[], %(numbers)s::text[]) AS v (id, sha256, number)
"""


async def suspects(store: Store, tenant: Tenant, count: int) -> None:
    """Rows as a session leaves them of which KSeF called every invoice a duplicate."""
    milliseconds = int(NOW.timestamp() * 1000)
    lane = await store.tenants.ensure_lane(tenant, form_code="FA (3)", offline_mode=False)
    upload, session = time_ordered_id(milliseconds, b"u" * 10), time_ordered_id(milliseconds, b"s" * 10)
    chunk = chunk_id(milliseconds, b"c" * 10)
    ids: list[UUID] = [invoice_id(chunk, position) for position in range(count)]
    database = store.database
    values = {"tenant": tenant.id, "lane": lane, "upload": upload, "session": session, "chunk": chunk, "now": NOW}
    values |= {"last": ids[-1], "ids": ids, "hashes": [sha(position) for position in range(count)], "n": count}
    values |= {"numbers": [number(position) for position in range(count)], "elsewhere": ELSEWHERE}
    for statement in _ROWS.strip().split(";\n"):
        await database.execute(statement, values)


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def settle(
    context: WorkerContext, store: Store, ksef: CountingKsef, clock: Clock, tenant: Tenant, *, most: timedelta
) -> timedelta:
    """Run the job again and again as its retries would; give the time that passed."""

    class Clients:
        async def of(self, _tenant_id: int) -> CountingKsef:
            return ksef

    world = replace(context, clock=clock, ksef=cast("Any", Clients()), quota=ksef.gate._quota)
    while clock.time - NOW < most:
        try:
            await find_originals(world, tenant.id)
            row = await store.database.fetch_one("SELECT count(*) AS n FROM invoices WHERE state = 'sent'")
            if row == {"n": 0}:
                return clock.time - NOW
            clock.time += timedelta(minutes=3)
        except RetryLater as later:
            clock.time += timedelta(seconds=later.seconds)
        except QuotaExhausted as used:
            clock.time += timedelta(seconds=used.wait_seconds + 0.5)
    return clock.time - NOW


async def _start(
    context: WorkerContext, store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch, count: int, **ksef: Any
) -> tuple[Tenant, CountingKsef]:
    async def no_sleep(seconds: float) -> None:
        clock.time += timedelta(seconds=seconds)

    async def read(_context: WorkerContext, data: bytes, ksef_number: str) -> FetchedReceipt:
        document = UpoDocument(ksef_number, sha(_position(ksef_number)), NIP, "", None, NOW, NOW, "Online")
        return FetchedReceipt(document, ELSEWHERE, data)

    async def keep(_self: object, _key: str, _data: bytes) -> None:
        """Keep nothing: the test beside this one reads what is stored."""

    monkeypatch.setattr(receipts, "_read", read)
    monkeypatch.setattr(type(store.blobs), "put", keep)
    quota = Quota(store.quota, store.limits, clock, sleep=no_sleep, monotonic=clock.seconds)
    tenant = await add_tenant(store)
    await suspects(store, tenant, count)
    return tenant, CountingKsef(quota.gate(tenant.id), clock, count=count, **ksef)


async def _counts(store: Store) -> dict[str, Any]:
    row = await store.database.fetch_one(
        "SELECT (SELECT accepted FROM sessions) AS session, (SELECT accepted FROM uploads) AS upload,"
        " (SELECT count(*) FROM invoices WHERE state = 'accepted') AS accepted,"
        " (SELECT count(*) FROM invoice_receipts) AS receipts,"
        " (SELECT count(*) FROM events WHERE type = 'invoices.accepted') AS events,"
        " (SELECT sum(jsonb_array_length(data::jsonb -> 'invoices')) FROM events WHERE type = 'invoices.accepted') AS told"
    )
    assert row is not None
    return row


async def test_ten_thousand_of_one_session_cost_ten_lists_and_no_counted_receipt(
    context: WorkerContext, store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant, ksef = await _start(context, store, clock, monkeypatch, MANY)
    took = await settle(context, store, ksef, clock, tenant, most=timedelta(hours=1))
    assert took < timedelta(minutes=5)
    assert ksef.calls == {"list": 10, "link": MANY}
    counts = await _counts(store)
    assert (counts["session"], counts["upload"], counts["accepted"], counts["receipts"]) == (MANY,) * 4
    assert counts["told"] == MANY


async def test_ten_thousand_of_a_session_that_we_may_not_see_are_proved_by_forty_pages_within_the_hourly_twenty(
    context: WorkerContext, store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant, ksef = await _start(context, store, clock, monkeypatch, MANY, visible=False)
    took = await settle(context, store, ksef, clock, tenant, most=timedelta(hours=6))
    assert timedelta(hours=2) < took < timedelta(hours=3)
    assert ksef.calls["metadata"] == 41
    assert max(count for (group, _), count in ksef.hours.items() if group == "invoiceMetadata") <= 40
    assert ksef.calls["document"] == 0
    counts = await _counts(store)
    assert (counts["accepted"], counts["receipts"]) == (MANY, 0)


async def test_receipts_without_links_take_at_most_half_of_what_status_polls_leave(
    context: WorkerContext, store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant, ksef = await _start(context, store, clock, monkeypatch, 700, links=False)
    for _ in range(100):
        async with ksef.gate.passing(LimitGroup.SESSION_MISC):
            clock.time += timedelta(seconds=0.6)
    took = await settle(context, store, ksef, clock, tenant, most=timedelta(hours=3))
    assert ksef.calls["receipt"] == 700
    # At most (1200 - 100) / 2 = 550 of them within an hour.
    assert timedelta(hours=1) < took < timedelta(hours=2)


async def test_without_permission_a_thousand_cost_one_question_a_search(
    context: WorkerContext, store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant, ksef = await _start(context, store, clock, monkeypatch, 1_000, visible=False, readable=False)
    await settle(context, store, ksef, clock, tenant, most=timedelta(hours=2))
    searches = ksef.calls["metadata"]
    assert 1 < searches < 10, "the pauses grow"
    assert ksef.calls["list"] == searches
    assert ksef.calls["receipt"] == 3 * searches
    row = await store.database.fetch_one(
        "SELECT count(*) AS n, sum(jsonb_array_length(data::jsonb -> 'invoices')) AS invoices FROM events"
        " WHERE type = 'invoices.unresolved'"
    )
    assert row == {"n": 2, "invoices": 1_000}, "each is reported once, up to 500 an event"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"ksef_url": "https://ksef.example/v2"})
