"""Duplicates: of all documents with one identity at most one is alive, whoever comes when, and a refusal frees the number."""

import asyncio
import itertools
from collections.abc import Coroutine
from datetime import UTC, date, datetime
from typing import Any, TypeVar
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from app.domain.ids import chunk_id, invoice_id
from app.settings import Settings
from app.store.store import Store, open_store
from app.store.tenants.tenants import Tenant
from app.store.uploads.chunks import CheckedChunk
from tests.support.road import add_upload

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
Result = TypeVar("Result")
ENDS = ("accepted", "rejected", "failed")


async def a_tenant(store: Store, nip: str) -> Tenant:
    return await store.tenants.add(
        nip=nip, name="T", credential_kind="ksef_token", credential={"token": "t"}, compression="zip", now=NOW
    )


_made = itertools.count(1_800_000_000_000)


async def commit(store: Store, tenant: Tenant, documents: list[tuple[UUID, bytes]], *, chunks: int = 1) -> list[UUID]:
    """Bring valid documents (identity, content) in as one upload; gives their ids."""
    lane = await store.tenants.ensure_lane(tenant, form_code="FA (3)", offline_mode=False)
    upload = await add_upload(store, tenant, uuid4().bytes, now=NOW)
    ids: list[UUID] = []
    step = max(1, -(-len(documents) // chunks))
    for first in range(0, len(documents), step):
        part = documents[first : first + step]
        chunk = chunk_id(next(_made), uuid4().bytes[:10])
        rows = b"".join(
            "\t".join(
                [
                    str(invoice_id(chunk, at)), str(tenant.id), str(upload.id), "queued", f"{at}.xml", "FV/1", "5265877635",
                    "VAT", "2026-11-22", str(identity), "\\\\x" + content.hex(), "10", "0", "0", "10", "\\N", "\\N",
                ]
            ).encode()
            + b"\n"
            for at, (identity, content) in enumerate(part)
        )  # fmt: skip
        checked = CheckedChunk(
            id=chunk, lane_id=lane, first_entry=first, blob_key=f"chunks/{chunk.hex}", rows=rows,
            queued=len(part), ready_bytes=10 * len(part), invalid=0, latest_issue_date=date(2026, 11, 22),
        )  # fmt: skip
        await store.chunks.commit(upload, [checked], next_entry=first + len(part), now=NOW)
        ids += [invoice_id(chunk, at) for at in range(len(part))]
    return ids


async def rows_of(store: Store, ids: list[UUID]) -> list[tuple[str, UUID | None, list[str]]]:
    rows = await store.database.fetch_all(
        "SELECT id, state, duplicate_of, findings FROM invoices WHERE id = ANY(%(ids)s)", {"ids": ids}
    )
    found = {
        row["id"]: (row["state"], row["duplicate_of"], [one["rule"] for one in row["findings"] or []]) for row in rows
    }
    return [found[key] for key in ids]


async def finish(store: Store, invoice: UUID, state: str) -> None:
    """End an invoice: one that gets no KSeF number lets go of its claim in the same transaction, as verdicts have it."""
    async with store.database.transaction() as connection:
        await connection.execute(
            "UPDATE invoices SET state = %(state)s WHERE id = %(id)s", {"id": invoice, "state": state}
        )
        if state != "accepted":
            await connection.execute(
                "DELETE FROM claims k USING invoices i WHERE i.id = %(id)s AND k.tenant_id = i.tenant_id "
                "AND k.identity = i.identity AND k.invoice_id = i.id",
                {"id": invoice},
            )


async def test_a_document_lives_once_in_an_upload_and_across_uploads(store: Store) -> None:
    tenant = await a_tenant(store, "5265877635")
    number, content, corrected = uuid4(), b"a" * 32, b"b" * 32
    first, again, other = await commit(store, tenant, [(number, content), (number, content), (number, corrected)])
    (later,) = await commit(store, tenant, [(number, content)])
    assert await rows_of(store, [first, again, other, later]) == [
        ("queued", None, []),
        ("duplicate", first, ["same-document"]),
        ("duplicate", first, ["number-taken"]),
        ("duplicate", first, ["same-document"]),
    ]
    await finish(store, first, "accepted")
    (months_later,) = await commit(store, tenant, [(number, corrected)])
    assert await rows_of(store, [months_later]) == [("duplicate", first, ["number-taken"])]


@pytest.mark.parametrize("end", ["rejected", "failed"])
async def test_when_the_living_one_ends_without_a_number_a_corrected_document_goes_through(
    store: Store, end: str
) -> None:
    tenant = await a_tenant(store, "5265877635")
    number = uuid4()
    (first,) = await commit(store, tenant, [(number, b"a" * 32)])
    (too_early,) = await commit(store, tenant, [(number, b"b" * 32)])
    await finish(store, first, end)
    (corrected,) = await commit(store, tenant, [(number, b"b" * 32)])
    states = [state for state, _, _ in await rows_of(store, [first, too_early, corrected])]
    assert states == [end, "duplicate", "queued"]


async def test_two_tenants_do_not_see_each_others_numbers(store: Store) -> None:
    one, other = await a_tenant(store, "5265877635"), await a_tenant(store, "5213814999")
    number = uuid4()
    ids = await commit(store, one, [(number, b"a" * 32)]) + await commit(store, other, [(number, b"a" * 32)])
    assert [state for state, _, _ in await rows_of(store, ids)] == ["queued", "queued"]


async def test_chunks_with_the_same_numbers_at_the_same_moment_leave_exactly_one_alive(store: Store) -> None:
    """Eight workers commit the same twenty numbers, each in another order: no deadlock, one holder a number."""
    tenant = await a_tenant(store, "5265877635")
    numbers = [uuid4() for _ in range(20)]

    async def worker(shift: int) -> list[UUID]:
        mine = numbers[shift:] + numbers[:shift]
        return await commit(store, tenant, [(number, bytes([shift]) * 32) for number in mine], chunks=2)

    ids = [key for part in await asyncio.gather(*(worker(2 * at) for at in range(8))) for key in part]
    rows = await store.database.fetch_all(
        "SELECT identity, count(*) FILTER (WHERE state = 'queued') AS alive, count(*) AS n FROM invoices "
        "WHERE id = ANY(%(ids)s) GROUP BY identity",
        {"ids": ids},
    )
    assert {(row["alive"], row["n"]) for row in rows} == {(1, 8)}
    wrong = await store.database.fetch_all(
        "SELECT i.id FROM invoices i LEFT JOIN invoices h ON h.id = i.duplicate_of "
        "WHERE i.state = 'duplicate' AND (h.state <> 'queued' OR h.identity <> i.identity)"
    )
    assert wrong == []


class ClaimsMachine(RuleBasedStateMachine):
    """Documents come and end in any order. The model: a number has a holder from its first document until that one is refused."""

    settings: Settings
    runner: asyncio.Runner

    def __init__(self) -> None:
        super().__init__()
        self.holders: dict[tuple[int, int], UUID] = {}
        self.expected: dict[UUID, tuple[str, UUID | None]] = {}

    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        return self.runner.run(coroutine)

    @initialize()
    def begin(self) -> None:
        # A world of its own for each run: numbers nobody had before.
        self.numbers = [uuid4() for _ in range(3)]

    @rule(
        tenant=st.integers(0, 1),
        documents=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1)), min_size=1, max_size=4),
    )
    def come(self, tenant: int, documents: list[tuple[int, int]]) -> None:
        brought = [(self.numbers[number], bytes([content]) * 32) for number, content in documents]
        ids = self.run(commit(self.store, self.tenants[tenant], brought))
        for (number, _), key in zip(documents, ids, strict=True):
            holder = self.holders.setdefault((tenant, number), key)
            self.expected[key] = ("queued", None) if holder == key else ("duplicate", holder)

    @rule(tenant=st.integers(0, 1), number=st.integers(0, 2), end=st.sampled_from(ENDS))
    def end(self, tenant: int, number: int, end: str) -> None:
        holder = self.holders.get((tenant, number))
        if holder is None or self.expected[holder][0] != "queued":
            return
        self.run(finish(self.store, holder, end))
        self.expected[holder] = (end, None)
        if end != "accepted":
            del self.holders[tenant, number]

    @invariant()
    def states_are_those_of_the_model(self) -> None:
        keys = list(self.expected)
        rows = self.run(rows_of(self.store, keys)) if keys else []
        assert {key: row[:2] for key, row in zip(keys, rows, strict=True)} == self.expected

    store: Store
    tenants: list[Tenant]


@pytest.mark.slow
def test_claims_agree_with_a_simple_model_in_any_order_of_events(settings: Settings) -> None:
    with asyncio.Runner() as runner:
        opened = open_store(settings)
        store = runner.run(opened.__aenter__())
        tenants = [runner.run(a_tenant(store, nip)) for nip in ("5265877635", "5213814999")]

        class Machine(ClaimsMachine):
            def __init__(self) -> None:
                super().__init__()
                self.runner, self.store, self.tenants = runner, store, tenants

        try:
            run_state_machine_as_test(
                Machine,
                settings=hypothesis_settings(
                    max_examples=25, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
                ),
            )
        finally:
            runner.run(opened.__aexit__(None, None, None))
