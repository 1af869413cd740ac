"""The database, key and blobs that the last release left behind (`tests/data`), loaded for a test."""

import gzip
import json
import secrets
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import sql

from tests.support.database import database_url, drop_database

FOLDER: Final = Path(__file__).resolve().parents[1] / "data" / "d433c5d"
FACTS: Final[dict[str, Any]] = json.loads((FOLDER / "facts.json").read_text(encoding="utf-8"))
"""When the data was made, the API keys by NIP, rows by table, and rows by table and state."""
MAIN, CERTIFICATE, TOKEN, LATE, DISABLED, BLOCKED, STOPPED = (f"{digit}{digit}00000000" for digit in range(2, 9))
"""The tenants, by what their data is for; tests/data/d433c5d/README.md describes each."""


def load_dump(database_url: str) -> None:
    """Run the dump in an empty database: the schema and the rows of the last release."""
    statements = gzip.decompress((FOLDER / "database.sql.gz").read_bytes()).decode()
    with psycopg.connect(database_url) as connection:
        connection.execute(statements.encode())


def load_files(data_dir: Path) -> None:
    """Put the master key and the blobs into an empty data folder."""
    data_dir.mkdir(parents=True)
    key = data_dir / "master.key"
    shutil.copyfile(FOLDER / "master.key", key)
    key.chmod(0o600)
    with zipfile.ZipFile(FOLDER / "blobs.zip") as archive:
        archive.extractall(data_dir / "blobs")


@contextmanager
def database_of_the_last_release(server_url: str) -> Iterator[str]:
    """Make a database with the dump on a server, give its address, and drop it at the end."""
    name = f"last_release_{secrets.token_hex(4)}"
    url = database_url(server_url, name)
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    try:
        load_dump(url)
        yield url
    finally:
        drop_database(server_url, url)
