"""Identifiers: time-ordered UUIDs inside, readable prefixes outside.

An invoice's id is its chunk's id plus its position in the chunk: one index serves the search by id, the invoices of a
chunk and the order of arrival.
"""

import re
from collections.abc import Iterator
from typing import Final
from uuid import UUID

from app.errors import NotFound

CHUNK_CAPACITY: Final = 1 << 16
"""Invoices that one chunk id leaves room for: its lowest 16 bits are zero."""

_PUBLIC = re.compile(r"([a-z]{2,4})_([0-9a-f]{32})")


def time_ordered_id(now_ms: int, randomness: bytes) -> UUID:
    """Make a version 7 UUID from a time in milliseconds since 1970 (UTC) and at least 10 random bytes (RFC 9562)."""
    random_bits = int.from_bytes(randomness[:10], "big")
    value = (now_ms & ((1 << 48) - 1)) << 80
    value |= 0x7 << 76
    value |= ((random_bits >> 62) & 0xFFF) << 64
    value |= 0b10 << 62
    value |= random_bits & ((1 << 62) - 1)
    return UUID(int=value)


def chunk_id(now_ms: int, randomness: bytes) -> UUID:
    """Make a chunk's id: time-ordered, with its lowest 16 bits zero so that positions can be added."""
    return UUID(int=time_ordered_id(now_ms, randomness).int & ~(CHUNK_CAPACITY - 1))


def sibling_chunk_id(chunk: UUID, number: int) -> UUID:
    """Give the id of the chunk that takes the invoices of another form out of the same entries; number 0 is `chunk` itself."""
    return UUID(int=chunk.int ^ number * CHUNK_CAPACITY)


def invoice_id(chunk: UUID, position: int) -> UUID:
    """Give the id of the invoice at a position (from 0) of a chunk."""
    if not 0 <= position < CHUNK_CAPACITY:
        raise ValueError(f"a chunk has no position {position}")
    return UUID(int=chunk.int + position)


def invoice_ids_hex(chunk: UUID, count: int) -> Iterator[str]:
    """Give the 32 hex digits of the ids of a chunk's first `count` invoices, without making ids of them."""
    if not 0 <= count <= CHUNK_CAPACITY:
        raise ValueError(f"a chunk does not hold {count} invoices")
    prefix = chunk.hex[:-4]
    return (f"{prefix}{position:04x}" for position in range(count))


def public_id(prefix: str, value: UUID) -> str:
    """Write an id as users see it, such as `inv_0198f2...`: the prefix, an underscore and 32 hex digits."""
    return f"{prefix}_{value.hex}"


def parse_public_id(prefix: str, text: str) -> UUID:
    """Read an id that a user gave. Raises NotFound when it cannot be one: nothing has such an id."""
    match = _PUBLIC.fullmatch(text)
    if match is None or match.group(1) != prefix:
        raise NotFound(f"there is no {text[:64]!r}: ids of this kind start with '{prefix}_' and have 32 hex digits")
    return UUID(hex=match.group(2))


def entry_name(value: UUID) -> str:
    """Name an invoice's entry in a package: our invoice id and `.xml`; safe in ZIP and ustar alike."""
    return f"inv_{value.hex}.xml"


def invoice_of_entry(name: str) -> UUID | None:
    """Read the invoice id back from an entry name, None when the name is not one of ours."""
    match = _PUBLIC.fullmatch(name.removesuffix(".xml"))
    return UUID(hex=match.group(2)) if match and match.group(1) == "inv" else None
