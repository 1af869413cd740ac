"""Tenants, their keys and their secrets."""

from datetime import UTC, datetime

import pytest

from app.domain.ids import parse_public_id
from app.errors import Conflict
from app.store.audit.store import AuditFilter
from app.store.store import Store
from app.store.tenants.tenants import Tenant

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


async def _tenant(store: Store, nip: str = "5265877635") -> Tenant:
    return await store.tenants.add(
        nip=nip, name="Spółka", credential_kind="ksef_token", credential={"token": "t0ken"}, compression="zip", now=NOW
    )


async def test_keys_are_found_together_and_each_opens_its_own_tenant_only(store: Store) -> None:
    first, second = await _tenant(store), await _tenant(store, "5213814999")
    keys = [(await store.tenants.add_key(one.id, label="erp", now=NOW))[1] for one in (first, second)]
    mixed = keys[0][:-5] + "00000"
    found = await store.tenants.authenticate([keys[1], mixed, "x", keys[0], keys[0]], now=NOW)
    assert [tenant.id if tenant else None for tenant in found] == [second.id, None, None, first.id, first.id]
    assert [key.last_used_at for one in (first, second) for key in await store.tenants.keys(one.id)] == [NOW, NOW]


async def test_a_revoked_key_is_refused_like_an_unknown_one(store: Store) -> None:
    tenant = await _tenant(store)
    key_id, key = await store.tenants.add_key(tenant.id, label="erp", now=NOW)
    await store.tenants.revoke_key(tenant.id, parse_public_id("key", key_id), now=NOW)
    assert await store.tenants.authenticate([key, "ksefd_" + "0" * 32 + "_x"], now=NOW) == [None, None]


@pytest.mark.parametrize(
    "key",
    [
        "",
        "x",
        "ksefd_",
        "ksefd_zz_y",
        "other_" + "0" * 32 + "_x",
        "ksefd_" + "z" * 32 + "_x",
        "ksefd_" + "٠" * 32 + "_x",
        "\ud800",
    ],
)
async def test_a_malformed_key_is_refused(store: Store, key: str) -> None:
    assert await store.tenants.authenticate([key], now=NOW) == [None]


async def test_the_key_of_a_disabled_tenant_is_found_with_its_tenant(store: Store) -> None:
    tenant = await _tenant(store)
    _, key = await store.tenants.add_key(tenant.id, label="erp", now=NOW)
    await store.tenants.disable(tenant.id, now=NOW)
    (found,) = await store.tenants.authenticate([key], now=NOW)
    assert found is not None
    assert found.disabled_at == NOW


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


async def test_a_required_reconciliation_and_its_end_are_acts_once(store: Store) -> None:
    tenant = await _tenant(store)
    await store.tenants.end_reconciliation(tenant.id, since=None)
    await store.tenants.require_reconciliation(tenant.id, since=NOW)
    await store.tenants.end_reconciliation(tenant.id, since=NOW)
    await store.tenants.end_reconciliation(tenant.id, since=NOW)
    acts = [row["act"] for row in await store.audit.after(AuditFilter(), number=0)]
    assert acts == ["tenant.added", "tenant.reconciliation-required", "tenant.reconciled"]
