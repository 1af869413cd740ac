"""The fault matrix: each call to KSeF, with each fault, at each moment, ends with every verdict right.

Every row sends six invoices, of which KSeF refuses one, and ends the same way: nothing lost, nothing submitted twice while
it may be alive, each verdict what KSeF's own records say. Waiting costs nothing: both clocks are moved instead.
"""

from typing import Any

import httpx
import pytest

from app.domain.states import InvoiceState, SessionState
from app.store.tenants.tenants import Tenant
from app.store.uploads.invoices import InvoiceFilter
from app.store.uploads.uploads import Upload
from tests.support.ksef_faults import CALLS, FAULTS
from tests.support.road import add_tenant, add_upload, invoices, read, seal_and_pack, zip_of
from tests.support.timed_road import Road

pytestmark = pytest.mark.slow

WRITING = ("open", "part", "close")
ASKED_ONCE = frozenset(
    {"answers 500", "is done and answers a 502 page", "is cut before", "is cut within", "answers a web page"}
    | {"is called too often"}
)
"""The other faults come three times in a row."""
OTHER_ROWS = {
    "keys": ("answers 500", "is blocked"),
    "challenge": ("answers 500", "is called too often"),
    "signature": ("is cut after", "answers half a body"),
    "login status": ("is blocked", "answers a web page"),
    "redeem": ("is cut after", "answers 401"),
    "status": (
        "answers 500",
        "is cut after",
        "answers half a body",
        "is blocked",
        "is called too often",
        "answers 401",
    ),
    "refused list": ("answers 500", "is cut within", "answers half a body", "is called too often"),
    "receipt": ("is done and answers 500", "is cut within", "answers a web page", "answers 401"),
}
"""One row for each class of error that a call can raise, which `tests/app/ksef/test_fault_table.py` holds for every fault.
What is done or not done without an answer makes a difference to the calls of WRITING only: they meet every fault."""

ROWS = [
    pytest.param(
        CALLS[call] | FAULTS[fault] | {"times": 1 if call not in {*WRITING, "status"} or fault in ASKED_ONCE else 3},
        id=f"{call} {fault}",
    )
    for call, faults in ({name: tuple(FAULTS) for name in WRITING} | OTHER_ROWS).items()
    for fault in faults
]

STORIES: dict[str, dict[str, Any]] = {
    "the key is unknown": CALLS["open"] | {"error": 21470, "times": 1},
    "the key is found unreadable at once": {"on": "session", "status": 415, "at_open": True, "times": 1},
    "the key is found unreadable later": {"on": "session", "status": 415, "times": 1},
    "a part differs": {"on": "session", "status": 405, "times": 1},
    "the package cannot be unpacked": {"on": "session", "status": 430, "times": 1},
    "a part cannot be decrypted": {"on": "session", "status": 435, "times": 1},
    "there are too many invoices": {"on": "session", "status": 420, "times": 1},
    "the session is cancelled": {"on": "session", "status": 440, "times": 1},
    "the session ends in an unknown error": {"on": "session", "status": 500, "times": 1},
    "the session is stuck at 150": {"on": "session", "hold_at": 150, "hold_seconds": 3_000, "times": 1},
    "the close is not believed": {"on": "session", "hold_at": 100, "release_on_close": True, "times": 1},
    "the status goes back and forth": {"on": "session", "shown": [150, 100, 150], "times": 1},
    "the receipt comes late": {"on": "session", "looks_without_upo": 3, "times": 1},
    "the count of refused ones stays null": {"on": "session", "null_failed_count": True, "times": 1},
    "a part has not arrived": CALLS["close"] | {"error": 21205, "times": 3},
    "a part has another size": CALLS["close"] | {"error": 21157, "times": 2},
    "the session is not found at close": CALLS["close"] | {"error": 21173, "times": 3},
    "the session is not found by its status": CALLS["status"] | {"error": 21173, "times": 4},
    "the session is away for maintenance": CALLS["close"] | {"error": 21184, "times": 2},
    "the request is called invalid": CALLS["open"] | {"error": 21405, "times": 1},
    "the link is not valid": CALLS["part"] | {"page": "expired-link", "times": 4},
    "invoices are cancelled with their session": {"on": "invoice", "status": 405, "number": "0000002$", "times": 1},
    "an invoice meets an unknown error": {"on": "invoice", "status": 500, "number": "0000002$", "times": 1},
    "an invoice is cancelled by the system": {"on": "invoice", "status": 550, "number": "0000002$", "times": 1},
}


async def _prove(road: Road, tenant: Tenant, upload: Upload) -> None:
    assert upload.counts[InvoiceState.ACCEPTED] == 5, upload.counts
    assert upload.counts[InvoiceState.REJECTED] == 1
    ledger = road.ledger()
    assert (ledger["accepted"], ledger["distinct"], ledger["duplicate_attempts"]) == (5, 5, 0)
    lines = httpx.get(f"{road.sandbox.control_url}/ledger", params={"full": 1}).raise_for_status().text.splitlines()
    assert len(lines) == 5
    rows = [row for _, row in await road.context.store.invoices.page(tenant.id, InvoiceFilter(upload_id=upload.id))]
    known = {row["ksef_number"] for row in rows if row["state"] == "accepted"}
    assert len(known) == 5
    for number in known:
        assert any(number in line for line in lines), "KSeF's own records have another number"
    (refused,) = [row for row in rows if row["state"] == "rejected"]
    assert "ksef-450" in [finding["rule"] for finding in refused["findings"]]


async def _send(road: Road) -> tuple[Tenant, Upload]:
    road.fault(on="invoice", status=450, number="0000006$")
    tenant = await add_tenant(road.context.store)
    upload = await add_upload(road.context.store, tenant, zip_of(invoices(6)), now=road.clocks())
    return tenant, await read(road.context, upload)


@pytest.mark.parametrize("rule", ROWS)
async def test_a_call_with_a_fault_loses_nothing_and_repeats_nothing(timed_road: Road, rule: dict[str, Any]) -> None:
    tenant, upload = await _send(timed_road)
    timed_road.fault(**rule)
    await _prove(timed_road, tenant, await timed_road.finish(tenant, upload))


@pytest.mark.parametrize("rule", [pytest.param(rule, id=name) for name, rule in STORIES.items()])
async def test_a_session_with_a_story_ends_with_every_verdict_right(timed_road: Road, rule: dict[str, Any]) -> None:
    timed_road.fault(**rule)
    tenant, upload = await _send(timed_road)
    await _prove(timed_road, tenant, await timed_road.finish(tenant, upload))


async def test_the_matrix_has_the_rows_that_were_promised() -> None:
    assert len(ROWS) + len(STORIES) >= 80
    assert {*WRITING, *OTHER_ROWS} == set(CALLS)


async def test_an_invoice_that_an_earlier_session_had_accepted_is_found_there(timed_road: Road) -> None:
    """KSeF ends a session in an unknown error although it accepted everything, and says so only later."""
    tenant, upload = await _send(timed_road)
    (first,) = await seal_and_pack(timed_road.context, tenant)
    await timed_road.finish(tenant, upload)
    store = timed_road.context.store
    # As if we had not learned of it: the same invoices wait again.
    await store.database.execute(
        "UPDATE invoices SET state = 'queued', session_id = NULL, ksef_number = NULL WHERE state = 'accepted'"
    )
    await store.database.execute("DELETE FROM ksef_numbers")
    await store.database.execute("UPDATE chunks SET queued = 5")
    await store.database.execute(
        "UPDATE uploads SET queued = 5, accepted = 0, completed_at = NULL, state = 'in_progress'"
    )
    timed_road.fault(on="session", duplicates_name_this_session=True)
    done = await timed_road.finish(tenant, upload)
    assert done.counts[InvoiceState.ACCEPTED] == 5
    rows = [row for _, row in await store.invoices.page(tenant.id, InvoiceFilter(states=["accepted"]))]
    assert len({row["ksef_number"] for row in rows}) == 5
    assert {row["findings"][-1]["rule"] for row in rows} == {"accepted-earlier"}
    sessions = await store.sessions.page(tenant.id, before=None, state=None, limit=10)
    assert [session.state for session in sessions] == [SessionState.COMPLETED, SessionState.COMPLETED]
    assert (sessions[0].accepted, sessions[1].id) == (5, first.id)
    history = await store.sessions.history(tenant.id, sessions[0].id)
    assert {"suspected", "accepted"} <= {line["outcome"] for line in history if line["action"] == "duplicates"}
