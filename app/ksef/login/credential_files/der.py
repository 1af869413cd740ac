"""Reads the outline of DER and BER data: the tags of its elements, and the work that its encryption costs."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Final

INTEGER: Final = 0x02
BIT_STRING: Final = 0x03
OCTET_STRING: Final = 0x04
OBJECT_IDENTIFIER: Final = 0x06
SEQUENCE: Final = 0x30

_CONSTRUCTED: Final = 0x20
_MAX_DEPTH: Final = 40
_MAX_ELEMENTS: Final = 100_000
_SCRYPT_WEIGHT: Final = 4
"""The time of one scrypt step in steps of PBKDF2; it also keeps the memory of scrypt under 160 MB."""


class Malformed(ValueError):
    """The bytes are not one whole BER element."""


class TooDeep(ValueError):
    """The data is nested deeper, or has more elements, than any credential file."""


@dataclass(frozen=True, slots=True)
class Element:
    """One element: its tag byte, where its content lies in the data, and the elements inside it."""

    tag: int
    start: int
    end: int
    following: int
    """Where the next element begins."""
    members: tuple["Element", ...]
    whole: bool
    """Whether the members fill the content to its end."""


class _Reader:
    """Reads each element once, and no more of them than any credential file has."""

    def __init__(self) -> None:
        self._left = _MAX_ELEMENTS

    def element(self, data: bytes, at: int, end: int, depth: int = 0) -> Element:
        """Read the element at `at` with all inside it. Raises Malformed, TooDeep."""
        self._left -= 1
        if depth > _MAX_DEPTH or self._left < 0:
            raise TooDeep
        if at + 2 > end or data[at] & 0x1F == 0x1F:
            raise Malformed
        tag, length, start = data[at], data[at + 1], at + 2
        if length == 0x80:
            return self._indefinite(data, tag, start, end, depth)
        if length > 0x80:
            size = length & 0x7F
            if size > 8 or start + size > end:
                raise Malformed
            length = int.from_bytes(data[start : start + size])
            start += size
        stop = start + length
        if stop > end:
            raise Malformed
        members, whole = list[Element](), not tag & _CONSTRUCTED
        if not whole:
            with suppress(Malformed):
                at = start
                while at < stop:
                    members.append(self.element(data, at, stop, depth + 1))
                    at = members[-1].following
                whole = True
        return Element(tag, start, stop, stop, tuple(members), whole)

    def _indefinite(self, data: bytes, tag: int, start: int, end: int, depth: int) -> Element:
        """Old browsers write PKCS#12 so: the content has no length and ends with two zero bytes."""
        if not tag & _CONSTRUCTED:
            raise Malformed
        members, at = list[Element](), start
        while data[at : at + 2] != b"\0\0":
            members.append(self.element(data, at, end, depth + 1))
            at = members[-1].following
        return Element(tag, start, at, at + 2, tuple(members), whole=True)

    def work(self, data: bytes, depth: int) -> int:
        """Sum the steps of the key derivations in `data`; none when it is no BER, as a salt or encrypted text."""
        try:
            whole = self.element(data, 0, len(data), depth)
        except Malformed:
            return 0
        return self._work_inside(data, whole, depth)

    def _work_inside(self, data: bytes, element: Element, depth: int) -> int:
        if element.tag == OCTET_STRING:
            return self.work(data[element.start : element.end], depth + 1)
        if element.tag == OCTET_STRING | _CONSTRUCTED:
            return self.work(b"".join(data[one.start : one.end] for one in element.members), depth + 1)
        inside = sum(self._work_inside(data, one, depth + 1) for one in element.members)
        return inside + _derivations(data, element.members)


def outline(data: bytes) -> list[tuple[int, tuple[int, ...]]]:
    """Return the tags of a sequence's members, each with the tags of its own members. Raises Malformed, TooDeep."""
    whole = _Reader().element(data, 0, len(data))
    sequences = [whole, *(one for one in whole.members if one.tag == SEQUENCE)]
    if whole.tag != SEQUENCE or not all(one.whole for one in sequences):
        raise Malformed
    return [
        (member.tag, tuple(one.tag for one in member.members) if member.tag == SEQUENCE else ())
        for member in whole.members
    ]


def first_only(data: bytes) -> bytes:
    """Return the first element without what follows it. Raises Malformed, TooDeep."""
    return data[: _Reader().element(data, 0, len(data)).following]


def encryption_work(data: bytes) -> int:
    """Sum the steps of all key derivations that the data names, without doing them. Raises TooDeep.

    A salt is an octet string, and the count follows it, in PBKDF2, PKCS#5, PKCS#12 and its MAC; in scrypt three numbers
    do. Octet strings may hold further elements, so they are searched too.
    """
    return _Reader().work(data, 0)


def _derivations(data: bytes, members: tuple[Element, ...]) -> int:
    total = 0
    for at, member in enumerate(members[:-1]):
        if member.tag & ~_CONSTRUCTED != OCTET_STRING:
            continue
        numbers = []
        # Three numbers at most are read, so that long lists cost no more.
        for following in members[at + 1 : at + 4]:
            if following.tag != INTEGER:
                break
            numbers.append(max(0, int.from_bytes(data[following.start : following.end], signed=True)))
        if len(numbers) == 3:
            total += _SCRYPT_WEIGHT * numbers[0] * numbers[1] * numbers[2]
        elif numbers:
            total += numbers[0]
    return total
