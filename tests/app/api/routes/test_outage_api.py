"""What people see of an outage and of a session that does not end: `/v1/me`, the session's times, the gauges."""

from datetime import datetime, timedelta
from uuid import UUID

from app.domain.ids import parse_public_id
from app.domain.outage import KsefState, Override
from app.settings import Settings
from app.store.store import Store
from tests.app.api.conftest import START, Caller, MovableClock
from tests.app.api.filled_store import fill


async def _unfinished(store: Store, caller: Caller, now: datetime) -> tuple[str, UUID]:
    filled = await fill(store, caller.tenant, now, finish=False)
    return filled.session, parse_public_id("ses", filled.session)


async def test_me_tells_whether_ksef_is_there(
    alpha: Caller, store: Store, settings: Settings, clock: MovableClock
) -> None:
    url = settings.ksef_base_url
    assert (await alpha.http.get("/v1/me")).json()["ksef"] == {
        "state": "available",
        "since": None,
        "reason": None,
        "ordered": False,
        "latarnia": None,
    }
    for seconds in (0, 60, 120, 150, 180):
        await store.outages.failed(url, "HTTP 503", now=clock() + timedelta(seconds=seconds))
    await store.outages.reserve_latarnia_query(url, now=clock())
    await store.outages.save_latarnia(url, {"status": "AVAILABLE", "announcements": []}, now=clock())
    shown = (await alpha.http.get("/v1/me")).json()["ksef"]
    assert shown == {
        "state": "away",
        "since": "2026-11-22T09:00:00.000Z",
        "reason": "HTTP 503",
        "ordered": False,
        "latarnia": {"status": "AVAILABLE", "announcements": [], "at": "2026-11-22T09:00:00.000Z"},
    }
    await store.outages.order(url, Override(KsefState.AVAILABLE, clock(), None, "it works from here"), now=clock())
    shown = (await alpha.http.get("/v1/me")).json()["ksef"]
    assert (shown["state"], shown["ordered"], shown["reason"]) == ("available", True, "it works from here")


async def test_a_session_under_way_tells_its_age_and_its_deadlines(
    alpha: Caller, store: Store, clock: MovableClock
) -> None:
    session, session_id = await _unfinished(store, alpha, clock())
    opened = START - timedelta(minutes=90)
    await store.database.execute(
        "UPDATE sessions SET opened_at = %(opened)s WHERE id = %(id)s", {"opened": opened, "id": session_id}
    )
    for ordinal_number in (1, 2):
        await store.database.execute(
            "INSERT INTO parts (session_id, ordinal_number, plain_bytes, bytes, sha256, blob_key) "
            "VALUES (%(id)s, %(ordinal_number)s, 1, 16, 'x', 'x')",
            {"id": session_id, "ordinal_number": ordinal_number},
        )
    shown = (await alpha.http.get(f"/v1/sessions/{session}")).json()
    assert shown["upload_by"] == "2026-11-22T08:10:00.000Z"
    assert shown["close_by"] == "2026-11-22T19:30:00.000Z"
    assert shown["age_seconds"] == 5400
    # KSeF's own time of opening goes before ours.
    await store.database.execute(
        "UPDATE sessions SET ksef_created_at = %(at)s WHERE id = %(id)s",
        {"at": opened - timedelta(minutes=1), "id": session_id},
    )
    shown = (await alpha.http.get(f"/v1/sessions/{session}")).json()
    assert (shown["close_by"], shown["age_seconds"]) == ("2026-11-22T19:29:00.000Z", 5460)


async def test_a_session_that_has_ended_has_no_deadline_and_grows_no_older(
    alpha: Caller, store: Store, clock: MovableClock
) -> None:
    session = (await fill(store, alpha.tenant, clock())).session
    before = (await alpha.http.get(f"/v1/sessions/{session}")).json()
    clock.move(timedelta(days=1))
    after = (await alpha.http.get(f"/v1/sessions/{session}")).json()
    assert before["age_seconds"] == after["age_seconds"]
    assert (after["upload_by"], after["close_by"]) == (None, None)


async def test_gauges_tell_of_an_outage_and_of_the_oldest_session_of_each_state(
    alpha: Caller, store: Store, settings: Settings, clock: MovableClock
) -> None:
    first = (await alpha.http.get("/metrics")).text
    assert "ksefd_ksef_available 1.0" in first
    assert 'ksefd_oldest_unfinished_session_seconds{state="closing"} 0.0' in first
    for hours in (2, 5):
        _, session_id = await _unfinished(store, alpha, clock())
        await store.database.execute(
            "UPDATE sessions SET state = 'closing', opened_at = %(opened)s WHERE id = %(id)s",
            {"opened": clock() - timedelta(hours=hours), "id": session_id},
        )
    await store.outages.order(settings.ksef_base_url, Override(KsefState.AWAY, clock()), now=clock())
    clock.move(timedelta(seconds=10))
    second = (await alpha.http.get("/metrics")).text
    assert "ksefd_ksef_available 0.0" in second
    assert 'ksefd_oldest_unfinished_session_seconds{state="closing"} 18010.0' in second
    assert 'ksefd_oldest_unfinished_session_seconds{state="processing"} 0.0' in second
