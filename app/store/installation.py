"""The installation: its database, with an id and a value by which the master key is recognised.

Only `prepare_installation` makes one. A missing or another master key is refused and never replaced: a second key would leave the
secrets of both unreadable to one of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg.errors import UndefinedColumn, UndefinedTable
from psycopg.rows import dict_row

from app.errors import ConfigurationError
from app.settings import Settings
from app.store.data_folder import prepare_data_folder
from app.store.database import queries
from app.store.database_errors import translated
from app.store.migrate import migrate
from app.store.secrets import SecretBox, make_master_key, read_master_key

_SQL: Final = queries("installation")
_CHECK_PURPOSE: Final = "installation-key-check"
_KEY_ID_BYTES: Final = 4
_KEY_COLUMNS: Final = ("key_check", "handed_over", "handed_over_by")
_HAND_OVER_PURPOSE: Final = "master-key"


class NoInstallation(ConfigurationError):
    """There is no installation where the settings say."""

    code = "no-installation"
    title = "No installation"


class WrongMasterKey(ConfigurationError):
    """The master key is missing, or is not the one of this installation."""

    code = "wrong-master-key"
    title = "Wrong master key"


@dataclass(frozen=True, slots=True)
class Installation:
    """The row of the installation."""

    id: UUID
    created_at: datetime
    key_check: bytes | None
    """Derived from the master key; None until a process with the key has written it."""
    handed_over: bytes | None = None
    """While a change of the master key is unfinished, the new key encrypted under the old one."""
    handed_over_by: bytes | None = None
    """The check value of that old key."""


def installation_of(row: Mapping[str, Any] | None) -> Installation:
    """Return the installation of a row. Raises NoInstallation without one."""
    if row is None:
        raise NoInstallation("the database has no installation; run `ksefd migrate`")
    values = {name: None if row[name] is None else bytes(row[name]) for name in _KEY_COLUMNS}
    return Installation(row["id"], row["created_at"], **values)


def key_check_of(box: SecretBox) -> bytes:
    """Return the value by which a database recognises the master key."""
    return box.derived_key(_CHECK_PURPOSE)


def key_id(key_check: bytes) -> str:
    """Return the short public name of a master key."""
    return key_check[:_KEY_ID_BYTES].hex()


def master_key_path(settings: Settings) -> Path:
    """Return the file of the master key: the configured one, or `master.key` in the data folder."""
    return (settings.master_key_file or settings.data_dir / "master.key").expanduser().resolve()


def read_box(settings: Settings, found: Installation) -> SecretBox:
    """Read the master key, which must be the installation's if that is known. Raises WrongMasterKey, ConfigurationError.

    While a change of the master key is unfinished, the file of the old key gives the new one.
    """
    path, key_check = master_key_path(settings), found.key_check
    if not path.exists():
        wanted = f" with the id {key_id(key_check)}" if key_check is not None else ""
        raise WrongMasterKey(
            f"KSEFD_MASTER_KEY_FILE: there is no {path}, and this installation has a master key{wanted}: put the copy of that file "
            "there (from your safe place, or from another machine of the installation); no new key is made"
        )
    box = SecretBox(read_master_key(path))
    if key_check is not None and key_check_of(box) != key_check:
        if found.handed_over is not None and found.handed_over_by == key_check_of(box):
            return SecretBox(box.decrypt(found.handed_over, purpose=_HAND_OVER_PURPOSE))
        raise WrongMasterKey(
            f"KSEFD_MASTER_KEY_FILE: the key in {path} has the id {key_id(key_check_of(box))}, and this installation has the key "
            f"{key_id(key_check)}: put that key's file there, or name it; nothing was changed"
        )
    return box


def prepare_installation(settings: Settings) -> str:
    """Migrate the schema, make the master key of a new installation, and return the revision. Safe to call again.

    For `serve`, `demo`, `migrate` and `restore`, which alone make an installation. Raises DatabaseError, WrongMasterKey, ConfigurationError.
    """
    if settings.database_url is None:
        raise RuntimeError("no database address")
    prepare_data_folder(settings.data_dir)
    revision = migrate(settings.database_url)
    try:
        with psycopg.connect(settings.database_url, row_factory=dict_row) as connection:
            _make_or_check_key(connection, settings)
    except psycopg.OperationalError as error:
        raise translated(error) from error
    return revision


def _make_or_check_key(connection: psycopg.Connection[dict[str, Any]], settings: Settings) -> None:
    """Make the key of a new installation or check that of an older one, and write its check value."""
    found = installation_of(connection.execute(_SQL["lock_installation"]).fetchone())
    if found.key_check is not None:
        read_box(settings, found)
        return
    secret = connection.execute(_SQL["any_secret"]).fetchone()
    path = master_key_path(settings)
    if secret is None and not path.exists():
        make_master_key(path)
    box = read_box(settings, found)
    if secret is not None and not box.opens(bytes(secret["sealed"]), purpose=secret["purpose"]):
        raise WrongMasterKey(
            f"KSEFD_MASTER_KEY_FILE: the key in {path}, id {key_id(key_check_of(box))}, cannot open the secrets of this database, "
            "which were made with another key: put that key's file there, or name it; nothing was changed"
        )
    connection.execute(_SQL["set_key_check"], {"key_check": key_check_of(box)})


def hand_over(old: SecretBox, new_key: bytes) -> bytes:
    """Encrypt a new master key under the old one, for processes that start with the file of the old one."""
    return old.encrypt(new_key, purpose=_HAND_OVER_PURPOSE)


def find_installation(database_url: str) -> Installation:
    """Return the installation of a database.

    Raises NoInstallation, which names the host and the database, and DatabaseUnavailable.
    """
    try:
        with psycopg.connect(database_url, row_factory=dict_row, connect_timeout=15) as connection:
            try:
                return installation_of(connection.execute(_SQL["installation"]).fetchone())
            except (UndefinedTable, UndefinedColumn) as error:
                raise NoInstallation(
                    f"KSEFD_DATABASE_URL: there is no installation of this version in {place_of(database_url)}; "
                    "`ksefd migrate` makes one, or brings an older one up to date"
                ) from error
    except psycopg.OperationalError as error:
        raise translated(error) from error


def has_schema(database_url: str) -> bool:
    """Return whether a database has a schema of ours, of whichever version. Raises DatabaseUnavailable."""
    try:
        with psycopg.connect(database_url, row_factory=dict_row, connect_timeout=15) as connection:
            row = connection.execute(_SQL["schema_is_there"]).fetchone()
    except psycopg.OperationalError as error:
        raise translated(error) from error
    return bool(row and row["migrated"])


def place_of(database_url: str) -> str:
    """Name the database of an address, and its host, without its password."""
    parts = psycopg.conninfo.conninfo_to_dict(database_url)
    host = parts.get("host") or parts.get("hostaddr") or "localhost"
    port = f":{parts['port']}" if parts.get("port") else ""
    return f"the database {parts.get('dbname') or parts.get('user') or ''} at {host}{port}"
