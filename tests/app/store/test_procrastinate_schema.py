"""Procrastinate's tables and functions in our databases are those that the installed version wants.

Migration 0001 applies the schema of the version that is installed at that time, so a database that an older version made
needs a migration of ours for each of Procrastinate's own. These tests fail when an upgrade forgets one.
"""

import secrets
from collections.abc import Iterator

import psycopg
import pytest
from procrastinate import App, SyncPsycopgConnector
from psycopg import sql

from app.store.migrate import migrate
from tests.support.catalogue import catalogue
from tests.support.database import database_url, drop_database, make_database
from tests.support.last_release import database_of_the_last_release


@pytest.fixture(scope="module")
def wanted(postgres_url: str) -> Iterator[dict[str, set[str]]]:
    """The catalogue of a database that holds nothing but what Procrastinate itself makes."""
    name = f"procrastinate_{secrets.token_hex(4)}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    url = database_url(postgres_url, name)
    with App(connector=SyncPsycopgConnector(conninfo=url)).open() as app:
        app.schema_manager.apply_schema()
    yield catalogue(url)
    drop_database(postgres_url, url)


def of_procrastinate(found: dict[str, set[str]]) -> dict[str, list[str]]:
    """Give what belongs to Procrastinate; indexes of our own on its tables have names of ours."""
    return {
        kind: sorted(part for part in parts if "procrastinate" in part and "'ksefd_" not in part)
        for kind, parts in found.items()
    }


def test_procrastinate_makes_something_of_each_kind(wanted: dict[str, set[str]]) -> None:
    assert {kind for kind, parts in wanted.items() if parts} == wanted.keys()


def test_a_new_database_has_the_schema_of_the_installed_version(wanted: dict[str, set[str]], postgres_url: str) -> None:
    url = make_database(postgres_url)
    assert of_procrastinate(catalogue(url)) == of_procrastinate(wanted)
    drop_database(postgres_url, url)


def test_a_migrated_database_of_the_last_release_has_it_too(wanted: dict[str, set[str]], postgres_url: str) -> None:
    with database_of_the_last_release(postgres_url) as url:
        migrate(url)
        assert of_procrastinate(catalogue(url)) == of_procrastinate(wanted)
