"""Change of the master key on a real database: killed at each step, beside running work, with secrets of every kind."""

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from uuid import UUID, uuid4

import anyio
import pytest
from psycopg import sql

from app.errors import Conflict
from app.settings import Settings
from app.store.audit.acts import Act
from app.store.audit.store import AuditFilter
from app.store.events.endpoints import NewEndpoint
from app.store.installation import WrongMasterKey, key_check_of, key_id, master_key_path
from app.store.keys import places
from app.store.keys.key_file import replace_key_file
from app.store.keys.places import Place
from app.store.secrets import SecretBox
from app.store.store import Store, open_store
from app.store.tenants.tenants import Tenant

NOW = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
NEW_KEY = b"n" * 31 + b"\xff"


async def _tenant(store: Store, nip: str = "5265877635") -> Tenant:
    return await store.tenants.add(
        nip=nip,
        name="Firma",
        credential_kind="ksef_token",
        credential={"token": f"t-{nip}"},
        compression="zip",
        now=NOW,
    )


async def _make_direct(store: Store, column: str, place: Place, secret: bytes, *, row: object) -> None:
    """Store a secret as a version without data keys did."""
    table, name = place.column.split(".")
    query = sql.SQL("UPDATE {} SET {} = {} WHERE {} = {}").format(
        sql.Identifier(table),
        sql.Identifier(name),
        store.master.encrypt(secret, purpose=place.direct_purpose),
        sql.Identifier(column),
        row,
    )
    async with store.database.connection() as connection:
        await connection.execute(query)


async def _old_tenants(store: Store, count: int) -> dict[int, str]:
    """Add tenants with a credential and tokens as a version without data keys stored them; return their NIPs by number."""
    nips = [f"{5260000000 + number}" for number in range(count)]
    async with store.database.transaction() as connection, connection.cursor() as cursor:
        await cursor.executemany(
            "INSERT INTO tenants (public_id, nip, name, credential_kind, credential, compression, created_at) "
            "VALUES (gen_random_uuid(), %s, 'Firma', 'ksef_token', %s, 'zip', now())",
            [
                (nip, store.master.encrypt(f'{{"token": "t-{nip}"}}'.encode(), purpose=f"credential:{nip}"))
                for nip in nips
            ],
        )
        await cursor.execute("SELECT id, nip FROM tenants ORDER BY id")
        numbers = {row["id"]: row["nip"] for row in await cursor.fetchall()}
        await cursor.executemany(
            "INSERT INTO ksef_tokens (tenant_id, tokens, updated_at) VALUES (%s, %s, now())",
            [(number, store.master.encrypt(b"tokens", purpose=f"tokens:{number}")) for number in numbers],
        )
    return numbers


async def _rotate(store: Store) -> None:
    await store.keys.convert_direct()
    await store.keys.hand_over(store.master, NEW_KEY)


async def test_three_hundred_tenants_of_an_earlier_version_are_changed_in_seconds(
    store: Store, settings: Settings
) -> None:
    tenants = await _old_tenants(store, 300)
    assert await store.keys.secrets_by_key() == {0: 600}
    started = time.process_time()
    assert (await store.keys.convert_direct()).secrets == 600
    await store.keys.hand_over(store.master, NEW_KEY)
    assert time.process_time() - started < 10
    assert await store.keys.secrets_by_key() == {1: 600}
    replace_key_file(master_key_path(settings), NEW_KEY)
    await store.keys.end_hand_over(SecretBox(NEW_KEY))
    async with open_store(settings) as other:
        for number, nip in tenants.items():
            assert (await other.tenants.credential(number))[1] == {"token": f"t-{nip}"}
            assert await other.tenants.load_tokens(number) == b"tokens"


async def test_a_running_process_goes_on_after_a_change_without_a_restart(store: Store, settings: Settings) -> None:
    tenant = await _tenant(store)
    async with open_store(settings) as other:
        await _rotate(other)
        replace_key_file(master_key_path(settings), NEW_KEY)
        await other.keys.end_hand_over(SecretBox(NEW_KEY))
    # This one was opened with the old key.
    assert (await store.tenants.credential(tenant.id))[1] == {"token": "t-5265877635"}
    await store.tenants.save_tokens(tenant.id, b"new", now=NOW)
    await store.tenants.disable(tenant.id, now=NOW)
    async with open_store(settings) as later:
        assert await later.tenants.load_tokens(tenant.id) == b"new"
        assert (await later.audit.check()).fault is None
        acts = [row["act"] for row in await later.audit.after(AuditFilter(), number=0)]
    assert acts == [Act.TENANT_ADDED, Act.MASTER_KEY_ROTATED, Act.TENANT_DISABLED]


async def test_every_kind_of_secret_of_an_earlier_version_gets_a_data_key(store: Store) -> None:
    tenant = await _tenant(store)
    endpoint, _ = await store.webhooks.add(tenant.id, NewEndpoint("https://a.example", headers={"a": "b"}), now=NOW)
    session = uuid4()
    lane = await store.tenants.ensure_lane(tenant, form_code="FA (3)", offline_mode=False)
    await _add_session(store, tenant, lane, session)
    target = places.upload_target_of(tenant.id, session, 1)
    await _make_direct(store, "id", places.webhook_keys_of(tenant.id, endpoint.id), b"[]", row=endpoint.id)
    await _make_direct(store, "id", places.webhook_headers_of(tenant.id, endpoint.id), b'{"a": "c"}', row=endpoint.id)
    await _make_direct(store, "id", places.session_key_of(tenant.id, session), b"k" * 32, row=session)
    await _make_direct(store, "session_id", target, b'{"url": "https://b.example"}', row=session)
    assert await store.keys.secrets_by_key() == {0: 4, 1: 1}
    assert (await store.keys.convert_direct(rows_at_once=1)).secrets == 4
    assert await store.keys.secrets_by_key() == {1: 5}
    assert await store.packages.encryption_key(session) == b"k" * 32
    assert await store.dispatch.upload_targets(session) == {1: {"url": "https://b.example"}}
    assert (await store.webhooks.get(tenant.id, endpoint.id)).id == endpoint.id


async def _add_session(store: Store, tenant: Tenant, lane: int, session: UUID) -> None:
    await store.database.execute(
        "INSERT INTO sessions (id, tenant_id, lane_id, state, form_code, offline_mode, compression, invoices, sealed_at) "
        "VALUES (%(id)s, %(tenant)s, %(lane)s, 'open', 'FA (3)', false, 'zip', 1, now())",
        {"id": session, "tenant": tenant.id, "lane": lane},
    )
    await store.database.execute(
        "INSERT INTO parts (session_id, ordinal_number, plain_bytes, bytes, sha256, blob_key) "
        "VALUES (%(id)s, 1, 1, 16, '', 'sessions/p')",
        {"id": session},
    )


async def test_a_secret_that_no_key_opens_is_counted_and_does_not_stop_the_change(store: Store) -> None:
    await _old_tenants(store, 3)
    await store.database.execute(
        "UPDATE tenants SET credential = set_byte(credential, 20, 255 - get_byte(credential, 20)) WHERE nip = '5260000001'"
    )
    converted = await store.keys.convert_direct(rows_at_once=1)
    assert (converted.secrets, converted.unreadable) == (5, 1)
    assert await store.keys.secrets_by_key() == {0: 1, 1: 5}


async def test_a_row_that_a_worker_has_locked_is_changed_when_it_is_free(store: Store, settings: Settings) -> None:
    await _old_tenants(store, 3)
    async with (
        open_store(settings) as worker,
        anyio.create_task_group() as tasks,
        worker.database.transaction() as connection,
    ):
        await connection.execute("UPDATE tenants SET name = 'x' WHERE nip = '5260000001'")
        tasks.start_soon(store.keys.convert_direct)
        while (await worker.keys.secrets_by_key()).get(0) != 1:
            await anyio.sleep(0.01)
    assert await store.keys.secrets_by_key() == {1: 6}


async def _killed_before_the_file(store: Store, settings: Settings) -> None:
    await _rotate(store)


async def _killed_before_the_end(store: Store, settings: Settings) -> None:
    await _rotate(store)
    replace_key_file(master_key_path(settings), NEW_KEY)


async def _ended(store: Store, settings: Settings) -> None:
    await _killed_before_the_end(store, settings)
    await store.keys.end_hand_over(SecretBox(NEW_KEY))


@pytest.mark.parametrize("steps", [_killed_before_the_file, _killed_before_the_end, _ended])
async def test_a_process_starts_after_a_kill_at_each_step(
    store: Store, settings: Settings, steps: Callable[[Store, Settings], Awaitable[None]]
) -> None:
    tenant = await _tenant(store)
    await steps(store, settings)
    async with open_store(settings) as other:
        assert key_check_of(other.master) == key_check_of(SecretBox(NEW_KEY))
        assert (await other.tenants.credential(tenant.id))[0] == "ksef_token"
        assert (await other.audit.check()).fault is None


async def test_the_old_key_is_refused_after_the_end_with_both_ids(store: Store, settings: Settings) -> None:
    old = master_key_path(settings).read_bytes()
    await _ended(store, settings)
    master_key_path(settings).write_bytes(old)
    with pytest.raises(WrongMasterKey) as refused:
        async with open_store(settings):
            pass
    for box in (store.master, SecretBox(NEW_KEY)):
        assert key_id(key_check_of(box)) in refused.value.detail


async def test_a_second_change_waits_for_the_end_of_the_first(store: Store, settings: Settings) -> None:
    await _rotate(store)
    async with open_store(settings) as other:
        with pytest.raises(Conflict, match=key_id(key_check_of(SecretBox(NEW_KEY)))):
            await other.keys.hand_over(other.master, b"x" * 32)
    with pytest.raises(Conflict):
        await store.keys.hand_over(store.master, b"x" * 32)


async def test_after_the_change_the_old_key_opens_no_data_key_in_the_database(store: Store, settings: Settings) -> None:
    await _ended(store, settings)
    [row] = await store.database.fetch_all("SELECT number, wrapped FROM data_keys")
    assert not store.master.opens(bytes(row["wrapped"]), purpose="data-key:1")
    [found] = await store.database.fetch_all("SELECT handed_over, handed_over_by FROM installation")
    assert found == {"handed_over": None, "handed_over_by": None}


async def test_processes_that_open_a_new_database_at_once_have_one_data_key(settings: Settings) -> None:
    opened: list[Store] = []
    ready = anyio.Event()

    async def open_one() -> None:
        async with open_store(settings, max_connections=2) as store:
            opened.append(store)
            await ready.wait()

    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(open_one)
        while len(opened) < 8:
            await anyio.sleep(0.01)
        sealed = opened[0].secrets.encrypt(b"secret", places.tokens_of(1))
        assert {store.secrets.decrypt(sealed, places.tokens_of(1)) for store in opened} == {b"secret"}
        assert len({store.secrets.derived_key("x") for store in opened}) == 1
        ready.set()
