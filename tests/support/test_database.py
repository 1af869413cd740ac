"""A reused database is as empty as a new one, and a change of the schema does not pass from one test to the next."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.support.database import ReusedDatabase


@pytest.fixture
def reused(postgres_url: str) -> Iterator[ReusedDatabase]:
    database = ReusedDatabase(postgres_url)
    yield database
    database.drop()


def _asked(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(query.encode())
        return cursor.fetchall() if cursor.description else []


def test_rows_and_numbers_begin_anew(reused: ReusedDatabase) -> None:
    add = "INSERT INTO procrastinate_workers DEFAULT VALUES RETURNING id"
    first = _asked(reused.url, add)
    assert _asked(reused.url, add) != first
    reused.empty()
    assert _asked(reused.url, "SELECT count(*) FROM procrastinate_workers") == [(0,)]
    assert _asked(reused.url, add) == first
    assert _asked(reused.url, "SELECT count(*) FROM alembic_version") == [(1,)]


def test_a_connection_that_a_test_left_open_is_ended(reused: ReusedDatabase) -> None:
    with psycopg.connect(reused.url) as left:
        left.execute("LOCK TABLE tenants")
        reused.empty()
        with pytest.raises(psycopg.OperationalError):
            left.execute("SELECT 1")


def test_a_changed_schema_is_found_and_the_next_test_gets_a_new_database(reused: ReusedDatabase) -> None:
    _asked(reused.url, "ALTER TABLE tenants ADD COLUMN surplus int")
    with pytest.raises(AssertionError, match="own_database"):
        reused.empty()
    assert _asked(reused.url, "SELECT * FROM information_schema.columns WHERE column_name = 'surplus'") == []
    reused.empty()
