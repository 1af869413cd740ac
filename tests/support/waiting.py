"""Waiting for a condition of another process, with a deadline; never for a length of time."""

from collections.abc import Awaitable, Callable

import anyio

LONGEST_SECONDS = 60.0
_PAUSE_SECONDS = 0.1


async def poll(reached: Callable[[], Awaitable[bool]], *, seconds: float = LONGEST_SECONDS) -> None:
    """Return once the condition holds; fail when it does not within the deadline."""
    with anyio.fail_after(seconds):
        while not await reached():
            await anyio.sleep(_PAUSE_SECONDS)
