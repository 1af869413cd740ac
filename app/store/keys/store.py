"""Change of the master key, and counts of secrets by the key that encrypts them.

1. Secrets that the master key itself encrypts, from versions without data keys, get a data key: small transactions.
2. One transaction encrypts the data keys under the new master key, writes the new key's check value and the act. In the same
   transaction the new key is left in the database, encrypted under the old one, so that a process with the old file still starts.
3. The key file is replaced, outside this module.
4. The new key is removed from the database. From then on the old file is refused.

Each step can be killed and run again: 1 goes on, 2 is done or not, 3 and 4 are repeated.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import anyio
from psycopg.rows import DictRow

from app.errors import ConfigurationError, Conflict
from app.store.audit.acts import Act
from app.store.audit.record import record
from app.store.database import Connection, Database, queries
from app.store.database_errors import LockTimeout
from app.store.installation import hand_over, installation_of, key_check_of, key_id
from app.store.keys import places
from app.store.keys.envelope import Envelope
from app.store.keys.places import Place
from app.store.keys.ring import wrap_again
from app.store.secrets import SecretBox

_SQL: Final = queries("keys")
_INSTALLATION: Final = queries("installation")

_ROWS_AT_ONCE: Final = 200
_PASSES: Final = 600
_PAUSE_SECONDS: Final = 0.1

_PLACES: Final[Mapping[str, Callable[[Mapping[str, Any]], Place]]] = {
    "credential": lambda row: places.credential_of(row["nip"]),
    "tokens": lambda row: places.tokens_of(row["tenant_id"]),
    "session_key": lambda row: places.session_key_of(row["tenant_id"], row["session_id"]),
    "upload_target": lambda row: places.upload_target_of(row["tenant_id"], row["session_id"], row["ordinal_number"]),
    "webhook_keys": lambda row: places.webhook_keys_of(row["tenant_id"], row["endpoint_id"]),
    "webhook_headers": lambda row: places.webhook_headers_of(row["tenant_id"], row["endpoint_id"]),
}
"""Encrypted columns, by the names of their queries."""


@dataclass(frozen=True, slots=True)
class Converted:
    """Secrets that got a data key, and those that their key did not open, which stay as they are."""

    secrets: int = 0
    unreadable: int = 0


class KeyStore:
    """Data keys and the master key of the installation."""

    def __init__(self, database: Database, envelope: Envelope) -> None:
        self._database = database
        self._envelope = envelope

    async def secrets_by_key(self) -> dict[int, int]:
        """Count secrets by the number of their data key; 0 is the master key itself."""
        return {row["key"]: row["n"] for row in await self._database.fetch_all(_SQL["secrets_by_key"])}

    async def convert_direct(self, *, rows_at_once: int = _ROWS_AT_ONCE) -> Converted:
        """Encrypt under a data key all secrets that the master key itself encrypts, in small transactions."""
        secrets = 0
        for _ in range(_PASSES):
            done = unreadable = 0
            for column, place_of in _PLACES.items():
                converted = await self._convert_column(column, place_of, rows_at_once)
                done, unreadable = done + converted.secrets, unreadable + converted.unreadable
            secrets += done
            if (await self.secrets_by_key()).get(0, 0) <= unreadable:
                return Converted(secrets, unreadable)
            # Rows that a worker had locked come in the next pass.
            await anyio.sleep(_PAUSE_SECONDS)
        raise LockTimeout("a secret is locked by another transaction for too long; the command can be run again")

    async def _convert_column(
        self, column: str, place_of: Callable[[Mapping[str, Any]], Place], rows_at_once: int
    ) -> Converted:
        done = left = 0
        after = ""
        while True:
            async with self._database.transaction() as connection:
                parameters = {"after": after, "limit": rows_at_once}
                rows = await (await connection.execute(_SQL[f"direct_{column}"], parameters)).fetchall()
                for row in rows:
                    sealed = self._sealed_again(row, place_of(row))
                    if sealed is None:
                        left += 1
                        continue
                    await connection.execute(_SQL[f"set_{column}"], {**row, "value": sealed})
                    done += 1
            if not rows:
                return Converted(done, left)
            after = rows[-1]["pk"]

    def _sealed_again(self, row: DictRow, place: Place) -> bytes | None:
        try:
            return self._envelope.encrypt(self._envelope.decrypt(bytes(row["value"]), place), place)
        except ConfigurationError:
            return None

    async def hand_over(self, old: SecretBox, new_key: bytes) -> None:
        """Make another master key the installation's, in one transaction. Raises Conflict.

        A process with the file of the old key goes on until `end_hand_over`.
        """
        new = SecretBox(new_key)
        async with self._database.transaction() as connection:
            found = await _locked_installation(connection)
            if found["key_check"] is not None and bytes(found["key_check"]) != key_check_of(old):
                raise Conflict("the master key was changed meanwhile; start again with the key file in use")
            if found["handed_over"] is not None:
                raise Conflict(
                    f"the change to the key {key_id(key_check_of(old))} is unfinished: run `ksefd master-key rotate` with that "
                    "key's file first"
                )
            numbers = await wrap_again(connection, old, new)
            await connection.execute(
                _SQL["hand_over"],
                {
                    "key_check": key_check_of(new),
                    "handed_over": hand_over(old, new_key),
                    "handed_over_by": key_check_of(old),
                },
            )
            ids = {"old": key_id(key_check_of(old)), "new": key_id(key_check_of(new)), "data_keys": list(numbers)}
            record(connection, act=Act.MASTER_KEY_ROTATED, details=ids)

    async def end_hand_over(self, new: SecretBox) -> None:
        """Remove the new key from the database: from now on the old file is refused. Safe to call again."""
        await self._database.execute(_SQL["end_hand_over"], {"key_check": key_check_of(new)})


async def _locked_installation(connection: Connection) -> DictRow:
    row = await (await connection.execute(_INSTALLATION["lock_installation"])).fetchone()
    installation_of(row)
    assert row is not None  # noqa: S101 - `installation_of` raises without one
    return row
