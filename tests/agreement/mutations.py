"""All mutations by name: what is done to a valid invoice, by dice that a seed decides.

A mutation is a function of bytes and dice that gives bytes. It never fails: where it finds nothing to change it gives
the document back. Most of its outcomes are invalid, and a good part stays valid in some unusual way.
"""

from collections.abc import Callable
from random import Random

from tests.agreement import byte_mutations, element_mutations, header_mutations, value_mutations

Mutation = Callable[[bytes, Random], bytes]

BY_LEVEL: dict[str, dict[str, Mutation]] = {
    "header": header_mutations.MUTATIONS,
    "element": element_mutations.MUTATIONS,
    "value": value_mutations.MUTATIONS,
    "bytes": byte_mutations.MUTATIONS,
}
"""In the order in which several are put on one document: those that need a tree come first."""
MUTATIONS: dict[str, Mutation] = {name: one for level in BY_LEVEL.values() for name, one in level.items()}
LARGE = frozenset(byte_mutations.LARGE)
"""Mutations whose documents have megabytes; they come seldom."""
_ORDER = {name: position for position, name in enumerate(MUTATIONS)}
_SEVERAL = 0.25
_LARGE_SHARE = 0.004


def choose(random: Random) -> tuple[str, ...]:
    """Return one mutation, or now and then two or three, in an order in which they can be applied."""
    if random.random() < _LARGE_SHARE:
        return (random.choice(sorted(LARGE)),)
    count = 1 if random.random() >= _SEVERAL else random.choice((2, 2, 3))
    levels = [random.choice(("header", "element", "value", "value", "bytes")) for _ in range(count)]
    names = {random.choice([name for name in BY_LEVEL[level] if name not in LARGE]) for level in levels}
    return tuple(sorted(names, key=_ORDER.__getitem__))


def apply(document: bytes, names: tuple[str, ...], random: Random) -> bytes:
    """Return the document after these mutations, in this order."""
    for name in names:
        document = MUTATIONS[name](document, random)
    return document
