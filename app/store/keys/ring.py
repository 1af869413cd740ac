"""The data keys of an installation, each encrypted under the master key."""

import os
from collections.abc import Sequence
from typing import Final

from psycopg.rows import DictRow

from app.store.database import Connection, Database, queries
from app.store.keys.envelope import FIRST, Envelope
from app.store.secrets import SecretBox

_SQL: Final = queries("keys")


async def open_envelope(database: Database, master: SecretBox) -> Envelope:
    """Read the data keys; make the first one in a database that has none. Raises ConfigurationError for another master key."""
    rows = await database.fetch_all(_SQL["data_keys"])
    if not rows:
        # Of several processes one makes it, and all read that one.
        first = {"number": FIRST, "wrapped": wrap(master, FIRST, os.urandom(32))}
        await database.execute(_SQL["add_data_key"], first)
        rows = await database.fetch_all(_SQL["data_keys"])
    return Envelope(master, {row["number"]: _unwrap(master, row) for row in rows})


async def wrap_again(connection: Connection, old: SecretBox, new: SecretBox) -> Sequence[int]:
    """Encrypt each data key under another master key; return their numbers."""
    rows = await (await connection.execute(_SQL["lock_data_keys"])).fetchall()
    for row in rows:
        number = row["number"]
        wrapped = wrap(new, number, _unwrap(old, row))
        await connection.execute(_SQL["set_data_key"], {"number": number, "wrapped": wrapped})
    return [row["number"] for row in rows]


def wrap(master: SecretBox, number: int, key: bytes) -> bytes:
    """Encrypt a data key under the master key, bound to its number."""
    return master.encrypt(key, purpose=f"data-key:{number}")


def _unwrap(master: SecretBox, row: DictRow) -> bytes:
    return master.decrypt(bytes(row["wrapped"]), purpose=f"data-key:{row['number']}")
