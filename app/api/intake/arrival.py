"""A body that is being received: its size so far, its rate, and its place among the bodies of all tenants."""

from collections.abc import AsyncIterator, Callable
from typing import Final

import anyio
from starlette.requests import Request

from app.api.http.errors import BodyTooSlow, Busy
from app.api.http.stopping import BodyStop

IDLE_SECONDS: Final = 60.0
"""How long a client may pause in the middle of a body."""

LEAST_BYTES_A_SECOND: Final = 5_000
WINDOW_SECONDS: Final = 60.0
"""A body must bring 300,000 bytes in each minute that the service waits for it: what the service needs for itself does not count."""


class Pace:
    """The rate at which a client sends. Only time counts in which the service waits for bytes; times are given, not read."""

    def __init__(self) -> None:
        self._waited = 0.0
        self._bytes = 0
        self._since: float | None = None
        self._last_rate: float | None = None

    def begin(self, now: float) -> None:
        """Begin to wait for bytes."""
        self._since = now

    def end(self, now: float, size: int) -> None:
        """End the wait with `size` bytes. Raises BodyTooSlow when a minute of waiting brought too few."""
        if self._since is not None:
            self._waited += now - self._since
            self._since = None
        self._bytes += size
        if self._waited >= WINDOW_SECONDS:
            self._last_rate = self._bytes / self._waited
            self._waited, self._bytes = 0.0, 0
            if self._last_rate < LEAST_BYTES_A_SECOND:
                raise BodyTooSlow(
                    f"{self._last_rate:.0f} bytes a second arrived for {WINDOW_SECONDS:.0f} seconds; "
                    f"send at least {LEAST_BYTES_A_SECOND}"
                )

    def bytes_a_second(self, now: float) -> float:
        """Return the rate of the present minute, or of the minute before while this one is young."""
        waited = self._waited + (now - self._since if self._since is not None else 0.0)
        if self._last_rate is not None and waited < WINDOW_SECONDS / 4:
            return self._last_rate
        return self._bytes / waited if waited > 0 else float("inf")


class Arrival:
    """A body that is being received, and counted meanwhile."""

    def __init__(self, tenant_id: int, declared: int | None, check_growth: Callable[[int], None]) -> None:
        """Start before the first byte. `check_growth` is called with the tenant when more arrives than was declared."""
        self.tenant_id = tenant_id
        self.booked = declared or 1
        self.received = 0
        self.pace = Pace()
        self.has_slot = False
        self._check_growth = check_growth
        self._waiting: anyio.CancelScope | None = None
        self._is_ended = False

    def grow_to(self, size: int) -> None:
        """Count the received bytes, and check the limits when they exceed the declared size.

        Raises TenantLimitReached, SpoolFull, DiskLow.
        """
        self.received = size
        if size > self.booked:
            self.booked = size
            self._check_growth(self.tenant_id)

    def end_early(self) -> None:
        """End the reception, since another tenant has no slot; the request gets Busy."""
        self._is_ended = True
        if self._waiting is not None:
            self._waiting.cancel()

    def refuse_ended(self) -> None:
        """Raise Busy when the reception was ended early."""
        if self._is_ended:
            raise Busy("another tenant had no upload slot, and this was the slowest of your uploads; send it again")

    async def next_piece(self, stream: AsyncIterator[bytes]) -> bytes | None:
        """Return the next bytes, None at the end. Raises BodyTooSlow, Busy, and ClientDisconnect."""
        self.refuse_ended()
        self.pace.begin(anyio.current_time())
        with anyio.move_on_after(IDLE_SECONDS) as scope:
            self._waiting = scope
            piece = await anext(stream, None)
            self._waiting = None
            self.pace.end(anyio.current_time(), len(piece or b""))
            return piece
        self._waiting = None
        self.refuse_ended()
        raise BodyTooSlow(f"no byte of the body arrived for {IDLE_SECONDS:.0f} seconds")


async def pieces(request: Request, arrival: Arrival | None = None) -> AsyncIterator[bytes]:
    """Yield the body piece by piece.

    Raises BodyTooSlow when it comes too slowly, Busy when the arrival is ended early, Stopping when this process stops,
    ClientDisconnect when the client disconnects.
    """
    stream = request.stream()
    stop: BodyStop = request.state.body_stop
    arrival = arrival or Arrival(0, None, lambda _: None)
    while True:
        with stop.waiting():
            piece = await arrival.next_piece(stream)
        if piece is None:
            return
        if piece:
            yield piece
