"""Cache of event payloads, read once for all endpoints that get them."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from app.store.events.delivery_queue import Body
from app.store.store import Store

CACHED_BYTES: Final = 16_000_000
"""Bytes of payloads that are kept for other endpoints of the same event."""


class PayloadCache:
    """Payloads of events by sequence number, at most `most_bytes` of them; the least recently used go first."""

    def __init__(self, store: Store, most_bytes: int = CACHED_BYTES) -> None:
        self._store = store
        self._most = most_bytes
        self._kept: OrderedDict[int, Body] = OrderedDict()
        self._bytes = 0

    async def of(self, sequences: Iterable[int]) -> dict[int, Body]:
        """Return the payloads of these events, reading those that are not cached."""
        wanted = set(sequences)
        found = {sequence: self._kept[sequence] for sequence in wanted if sequence in self._kept}
        missing = wanted - found.keys()
        if missing:
            read = await self._store.delivery_queue.bodies(missing)
            found |= read
            for sequence, body in read.items():
                self._kept[sequence] = body
                self._bytes += len(body.content)
        for sequence in found:
            self._kept.move_to_end(sequence)
        while self._bytes > self._most and self._kept:
            self._bytes -= len(self._kept.popitem(last=False)[1].content)
        return found
