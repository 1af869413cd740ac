"""State file: an SQLite database, and a folder of parts, packages and receipts.

SQLite is used instead of a journal of our own: it recovers by itself from a kill during a write, changes single records in
place, so that the file does not grow with every status call, and can be read with a common tool. Before an answer is sent, the
records that its request may have changed are compared with those saved last, and the differences are written in one
transaction. A killed process loses no change that it has answered; after a power failure the last moments may be lost, since
no write waits for the disk.

Records are pickled; references between them and to files are written as names. Reading accepts only values of the state's
classes, so a foreign file can confuse the sandbox but cannot run code.
"""

import asyncio
import io
import pickle
import sqlite3
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeAlias

from sandbox.state.memory import SandboxState
from sandbox.state.ratelimits import LimitKey, RateLimiter
from sandbox.state.records.logins import AuthOperation
from sandbox.state.records.sessions import Invoice, Session
from sandbox.state.tables import RecordId, Table

_FORMAT = "6"
_SLICE = 200
"""Invoices in one row: about two milliseconds of pickling, after which other requests may run."""
_RECORDS = """CREATE TABLE IF NOT EXISTS records
(kind TEXT NOT NULL, key TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (kind, key))"""
_BOOKINGS = """CREATE TABLE IF NOT EXISTS bookings
(context TEXT NOT NULL, address TEXT NOT NULL, grp TEXT NOT NULL, moment REAL NOT NULL)"""
_WHOLE = "whole"
"""Kind of the rows that contain a small field of the state, or a value besides the state, as a whole."""
_INVOICES = "invoices"
_FROM_ELSEWHERE = {
    "builtins": {"set", "frozenset"},
    "collections": {"Counter", "deque"},
    "datetime": {"datetime", "date", "timedelta", "timezone"},
}
_OURS = {
    *(
        f"sandbox.state.records.{area}"
        for area in ("certificates", "common", "limits", "logins", "sessions", "testdata")
    ),
    "sandbox.pool.forms",
    "sandbox.pool.outcome",
    "sandbox.state.faults",
    "sandbox.clock",
    "sandbox.state.ratelimits",
}

Row: TypeAlias = tuple[str, str, bytes | None]
"""Kind, key, body; a body of None removes the row."""


class UnusableState(Exception):
    """The file is not usable by this version of the sandbox."""


class StateFile:
    """One state on disk. `read` loads it, `save` writes changes, and `close` must precede the end of the process."""

    def __init__(self, path: Path) -> None:
        self.folder = path.with_name(path.name + ".files")
        self._connection = sqlite3.connect(path, timeout=0.5, check_same_thread=False, isolation_level=None)
        try:
            # Two sandboxes on one file would overwrite each other's changes; the lock of a killed one ends with it.
            self._connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = OFF")
            self._connection.execute(_RECORDS)
            self._connection.execute(_BOOKINGS)
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise UnusableState(str(error)) from error
        self._saving = asyncio.Lock()
        """Lock from the first comparison to the last written row: an answer may rely on rows that another one has compared."""
        # One thread writes, so that the event loop does not wait for the disk.
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="sandbox-state")
        self._saved: dict[tuple[str, str], bytes] = {}
        self._finished: set[str] = set()
        """Sessions whose invoices have their final status and have been saved."""
        self.written = 0
        """The number of rows written since the start."""
        self.folder.mkdir(parents=True, exist_ok=True)

    # Reading

    def read(self, wholes: Iterable[str]) -> tuple[SandboxState, dict[str, Any]] | None:
        """Load the state and the named other values; None when the file is new. Raises UnusableState."""
        rows = {
            (kind, key): body for kind, key, body in self._connection.execute("SELECT kind, key, body FROM records")
        }
        if not rows:
            return None
        reader = _Reader(rows, self.folder)
        state = SandboxState()
        try:
            if reader.load(_WHOLE, "format") != _FORMAT:
                raise UnusableState("written by another version of the sandbox; remove it to start anew")
            reader.fill(state)
            others = {name: reader.load(_WHOLE, name) for name in wholes if (_WHOLE, name) in rows}
        except (pickle.UnpicklingError, AttributeError, EOFError, KeyError, TypeError, ValueError) as error:
            raise UnusableState(f"not a state of this sandbox: {error}") from error
        state.index()
        self._saved = {place: _digest(body) for place, body in rows.items()}
        self._finished = {session.reference_number for session in state.sessions.peek() if session.is_final}
        self._remove_strays(state)
        return state, others

    def read_bookings(self, limiter: RateLimiter, since: float) -> None:
        """Pass the requests of earlier runs that are still in a window to the limiter."""
        self._connection.execute("DELETE FROM bookings WHERE moment < ?", (since,))
        for *key, moment in self._connection.execute(
            "SELECT context, address, grp, moment FROM bookings ORDER BY moment"
        ):
            limiter.recall((key[0], key[1], key[2]), moment)

    def _remove_strays(self, state: SandboxState) -> None:
        """Delete files that no record names, left by work in progress when the process was killed."""
        known = {page.path for page in state.receipts.peek()}
        for session in state.sessions.peek():
            known.update(part.path for part in session.parts.values() if part.path is not None)
            known.update(page.path for page in session.upo_pages)
            known.update(invoice.document for invoice in session.invoices if invoice.document is not None)
            if session.package is not None:
                known.add(session.package)
        for path in self.folder.iterdir():
            if path not in known:
                # A pool process of the killed sandbox may remove the file at the same time.
                path.unlink(missing_ok=True)

    # Writing

    async def save(
        self, state: SandboxState, notes: set[RecordId], others: dict[str, Any], bookings: list[tuple[LimitKey, float]]
    ) -> None:
        """Write all differences to the last save: the noted records, the small fields, the given other values.

        `bookings` is emptied. When this returns, changes found by an earlier call are written too: if two requests changed one
        record, neither is answered before the record is saved, and its newer row is written last.
        """
        async with self._saving:
            await self._save(state, notes, others, bookings)

    async def _save(
        self, state: SandboxState, notes: set[RecordId], others: dict[str, Any], bookings: list[tuple[LimitKey, float]]
    ) -> None:
        rows: list[Row] = []
        for name, key in list(notes):
            table: Table[Any, Any] = getattr(state, name)
            record = dict.get(table, key)
            if isinstance(record, Session):
                await self._add_invoices(rows, record)
            self._add(rows, name, str(key), record)
        for item in fields(state):
            value = getattr(state, item.name)
            if not isinstance(value, Table) and "derived" not in item.metadata:
                self._add(rows, _WHOLE, item.name, value)
        for name, value in ({"format": _FORMAT} | others).items():
            self._add(rows, _WHOLE, name, value)
        booked = [(*key, moment) for key, moment in bookings]
        bookings.clear()
        if rows or booked:
            self.written += len(rows) + len(booked)
            await self._write(lambda: self._insert(rows, booked))

    async def empty(self) -> None:
        """Delete all saved data."""
        async with self._saving:
            self._saved.clear()
            self._finished.clear()
            await self._write(self._delete)

    def close(self) -> None:
        """Finish writing and close the file."""
        self._writer.shutdown()
        self._connection.close()

    async def _add_invoices(self, rows: list[Row], session: Session) -> None:
        reference = session.reference_number
        invoices = session.decided or session.invoices
        if reference in self._finished and invoices:
            return
        finished = session.is_final or bool(session.decided)
        count = -(-len(invoices) // _SLICE)
        for number in range(count):
            self._add(rows, _INVOICES, f"{reference}:{number}", invoices[number * _SLICE : (number + 1) * _SLICE])
            await asyncio.sleep(0)
        while (_INVOICES, f"{reference}:{count}") in self._saved:
            self._add(rows, _INVOICES, f"{reference}:{count}", None)
            count += 1
        if finished:
            self._finished.add(reference)

    def _add(self, rows: list[Row], kind: str, key: str, value: Any) -> None:
        place = kind, key
        if value is None:
            if self._saved.pop(place, None) is not None:
                rows.append((kind, key, None))
            return
        body = _pickled(value, self.folder)
        digest = _digest(body)
        if self._saved.get(place) != digest:
            self._saved[place] = digest
            rows.append((kind, key, body))

    async def _write(self, work: Callable[[], None]) -> None:
        # The shield lets a started write finish even if its request is cancelled.
        await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._writer, work))

    def _insert(self, rows: list[Row], booked: list[tuple[str, str, str, float]]) -> None:
        connection = self._connection
        connection.execute("BEGIN")
        for kind, key, body in rows:
            if body is None:
                connection.execute("DELETE FROM records WHERE kind = ? AND key = ?", (kind, key))
            else:
                connection.execute("INSERT OR REPLACE INTO records VALUES (?, ?, ?)", (kind, key, body))
        connection.executemany("INSERT INTO bookings VALUES (?, ?, ?, ?)", booked)
        connection.execute("COMMIT")

    def _delete(self) -> None:
        self._connection.execute("BEGIN")
        self._connection.execute("DELETE FROM records")
        self._connection.execute("DELETE FROM bookings")
        self._connection.execute("COMMIT")


class _Pickler(pickle.Pickler):
    """Pickler of one record; other records and files in it become names."""

    def __init__(self, target: io.BytesIO, root: object, folder: Path) -> None:
        super().__init__(target, protocol=5)
        self._root = root
        self._folder = folder

    def persistent_id(self, value: Any) -> Any:
        """Return the name of a record or file that is written by name; None for values written in place."""
        if isinstance(value, Path):
            if value.parent != self._folder:
                raise ValueError("the state names a file outside its folder")
            return "file", value.name
        if value is self._root:
            return None
        if isinstance(value, AuthOperation):
            return "logins", value.reference_number
        if isinstance(value, Session):
            return "sessions", value.reference_number
        return None


class _Reader:
    """Reader of rows; each row becomes one record, which all references share."""

    def __init__(self, rows: dict[tuple[str, str], bytes], folder: Path) -> None:
        self._rows = rows
        self._folder = folder
        self._made: dict[tuple[str, str], Any] = {}

    def fill(self, state: SandboxState) -> None:
        """Put every saved record into the state."""
        known = {item.name: getattr(state, item.name) for item in fields(state) if "derived" not in item.metadata}
        for kind, key in self._rows:
            if isinstance(known.get(kind), Table):
                known[kind][key] = self.load(kind, key)
            elif kind == _WHOLE and key in known:
                setattr(state, key, self.load(kind, key))

    def load(self, kind: str, key: str) -> Any:
        """Load the value of one row."""
        place = kind, key
        if place not in self._made:
            value = _Unpickler(self._rows[place], self._by_name).load()
            self._made[place] = value
            if isinstance(value, Session):
                self._add_invoices(value)
        return self._made[place]

    def _add_invoices(self, session: Session) -> None:
        invoices: list[Invoice] = []
        number = 0
        while (_INVOICES, place := f"{session.reference_number}:{number}") in self._rows:
            invoices += self.load(_INVOICES, place)
            number += 1
        # A package's verdicts are published together, with the session's final status; an online session's one by one.
        if session.is_final or session.kind == "Online":
            session.invoices = invoices
            session.by_reference = {invoice.reference_number: invoice for invoice in invoices}
        else:
            session.decided = invoices

    def _by_name(self, name: tuple[str, str]) -> Any:
        kind, key = name
        return self._folder / key if kind == "file" else self.load(kind, key)


class _Unpickler(pickle.Unpickler):
    """Unpickler of one record; it accepts only values of the sandbox's own classes."""

    def __init__(self, body: bytes, by_name: Callable[[tuple[str, str]], Any]) -> None:
        super().__init__(io.BytesIO(body))
        self._by_name = by_name

    def persistent_load(self, name: Any) -> Any:
        """Return the record or file of that name."""
        return self._by_name(name)

    def find_class(self, module: str, name: str) -> Any:
        """Return a class that a state may contain; other classes are rejected."""
        if name in _FROM_ELSEWHERE.get(module, ()):
            return super().find_class(module, name)
        if module in _OURS:
            found = super().find_class(module, name)
            if isinstance(found, type) and found.__module__ == module:
                return found
        raise pickle.UnpicklingError(f"{module}.{name} has no place in a state")


def _pickled(value: Any, folder: Path) -> bytes:
    if isinstance(value, Session):
        value = replace(value, invoices=[], by_reference={}, decided=[])
    target = io.BytesIO()
    _Pickler(target, value, folder).dump(value)
    return target.getvalue()


def _digest(body: bytes) -> bytes:
    return blake2b(body, digest_size=16).digest()
