"""Tenants, their keys and their secrets."""

from datetime import UTC, datetime

import pytest

from app.domain.ids import parse_public_id
from app.errors import Conflict, Unauthorized
from app.store.store import Store
from app.store.tenants.tenants import Tenant

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


async def _tenant(store: Store, nip: str = "5265877635") -> Tenant:
    return await store.tenants.add(
        nip=nip, name="Spółka", credential_kind="ksef_token", credential={"token": "t0ken"}, compression="zip", now=NOW
    )


async def test_a_key_opens_its_own_tenant_only(store: Store) -> None:
    first, second = await _tenant(store), await _tenant(store, "5213814999")
    _, key = await store.tenants.add_key(first.id, label="erp", now=NOW)
    assert (await store.tenants.authenticate(key, now=NOW)).id == first.id
    assert first.id != second.id


async def test_a_revoked_key_is_refused_like_an_unknown_one(store: Store) -> None:
    tenant = await _tenant(store)
    key_id, key = await store.tenants.add_key(tenant.id, label="erp", now=NOW)
    await store.tenants.revoke_key(tenant.id, parse_public_id("key", key_id), now=NOW)
    with pytest.raises(Unauthorized) as revoked:
        await store.tenants.authenticate(key, now=NOW)
    with pytest.raises(Unauthorized) as unknown:
        await store.tenants.authenticate("ksefd_" + "0" * 32 + "_x", now=NOW)
    assert revoked.value.detail == unknown.value.detail


@pytest.mark.parametrize(
    "key", ["", "x", "ksefd_", "ksefd_zz_y", "other_" + "0" * 32 + "_x", "ksefd_" + "z" * 32 + "_x"]
)
async def test_a_malformed_key_is_refused(store: Store, key: str) -> None:
    with pytest.raises(Unauthorized):
        await store.tenants.authenticate(key, now=NOW)


async def test_a_disabled_tenant_is_refused(store: Store) -> None:
    tenant = await _tenant(store)
    _, key = await store.tenants.add_key(tenant.id, label="erp", now=NOW)
    await store.tenants.disable(tenant.id, now=NOW)
    with pytest.raises(Unauthorized):
        await store.tenants.authenticate(key, now=NOW)


async def test_a_nip_belongs_to_one_tenant(store: Store) -> None:
    await _tenant(store)
    with pytest.raises(Conflict):
        await _tenant(store)


async def test_a_credential_comes_back_and_stands_encrypted_in_the_database(store: Store) -> None:
    tenant = await _tenant(store)
    assert await store.tenants.credential(tenant.id) == ("ksef_token", {"token": "t0ken"})
    row = await store.database.fetch_one("SELECT credential FROM tenants")
    assert row is not None
    assert b"t0ken" not in bytes(row["credential"])
