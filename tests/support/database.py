"""A real PostgreSQL for tests: a server and a database for each test process, more databases where a test asks.

The server writes nothing through to the disk: its data ends with the run. Tests of crashes use the server that
`ksefd serve` starts by itself, which does.
"""

import fcntl
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from app.settings import Settings
from app.store.embedded import EmbeddedPostgres
from app.store.migrate import migrate
from app.store.secrets import make_master_key

GIVEN_SERVER = "KSEFD_TEST_DATABASE_URL"
"""Names a server to test against, in place of the embedded one."""
_PROCESS = os.environ.get("PYTEST_XDIST_WORKER", "tests")
_TEMPLATE = "ksefd_template"
_DURABILITY = ("fsync", "full_page_writes", "synchronous_commit")
_OURS = "nspname <> 'information_schema' AND nspname NOT LIKE 'pg\\_%'"


@contextmanager
def running_postgres(folder: Path) -> Iterator[str]:
    """Run a server for this test process below the folder of the run and give its address.

    No server is shared: an event is shown when no older transaction of any database on its server is open, so that a
    test in another process could delay it. `KSEFD_TEST_DATABASE_URL` names a server to use instead: a superuser's, with
    nothing on it that is to be kept, and one run of one process at a time. Its durability stays as it is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if given := os.environ.get(GIVEN_SERVER):
        _prepare_given(folder, given)
        yield given
        return
    with EmbeddedPostgres(folder / f"{_PROCESS}-{os.getpid()}") as server:
        with psycopg.connect(server.url, autocommit=True) as connection:
            for name in _DURABILITY:
                connection.execute(sql.SQL("ALTER SYSTEM SET {} = off").format(sql.Identifier(name)))
            connection.execute("SELECT pg_reload_conf()")
            _make_template(connection, server.url)
        yield server.url


def _prepare_given(folder: Path, server_url: str) -> None:
    """Make the template anew once a run: an earlier run may have left one with an older schema."""
    done = folder / "template.done"
    with (folder / "template.lock").open("w") as lock, psycopg.connect(server_url, autocommit=True) as connection:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if done.exists():
            return
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (_TEMPLATE,)).fetchone():
            connection.execute(f"ALTER DATABASE {_TEMPLATE} IS_TEMPLATE false")
            connection.execute(f"DROP DATABASE {_TEMPLATE} WITH (FORCE)")
        _make_template(connection, server_url)
        done.touch()


def _make_template(connection: psycopg.Connection[Any], server_url: str) -> None:
    """Make the database that others are copies of. Nothing connects to it later."""
    connection.execute(f"CREATE DATABASE {_TEMPLATE}")
    migrate(database_url(server_url, _TEMPLATE))
    connection.execute(f"ALTER DATABASE {_TEMPLATE} ALLOW_CONNECTIONS false IS_TEMPLATE true")


def make_database(server_url: str) -> str:
    """Make an empty database with our schema on a server and give its address."""
    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        # Copying files is four times as fast as logging their content, as long as nothing waits for the disk.
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE} STRATEGY FILE_COPY")
    return database_url(server_url, name)


def drop_database(server_url: str, url: str) -> None:
    """Drop a database with every connection to it."""
    name = sql.Identifier(str(psycopg.conninfo.conninfo_to_dict(url)["dbname"]))
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


def database_url(server_url: str, name: str) -> str:
    """Give the address of another database on the same server; its connections carry the name of the test process."""
    head, _, query = server_url.partition("?")
    owner = f"application_name={_PROCESS}"
    query = "&".join([*(part for part in query.split("&") if part and "application_name=" not in part), owner])
    return f"{head.rpartition('/')[0]}/{name}?{query}"


class ReusedDatabase:
    """A database that one test after the other gets empty: deleting what a test left is faster than a new database."""

    def __init__(self, server_url: str) -> None:
        self._server_url = server_url
        self.url = make_database(server_url)
        with psycopg.connect(self.url, autocommit=True) as connection:
            tables = _column(
                connection,
                f"SELECT format('%I.%I', nspname, relname) FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace "
                f"WHERE relkind = 'r' AND {_OURS} AND relname NOT IN ('alembic_version', 'installation')",
            )
            self._schema = _schema_of(connection)
        self._empty = (
            "BEGIN; SET LOCAL session_replication_role = replica; "
            + "".join(f"DELETE FROM {table}; " for table in tables)
            + "UPDATE installation SET key_check = NULL, handed_over = NULL, handed_over_by = NULL; COMMIT"
        )

    def empty(self) -> None:
        """Delete all rows, start every sequence anew and end connections that a test left open.

        Raises AssertionError when a test changed the schema, and makes a new database for the next one.
        """
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )
            if _schema_of(connection) != self._schema:
                self.drop()
                self.url = make_database(self._server_url)
                raise AssertionError("a test changed the schema; mark it with own_database")
            connection.execute(self._empty)
            connection.execute(
                "SELECT setval(format('%I.%I', schemaname, sequencename)::regclass, start_value, false) "
                "FROM pg_sequences WHERE last_value IS NOT NULL"
            )

    def drop(self) -> None:
        """Drop the database with every connection to it."""
        drop_database(self._server_url, self.url)


def _schema_of(connection: psycopg.Connection[Any]) -> Sequence[Any]:
    """Count tables, indexes, columns, functions, triggers and constraints: equal for the same schema."""
    row = connection.execute(
        f"SELECT (SELECT count(*) FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace WHERE {_OURS}), "
        f"(SELECT count(*) FROM pg_attribute JOIN pg_class c ON c.oid = attrelid JOIN pg_namespace n "
        f"ON n.oid = relnamespace WHERE {_OURS} AND NOT attisdropped), "
        f"(SELECT count(*) FROM pg_proc JOIN pg_namespace n ON n.oid = pronamespace WHERE {_OURS}), "
        f"(SELECT count(*) FROM pg_trigger), (SELECT count(*) FROM pg_constraint)"
    ).fetchone()
    assert row is not None
    return tuple(row)


def _column(connection: psycopg.Connection[Any], query: str) -> list[Any]:
    return [row[0] for row in connection.execute(query.encode()).fetchall()]


def fresh_settings(folder: Path, url: str, **overrides: Any) -> Settings:
    """Give settings for a service with its own database, and a data folder that has a master key."""
    (folder / "var").mkdir(exist_ok=True)
    key = folder / "var" / "master.key"
    if not key.exists():
        make_master_key(key)
    return Settings(data_dir=folder / "var", database_url=url, linger_seconds=0, pool_workers=1, **overrides)
