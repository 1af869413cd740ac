"""Access of one command to the database: the configured one, or the embedded one of the data folder."""

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import anyio.to_thread

from app.cli.operator import operator
from app.errors import ConfigurationError
from app.settings import Settings, load_settings
from app.store.audit.actor import set_actor
from app.store.embedded import EmbeddedPostgres
from app.store.health import store_faults
from app.store.migrate import migrate
from app.store.store import Store, open_store


@contextmanager
def database_of(settings: Settings) -> Iterator[Settings]:
    """Provide settings whose `database_url` answers inside the context.

    Without a configured database the embedded server of the data folder is used: the one that `ksefd serve` runs, or one
    started for this command.
    """
    if settings.database_url is not None:
        yield settings
        return
    with EmbeddedPostgres(settings.data_dir) as server:
        yield settings.model_copy(update={"database_url": server.url})


@asynccontextmanager
async def local_store(settings: Settings) -> AsyncIterator[Store]:
    """Open the store for one command. The schema of an embedded database is migrated; that of a configured one is checked.

    Raises DatabaseUnavailable, or ConfigurationError when the schema of a configured database is not ours yet.
    """
    database = database_of(settings)
    # The pool logs every failed try; for a command the one error line at its end is enough.
    logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)
    # Starting a server, stopping it and migrating block, so they run in a thread: the event loop must stay responsive.
    ready = await anyio.to_thread.run_sync(database.__enter__)
    try:
        if settings.database_url is None:
            await anyio.to_thread.run_sync(migrate, ready.database_url or "")
        async with open_store(ready, max_connections=2) as store:
            if settings.database_url is not None:
                await _refuse_other_revision(store)
            set_actor(operator())
            yield store
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(lambda: database.__exit__(None, None, None))


def migrate_database(settings: Settings) -> str:
    """Migrate the schema to the newest revision and return the revision. Raises DatabaseUnavailable."""
    with database_of(settings) as ready:
        return migrate(ready.database_url or "")


def settings_with_database() -> Settings:
    """Read the settings of a process on a shared database. Raises ConfigurationError without KSEFD_DATABASE_URL."""
    settings = load_settings()
    if settings.database_url is None:
        raise ConfigurationError("KSEFD_DATABASE_URL: not set; only `ksefd serve` starts a database of its own")
    return settings


async def _refuse_other_revision(store: Store) -> None:
    for part, reason in await store_faults(store):
        if part == "migrations":
            raise ConfigurationError(f"KSEFD_DATABASE_URL: {reason}")
