"""What is known of a tenant's permissions, for how long it is believed, and when KSeF is asked again."""

from datetime import UTC, datetime, timedelta

import pytest

from app.ksef.limits import ContextLimits
from app.ksef.permissions import AttachmentConsent
from app.store.store import Store
from app.store.tenants.check_context import check_context
from app.store.tenants.permissions import KnownPermissions
from tests.support.road import add_tenant

NOW = datetime(2026, 2, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
YES = AttachmentConsent(True, None)
NO = AttachmentConsent(False, None)


@pytest.mark.parametrize(
    ("known", "after", "expected"),
    [
        (KnownPermissions(), timedelta(0), None),
        (KnownPermissions(True, None, None, NOW), timedelta(hours=47), True),
        (KnownPermissions(True, None, None, NOW), timedelta(hours=49), None),
        (KnownPermissions(False, None, None, NOW), timedelta(hours=1), False),
        (KnownPermissions(False, None, None, NOW), timedelta(hours=3), None),
        (KnownPermissions(True, NOW + 5 * HOUR, None, NOW), timedelta(hours=4), True),
        (KnownPermissions(True, NOW + 5 * HOUR, None, NOW), timedelta(hours=5), False),
        (KnownPermissions(True, NOW + 5 * HOUR, None, NOW), timedelta(hours=8), None),
        (KnownPermissions(False, NOW - HOUR, None, NOW), timedelta(0), False),
        (KnownPermissions(None, None, "403", NOW), timedelta(0), None),
    ],
)
def test_an_answer_is_believed_for_a_while_and_a_no_for_less(
    known: KnownPermissions, after: timedelta, expected: bool | None
) -> None:
    assert known.attachments_at(NOW + after) is expected


async def test_a_new_tenant_is_due_at_once_and_then_daily(store: Store) -> None:
    tenant, permissions = await add_tenant(store), store.permissions
    assert await permissions.due_for_job(now=NOW, limit=10) == [tenant.id]
    assert [await permissions.reserve_query(tenant.id, now=NOW) for _ in range(2)] == [True, False]
    await permissions.save(tenant.id, YES, now=NOW)
    assert await permissions.due_for_job(now=NOW + 23 * HOUR, limit=10) == []
    assert await permissions.due_for_job(now=NOW + 24 * HOUR, limit=10) == [tenant.id]
    await store.tenants.disable(tenant.id, now=NOW)
    assert await permissions.due_for_job(now=NOW + 24 * HOUR, limit=10) == []


async def test_a_question_without_an_answer_is_asked_again_within_the_hour_and_what_was_known_stays(
    store: Store,
) -> None:
    tenant, permissions = await add_tenant(store), store.permissions
    await permissions.save(tenant.id, YES, now=NOW)
    assert await permissions.reserve_query(tenant.id, now=NOW + 24 * HOUR)
    assert not await permissions.reserve_query(tenant.id, now=NOW + 24.5 * HOUR)
    assert await permissions.reserve_query(tenant.id, now=NOW + 25 * HOUR)
    assert (await permissions.of(tenant.id)).attachments_at(NOW + 25 * HOUR) is True


async def test_a_refused_attachment_has_it_asked_at_once_but_at_most_hourly(store: Store) -> None:
    tenant, permissions = await add_tenant(store), store.permissions
    await permissions.save(tenant.id, NO, now=NOW)
    await permissions.record_refused_attachment(tenant.id, now=NOW + 0.5 * HOUR)
    assert await permissions.due_for_job(now=NOW + 0.9 * HOUR, limit=10) == []
    assert await permissions.due_for_job(now=NOW + HOUR, limit=10) == [tenant.id]
    # As long as attachments are refused, each "no" is asked about again after an hour; a "yes" is not.
    await permissions.save(tenant.id, NO, now=NOW + HOUR)
    assert await permissions.due_for_job(now=NOW + 2 * HOUR, limit=10) == [tenant.id]
    await permissions.save(tenant.id, YES, now=NOW + 2 * HOUR)
    assert await permissions.due_for_job(now=NOW + 4 * HOUR, limit=10) == []
    await permissions.record_refused_attachment(tenant.id, now=NOW + 10 * HOUR)
    assert await permissions.due_for_job(now=NOW + 10 * HOUR, limit=10) == [tenant.id]


async def test_a_login_that_may_not_ask_is_left_alone_until_it_changes(store: Store) -> None:
    tenant, permissions = await add_tenant(store), store.permissions
    await permissions.save(tenant.id, YES, now=NOW)
    await permissions.refuse(tenant.id, "missing permission", now=NOW)
    await permissions.record_refused_attachment(tenant.id, now=NOW + HOUR)
    known = await permissions.of(tenant.id)
    assert (known.attachments_at(NOW), known.refused) == (None, "missing permission")
    assert await permissions.due_for_job(now=NOW + timedelta(days=6), limit=10) == []
    kind, credential = await store.tenants.credential(tenant.id)
    await store.tenants.set_credential(tenant, credential_kind=kind, credential=credential)
    assert await permissions.due_for_job(now=NOW + HOUR, limit=10) == [tenant.id]


async def test_the_end_of_a_consent_is_asked_about_when_it_comes(store: Store) -> None:
    tenant, permissions = await add_tenant(store), store.permissions
    await permissions.save(tenant.id, AttachmentConsent(True, NOW + 6 * HOUR), now=NOW)
    assert await permissions.due_for_job(now=NOW + 5 * HOUR, limit=10) == []
    assert await permissions.due_for_job(now=NOW + 6 * HOUR, limit=10) == [tenant.id]


async def test_documents_are_checked_by_the_limits_that_ksef_gives_the_tenant(store: Store) -> None:
    tenant = await add_tenant(store)

    def limits(context: ContextLimits | None) -> tuple[int, int]:
        made = check_context(tenant, KnownPermissions(), context, now=NOW, check_nip_checksums=True)
        return made.max_bytes, made.max_bytes_with_attachment

    assert limits(None) == (1_000_000, 3_000_000)
    assert limits(ContextLimits(10_000, None, 4_000_000)) == (1_000_000, 4_000_000)
    assert limits(ContextLimits(10_000, 5_000_000, 10_000_000)) == (5_000_000, 10_000_000)
    assert limits(ContextLimits(10_000, 5_000_000, 10_000_000_000)) == (5_000_000, 10_000_000)
