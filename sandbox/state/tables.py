"""Tables of the sandbox's state that note the records a request may have changed.

Code that changes a record need not report it. A record that a request (or a task that it started) read from a table counts as
possibly changed, and is compared with the one saved last at the end of the request. A task inherits the notes of the request
that started it, because asyncio copies the context.
"""

from collections.abc import ItemsView, Iterator, ValuesView
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeAlias, TypeVar, overload

_K = TypeVar("_K")
_V = TypeVar("_V")
_D = TypeVar("_D")

RecordId: TypeAlias = tuple[str, Any]
"""Name of the table, key of the record."""

_NOTES: ContextVar[set[RecordId] | None] = ContextVar("sandbox_notes", default=None)


class Table(dict[_K, _V]):
    """A dict that notes the keys that are read, written or removed. `peek` reads without a note."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def __getitem__(self, key: _K) -> _V:
        self._note(key)
        return super().__getitem__(key)

    @overload
    def get(self, key: _K, default: None = None, /) -> _V | None: ...
    @overload
    def get(self, key: _K, default: _V, /) -> _V: ...
    @overload
    def get(self, key: _K, default: _D, /) -> _V | _D: ...
    def get(self, key: _K, default: Any = None, /) -> Any:
        """Return the record of a key and note the key."""
        self._note(key)
        return super().get(key, default)

    def __setitem__(self, key: _K, value: _V) -> None:
        self._note(key)
        super().__setitem__(key, value)

    def __delitem__(self, key: _K) -> None:
        self._note(key)
        super().__delitem__(key)

    @overload
    def pop(self, key: _K, /) -> _V: ...
    @overload
    def pop(self, key: _K, default: _V, /) -> _V: ...
    @overload
    def pop(self, key: _K, default: _D, /) -> _V | _D: ...
    def pop(self, key: _K, *default: Any) -> Any:
        """Remove a record and note its key."""
        self._note(key)
        return super().pop(key, *default)

    def setdefault(self, key: _K, default: _V, /) -> _V:
        """Return the record of a key, after adding the default if there is none, and note the key."""
        self._note(key)
        return super().setdefault(key, default)

    def values(self) -> ValuesView[_V]:  # type: ignore[override]  # the dict's own view, which has no public type
        """Return all records and note all keys, since any record may be changed."""
        self._note(*self)
        return super().values()

    def items(self) -> ItemsView[_K, _V]:  # type: ignore[override]  # as above
        """Return all keys and records, and note all keys."""
        self._note(*self)
        return super().items()

    def peek(self) -> Iterator[_V]:
        """Return all records without a note, for callers that do not change them, or read the changed ones by key."""
        return iter(super().values())

    def _note(self, *keys: _K) -> None:
        notes = _NOTES.get()
        if notes is not None:
            notes.update((self.name, key) for key in keys)


@contextmanager
def taking_notes() -> Iterator[set[RecordId]]:
    """Collect the notes of the block and of tasks started in it."""
    notes: set[RecordId] = set()
    token = _NOTES.set(notes)
    try:
        yield notes
    finally:
        _NOTES.reset(token)


def current_notes() -> set[RecordId]:
    """Return the notes of the current context so far; empty outside `taking_notes`."""
    return _NOTES.get() or set()
