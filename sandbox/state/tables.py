"""Tables of the sandbox's memory that know which of their records a request has had in its hands.

Nobody who changes a record has to say so. Whatever a request (or a task that it started) took out of a table counts
as possibly changed, and is compared with what was saved last when the request ends. A task inherits the notes of the
request that started it, because asyncio copies the context.
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
    """A dict that notes what is taken out of it, put into it, or removed. `look` takes a look without a note."""

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
        """The record under a key, noted."""
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
        """Take a record away, noted."""
        self._note(key)
        return super().pop(key, *default)

    def setdefault(self, key: _K, default: _V, /) -> _V:
        """The record under a key, put there if there is none, noted."""
        self._note(key)
        return super().setdefault(key, default)

    def values(self) -> ValuesView[_V]:  # type: ignore[override]  # the dict's own view, which has no public type
        """All records; each is noted, since any may be changed."""
        self._note(*self)
        return super().values()

    def items(self) -> ItemsView[_K, _V]:  # type: ignore[override]  # as above
        """All keys and records; each is noted."""
        self._note(*self)
        return super().items()

    def look(self) -> Iterator[_V]:
        """All records, for whoever changes none of them or takes those that it changes by key."""
        return iter(super().values())

    def _note(self, *keys: _K) -> None:
        notes = _NOTES.get()
        if notes is not None:
            notes.update((self.name, key) for key in keys)


@contextmanager
def taking_notes() -> Iterator[set[RecordId]]:
    """Collect the records handed out inside, and in tasks started inside."""
    notes: set[RecordId] = set()
    token = _NOTES.set(notes)
    try:
        yield notes
    finally:
        _NOTES.reset(token)


def current_notes() -> set[RecordId]:
    """The notes taken so far where this is called; empty when nobody takes any."""
    return _NOTES.get() or set()
