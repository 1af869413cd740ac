"""The API names the tenant in every call to the store, so that no query can answer with another tenant's rows."""

from pathlib import Path

import pytest

from tests.architecture.tenant_scope import (
    ENGINE_PARTS,
    HANDED_ON,
    JOB_PARTS,
    WITHOUT_TENANT,
    faults,
    parts_of_store,
    scoped_methods,
)

ROOT = Path(__file__).resolve().parents[2]
PARTS = parts_of_store(ROOT)
SCOPED = scoped_methods(ROOT)


def test_every_call_from_the_api_to_the_store_names_a_tenant() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{fault.line}: {fault.use} takes no tenant"
        for room in ("api", "console")
        for path in sorted((ROOT / "app" / room).rglob("*.py"))
        for fault in faults(path.read_text(encoding="utf-8"), PARTS, SCOPED, path=path.relative_to(ROOT).as_posix())
    ]
    assert found == []


@pytest.mark.parametrize(
    ("planted", "use"),
    [
        ("await store.sessions.get_for_job(session_id)", "store.sessions.get_for_job"),
        ("await self._store.uploads.unread_for_job()", "store.uploads.unread_for_job"),
        ("await state.store.verdicts.count_poll(session_id, 200, now=now)", "store.verdicts.count_poll"),
        ("rows = await store.database.fetch_all('SELECT * FROM invoices')", "store.database.fetch_all"),
        ("sessions = store.sessions", "store.sessions"),
        ("helper(read=store.sessions.history)", "store.sessions"),
    ],
)
def test_a_planted_call_without_a_tenant_is_found(planted: str, use: str) -> None:
    source = f"async def route(store, session_id, now):\n    {planted}\n"
    assert [(fault.line, fault.use) for fault in faults(source, PARTS, SCOPED)] == [(2, use)]


@pytest.mark.parametrize(
    "scoped",
    [
        "await store.sessions.history(tenant.id, session_id)",
        "await store.uploads.add(new, now=now)",
        "await store.tenants.ensure_lane(tenant, form_code='FA (3)', offline_mode=False)",
        "await store.blobs.read(row['blob_key'])",
        "await store.admission.usage()",
    ],
)
def test_a_call_with_a_tenant_passes(scoped: str) -> None:
    assert list(faults(f"async def route(store):\n    {scoped}\n", PARTS, SCOPED)) == []


def test_the_exceptions_exist_and_are_needed() -> None:
    assert set(ENGINE_PARTS) | JOB_PARTS <= set(PARTS)
    for module, part in HANDED_ON:
        assert f"store.{part}" in (ROOT / module).read_text(encoding="utf-8")
    for part, method in WITHOUT_TENANT:
        path = ROOT / "app" / "store"
        assert any(f"def {method}(" in file.read_text(encoding="utf-8") for file in path.rglob("*.py"))
        assert method not in SCOPED[PARTS[part]], f"store.{part}.{method} takes a tenant and needs no exception"
