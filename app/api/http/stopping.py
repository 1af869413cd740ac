"""End of the bodies that are still arriving when the process stops: their senders get an answer, not a broken connection."""

from collections.abc import Iterator
from contextlib import contextmanager

import anyio

from app.api.http.errors import Stopping


class BodyStop:
    """Ends, once begun, every wait for bytes of a body with Stopping."""

    def __init__(self) -> None:
        self._begun = False
        self._waits: set[anyio.CancelScope] = set()

    def begin(self) -> None:
        """End all waits, those that have begun and those to come."""
        self._begun = True
        for scope in tuple(self._waits):
            scope.cancel()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Wait for bytes inside the block. Raises Stopping when the process stops."""
        with anyio.CancelScope() as scope:
            if self._begun:
                raise Stopping
            self._waits.add(scope)
            try:
                yield
            finally:
                self._waits.discard(scope)
        if scope.cancelled_caught:
            raise Stopping
