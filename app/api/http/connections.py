"""Limits the connections of one address and of all, and keeps some in reserve for health requests.

A connection over a limit is accepted in the reserve: it is served one request within two seconds, `/livez` or `/readyz`; any other
gets a refusal. When the reserve is full, its oldest connection is closed for the new one.

When all other places are taken, the connection that has rested longest makes room: it has no request under way, or one without a valid
API key. Clients without a key can therefore not hold all places.
"""

import time
from collections import Counter
from enum import Enum
from typing import Final, Protocol

from app.client_addresses import TrustedProxies, counted_address
from app.observability.logs import get_logger

MAX_CONNECTIONS: Final = 1024
"""Connections of this process, besides the reserve."""

RESERVED: Final = 256
RESERVED_OF_ADDRESS: Final = 128
"""Connections over a limit that may be open at the same time, of all addresses and of one."""

RESERVED_SECONDS: Final = 2.0
"""Time in which a connection of the reserve must send its request."""

_OTHER_FILES: Final = 256
"""File descriptors that the process needs for anything else: the database, blobs, its parts."""

_LOOKED_AT: Final = 64
_LOG_SECONDS: Final = 60.0

log = get_logger(__name__)


class Place(Enum):
    """The place of a connection, which decides what it may ask for."""

    ORDINARY = "ordinary"
    OVER_ADDRESS_LIMIT = "over the limit of its address"
    OVER_ALL = "over the limit of all"


class Connection(Protocol):
    """A connection as its limits see it."""

    @property
    def works_for_a_tenant(self) -> bool:
        """Whether a request with a valid API key is under way."""

    def drop(self) -> None:
        """Close the connection."""


class ConnectionLimits:
    """Counts the connections of a process. Belongs to one event loop."""

    def __init__(self, *, of_address: int, trusted: TrustedProxies, most: int = MAX_CONNECTIONS) -> None:
        """Start without connections. `of_address` is the limit of one address, 0 for none; trusted proxies have none."""
        self.of_address = of_address
        self.most = most
        self._trusted = trusted
        # In the order in which they began to rest.
        self._ordinary: dict[Connection, str | None] = {}
        self._reserve: dict[Connection, str | None] = {}
        self._of: Counter[str] = Counter()
        self._reserved_of: Counter[str] = Counter()
        self._refused = 0
        self._logged_at = 0.0

    @property
    def ordinary(self) -> int:
        """The number of connections in ordinary places."""
        return len(self._ordinary)

    @property
    def reserved(self) -> int:
        """The number of connections in the reserve."""
        return len(self._reserve)

    def take(self, connection: Connection, host: str | None) -> Place:
        """Give a new connection its place, which may close another one."""
        address = (
            counted_address(host) if host is not None and self.of_address and not self._trusted.trusts(host) else None
        )
        if address is not None and self._of[address] >= self.of_address:
            return self._reserve_for(connection, address, Place.OVER_ADDRESS_LIMIT)
        if len(self._ordinary) >= self.most and not self._make_room():
            return self._reserve_for(connection, address, Place.OVER_ALL)
        self._ordinary[connection] = address
        if address is not None:
            self._of[address] += 1
        return Place.ORDINARY

    def rest(self, connection: Connection) -> None:
        """Note that a connection has ended a request, so that it rests from now on."""
        if connection in self._ordinary:
            self._ordinary[connection] = self._ordinary.pop(connection)

    def release(self, connection: Connection) -> None:
        """Free the place of a connection. Safe to call twice."""
        if connection in self._ordinary:
            _uncount(self._of, self._ordinary.pop(connection))
        elif connection in self._reserve:
            _uncount(self._reserved_of, self._reserve.pop(connection))

    def _reserve_for(self, connection: Connection, address: str | None, place: Place) -> Place:
        self._log(address, place)
        if address is not None and self._reserved_of[address] >= RESERVED_OF_ADDRESS:
            self._drop(next(one for one, its in self._reserve.items() if its == address))
        elif len(self._reserve) >= RESERVED:
            self._drop(next(iter(self._reserve)))
        self._reserve[connection] = address
        if address is not None:
            self._reserved_of[address] += 1
        return place

    def _make_room(self) -> bool:
        for connection in [one for one, _ in zip(self._ordinary, range(_LOOKED_AT), strict=False)]:
            if not connection.works_for_a_tenant:
                self._log(None, Place.OVER_ALL)
                self._drop(connection)
                return True
            # Its turn comes again after all others.
            self.rest(connection)
        return False

    def _drop(self, connection: Connection) -> None:
        self.release(connection)
        connection.drop()

    def _log(self, address: str | None, place: Place) -> None:
        self._refused += 1
        now = time.monotonic()
        if not self._logged_at or now - self._logged_at > _LOG_SECONDS:
            log.warning("connections_limited", address=address, reason=place.value, connections=self._refused)
            self._logged_at, self._refused = now, 0


def _uncount(counter: Counter[str], address: str | None) -> None:
    if address is None:
        return
    counter[address] -= 1
    if not counter[address]:
        del counter[address]


def connections_that_fit(files: int) -> int:
    """Return the number of ordinary connections that a process with this limit on open files can have."""
    return max(_LOOKED_AT, min(MAX_CONNECTIONS, files - RESERVED - _OTHER_FILES))
