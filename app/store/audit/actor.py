"""The actor of an act: an API key, a person at the command line, or a worker.

A request and a command set it once; everything that they call records it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Actor:
    """The actor of an act. `kind` is `key` (an API key, by its label), `cli` (user@host) or `worker`."""

    kind: str
    name: str
    request_id: str | None = None
    """Of the HTTP request; the log lines of the request have it, too."""


WORKER: Final = Actor("worker", "worker")

_actor: Final[ContextVar[Actor]] = ContextVar("ksefd_actor", default=WORKER)


def current_actor() -> Actor:
    """Return the actor of the present request or command; a worker without one."""
    return _actor.get()


def set_actor(actor: Actor) -> None:
    """Set the actor for the rest of the present task, which serves one request."""
    _actor.set(actor)


@contextmanager
def acting_as(actor: Actor) -> Iterator[None]:
    """Set the actor for a block."""
    token = _actor.set(actor)
    try:
        yield
    finally:
        _actor.reset(token)
