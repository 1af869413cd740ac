"""A real PostgreSQL for tests: one embedded server for the whole run, a database of its own for whoever asks."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from app.settings import Settings
from app.store.embedded import EmbeddedPostgres
from app.store.migrate import migrate


@contextmanager
def running_postgres(folder: Path) -> Iterator[str]:
    """Run a server below a folder and give its address."""
    with EmbeddedPostgres(folder) as server:
        yield server.url


def make_database(server_url: str) -> str:
    """Make an empty database with our schema on a server and give its address. Copying a template is fast."""
    template = "ksefd_template"
    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (template,)).fetchone()
        if known is None:
            connection.execute(f"CREATE DATABASE {template}")
            migrate(database_url(server_url, template))
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    return database_url(server_url, name)


def database_url(server_url: str, name: str) -> str:
    """Give the address of another database on the same server."""
    head, _, query = server_url.partition("?")
    return f"{head.rpartition('/')[0]}/{name}?{query}"


def fresh_settings(folder: Path, url: str, **overrides: Any) -> Settings:
    """Give settings for a service with its own data folder and database."""
    return Settings(data_dir=folder / "var", database_url=url, linger_seconds=0, pool_workers=1, **overrides)
