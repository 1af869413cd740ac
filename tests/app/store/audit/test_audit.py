"""The audit on a real database: one chain by many writers, and every kind of tampering is found."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import anyio
import pytest
from psycopg import errors

from app.cli.local_store import local_store
from app.cli.operator import operator
from app.settings import Settings
from app.store.audit.actor import Actor, acting_as
from app.store.audit.acts import Act
from app.store.audit.record import record
from app.store.audit.store import AuditFilter
from app.store.database import Connection
from app.store.store import Store, open_store

Tamper = Callable[[Connection], Awaitable[object]]


async def _act(
    store: Store, object_id: str = "key_1", *, tenant_id: int | None = None, act: Act = Act.KEY_CREATED
) -> None:
    async with store.database.transaction() as connection:
        record(connection, act=act, tenant_id=tenant_id, object=object_id, details={"label": "erp"})


async def _ten_acts(store: Store) -> None:
    for number in range(1, 11):
        await _act(store, f"key_{number}")


async def _as_superuser(store: Store, statement: str) -> None:
    """Run a statement as an attacker who may switch the triggers off."""
    async with store.database.transaction() as connection:
        await connection.execute("SET LOCAL session_replication_role = replica")
        await connection.execute(statement.encode())


async def test_an_act_is_in_the_audit_with_who_did_it(store: Store) -> None:
    with acting_as(Actor("cli", "anna@office")):
        await _act(store)
    with acting_as(Actor("key", "erp", "request-1")):
        await _act(store, "key_2")
    await _act(store, "key_3")
    rows = await store.audit.after(AuditFilter(), number=0)
    assert [(row["number"], row["actor_kind"], row["actor"], row["request_id"]) for row in rows] == [
        (1, "cli", "anna@office", None),
        (2, "key", "erp", "request-1"),
        (3, "worker", "worker", None),
    ]
    assert {row["details"] for row in rows} == {'{"label":"erp"}'}
    checked = await store.audit.check()
    assert (checked.rows, checked.fault) == (3, None)


async def test_a_command_acts_as_the_operator_while_its_store_is_open(settings: Settings, store: Store) -> None:
    async with local_store(settings) as opened:
        await _act(opened)
    await _act(store, "key_2")
    actors = [row["actor"] for row in await store.audit.after(AuditFilter(), number=0)]
    assert actors == [operator().name, "worker"]


async def test_an_audit_without_rows_fits(store: Store) -> None:
    assert (await store.audit.check()).fault is None


async def test_an_act_that_is_rolled_back_leaves_no_row(store: Store) -> None:
    await _act(store)

    async def fail() -> None:
        async with store.database.transaction() as connection:
            record(connection, act=Act.KEY_CREATED, object="key_2")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    await _act(store, "key_3")
    rows = await store.audit.after(AuditFilter(), number=0)
    assert [(row["number"], row["object"]) for row in rows] == [(1, "key_1"), (2, "key_3")]
    assert (await store.audit.check()).fault is None


async def test_an_act_outside_a_transaction_is_refused(store: Store) -> None:
    async with store.database.connection() as connection:
        with pytest.raises(RuntimeError):
            record(connection, act=Act.KEY_CREATED)


async def test_fifty_writers_at_once_make_no_fork(settings: Settings) -> None:
    async with open_store(settings, max_connections=50) as store:
        async with anyio.create_task_group() as tasks:
            for writer in range(50):
                tasks.start_soon(_act, store, f"key_{writer}")
        checked = await store.audit.check()
    assert (checked.rows, checked.fault) == (50, None)


async def test_several_acts_of_one_transaction_follow_each_other(store: Store) -> None:
    async with store.database.transaction() as connection:
        for number in range(3):
            record(connection, act=Act.KEY_REVOKED, object=f"key_{number}")
    assert (await store.audit.check()).rows == 3


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_rows SET actor = 'x'",
        "DELETE FROM audit_rows",
        "TRUNCATE audit_rows",
        "DELETE FROM audit_head",
        "TRUNCATE audit_head",
    ],
)
async def test_rows_cannot_be_changed_or_removed(store: Store, statement: str) -> None:
    await _act(store)
    with pytest.raises(errors.InsufficientPrivilege):
        await store.database.execute(statement)


_COPIED = "at, actor_kind, actor, act, tenant_id, object, request_id, outcome, details"
_FALSE = r"'\x02', '\x03' FROM audit_rows WHERE number = 4"


def _renumber(*moves: tuple[str, str]) -> str:
    return "; ".join(f"UPDATE audit_rows SET number = {new} WHERE number {old}" for old, new in moves)


def _insert(number: int, rest: str = _FALSE) -> str:
    return f"INSERT INTO audit_rows SELECT {number}, {_COPIED}, {rest}"


_SHORTER_HEAD = "UPDATE audit_head SET number = 8, hash = (SELECT hash FROM audit_rows WHERE number = 8)"
TAMPERED = {
    "changed actor": ("UPDATE audit_rows SET actor = 'x' WHERE number = 4", 4),
    "changed time": ("UPDATE audit_rows SET at = at + interval '1 microsecond' WHERE number = 4", 4),
    "changed details": ("UPDATE audit_rows SET details = '{}' WHERE number = 10", 10),
    "changed hash": (r"UPDATE audit_rows SET hash = '\x00' WHERE number = 4", 4),
    "removed": ("DELETE FROM audit_rows WHERE number = 4", 4),
    "removed first": ("DELETE FROM audit_rows WHERE number = 1", 1),
    "removed tail": ("DELETE FROM audit_rows WHERE number > 8", 9),
    "removed all": ("DELETE FROM audit_rows", 1),
    "removed tail, head changed": (f"DELETE FROM audit_rows WHERE number > 8; {_SHORTER_HEAD}", 8),
    "inserted at the end": (_insert(11, r"hash, '\x01' FROM audit_rows WHERE number = 10"), 11),
    "inserted within": (f"{_renumber(('> 4', '-number'), ('< 0', '1 - number'))}; {_insert(5)}", 5),
    "inserted before the first": (_insert(0), 0),
    "reordered": (_renumber(("= 4", "100"), ("= 5", "4"), ("= 100", "5")), 4),
    "head removed": ("DELETE FROM audit_head", 10),
}


@pytest.mark.parametrize("kind", TAMPERED)
async def test_tampering_is_found(store: Store, kind: str) -> None:
    statement, first = TAMPERED[kind]
    await _ten_acts(store)
    await _as_superuser(store, statement)
    fault = (await store.audit.check()).fault
    assert fault is not None
    assert fault.number == first


@pytest.mark.parametrize("kind", TAMPERED)
async def test_tampering_is_found_after_later_acts_too_and_refuses_none_of_them(store: Store, kind: str) -> None:
    statement, _ = TAMPERED[kind]
    await _ten_acts(store)
    await _as_superuser(store, statement)
    await _act(store, "key_later")
    await _act(store, "key_last")
    assert (await store.audit.check()).fault is not None
    assert await store.audit.newest_number() >= 2


async def test_pages_are_filtered_and_continue(store: Store) -> None:
    for number in range(1, 7):
        await _act(
            store, f"key_{number}", tenant_id=number % 2, act=Act.KEY_REVOKED if number == 6 else Act.KEY_CREATED
        )
    newest = await store.audit.page(AuditFilter(), before=None, limit=4)
    assert [row["number"] for row in newest] == [6, 5, 4, 3]
    rest = await store.audit.page(AuditFilter(), before=newest[-1]["number"], limit=4)
    assert [row["number"] for row in rest] == [2, 1]
    odd = await store.audit.page(AuditFilter(tenant_id=1), before=None, limit=10)
    assert [row["number"] for row in odd] == [5, 3, 1]
    revoked = await store.audit.after(AuditFilter(act=Act.KEY_REVOKED), number=0)
    assert [row["object"] for row in revoked] == ["key_6"]
    middle = AuditFilter(since=newest[2]["at"], until=newest[0]["at"])
    assert [row["number"] for row in await store.audit.after(middle, number=0)] == [4, 5]
    assert await store.audit.after(AuditFilter(since=newest[0]["at"] + timedelta(seconds=1)), number=0) == []
