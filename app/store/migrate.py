"""Bring the database schema up to date with Alembic; safe to call from many processes at once."""

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from app.store.database_errors import translated

_SCRIPTS: Final = Path(__file__).parent / "migrations"
# Any number that no other program on the database uses: one migration at a time.
_LOCK: Final = 7_316_442_001


def migrate(database_url: str) -> str:
    """Upgrade the schema to the newest revision and return its name. A second call changes nothing.

    Raises DatabaseError: DatabaseUnavailable when the server does not take the connection, LockTimeout when a running
    transaction keeps a table locked for longer than a migration waits.
    """
    try:
        return _upgrade(database_url)
    except OperationalError as error:
        cause = error.orig if isinstance(error.orig, Exception) else error
        raise translated(cause) from cause


def _upgrade(database_url: str) -> str:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    engine = create_engine(_sqlalchemy_url(database_url), poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": _LOCK})
        connection.commit()
        try:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
            revision = MigrationContext.configure(connection).get_current_revision()
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": _LOCK})
            connection.commit()
    engine.dispose()
    return revision or ""


def newest_revision() -> str:
    """Name the revision that this code was written for."""
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    return ScriptDirectory.from_config(config).get_current_head() or ""


def known_revisions() -> set[str]:
    """Return every revision that this code can migrate from, and the newest."""
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    return {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}


def _sqlalchemy_url(database_url: str) -> str:
    scheme, _, rest = database_url.partition("://")
    return f"postgresql+psycopg://{rest}" if scheme in {"postgresql", "postgres"} else database_url
