"""Access of one command to the database: the configured one, or the embedded one of the data folder."""

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import anyio.to_thread

from app.cli.operator import operator
from app.errors import ConfigurationError
from app.settings import Settings, load_settings
from app.store.audit.actor import acting_as
from app.store.backup.restore import refuse_unfinished_restore
from app.store.embedded import EmbeddedPostgres
from app.store.health import store_faults
from app.store.installation import NoInstallation, find_installation, has_schema, prepare_installation
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
    refuse_unfinished_restore(settings.data_dir)
    with EmbeddedPostgres(settings.data_dir) as server:
        yield settings.model_copy(update={"database_url": server.url})


@contextmanager
def existing_database_of(settings: Settings) -> Iterator[Settings]:
    """Provide the database of an installation that exists already; the schema of an embedded one is migrated.

    Raises NoInstallation, which names the folder, or the host and the database, WrongMasterKey or DatabaseUnavailable.
    """
    if settings.database_url is not None:
        find_installation(settings.database_url)
        yield settings
        return
    folder = settings.data_dir.expanduser().resolve()
    missing = NoInstallation(
        f"KSEFD_DATA_DIR: there is no installation in {folder}; name the folder of yours, or its database with KSEFD_DATABASE_URL "
        "(a new installation is made by `ksefd serve`)"
    )
    if not (folder / "postgres" / "PG_VERSION").is_file():
        raise missing
    with database_of(settings) as ready:
        if not has_schema(ready.database_url or ""):
            raise missing
        prepare_installation(ready)
        yield ready


@asynccontextmanager
async def local_store(settings: Settings) -> AsyncIterator[Store]:
    """Open the store of an installation for one command.

    The schema of an embedded database is migrated; that of a configured one is checked.
    Raises DatabaseUnavailable, NoInstallation, WrongMasterKey, or ConfigurationError when the schema of a configured database is not ours.
    """
    database = existing_database_of(settings)
    # The pool logs every failed try; for a command the one error line at its end is enough.
    logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)
    # Starting a server, stopping it and migrating block, so they run in a thread: the event loop must stay responsive.
    ready = await anyio.to_thread.run_sync(database.__enter__)
    try:
        async with open_store(ready, max_connections=2) as store:
            if settings.database_url is not None:
                await _refuse_other_revision(store)
            with acting_as(operator()):
                yield store
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(lambda: database.__exit__(None, None, None))


def migrate_database(settings: Settings) -> str:
    """Migrate the schema to the newest revision, make what a new installation needs, and return the revision.

    Raises DatabaseUnavailable and WrongMasterKey.
    """
    with database_of(settings) as ready:
        return prepare_installation(ready)


def settings_with_database() -> Settings:
    """Read the settings of a process on a shared database. Raises NoInstallation without KSEFD_DATABASE_URL."""
    settings = load_settings()
    if settings.database_url is None:
        raise NoInstallation(
            f"KSEFD_DATABASE_URL: not set, and a database in {settings.data_dir.expanduser().resolve()} is started by `ksefd serve` only; "
            "name the database of the installation"
        )
    return settings


async def _refuse_other_revision(store: Store) -> None:
    for part, reason in await store_faults(store):
        if part == "migrations":
            raise ConfigurationError(f"KSEFD_DATABASE_URL: {reason}")
