"""UTF-16 and UTF-32, recognised by a byte order mark or by the zero bytes of their first characters."""

from typing import Final

_MARKS: Final = (
    (b"\xff\xfe\0\0", "utf-32-le"),
    (b"\0\0\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
_TITLES: Final = {
    "utf-32-le": "UTF-32 (little-endian)",
    "utf-32-be": "UTF-32 (big-endian)",
    "utf-16-le": "UTF-16 (little-endian)",
    "utf-16-be": "UTF-16 (big-endian)",
}


def wide_encoding(head: bytes) -> str | None:
    """Return Python's name of the encoding in which a text begins, None if it is neither UTF-16 nor UTF-32.

    Without a mark the text must begin with a character of ASCII, as JSON and XML do.
    """
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    zeros = [byte == 0 for byte in head[:4]]
    match zeros:
        case [True, True, True, False]:
            return "utf-32-be"
        case [False, True, True, True]:
            return "utf-32-le"
        case [True, False, *_]:
            return "utf-16-be"
        case [False, True, *_]:
            return "utf-16-le"
    return None


def title_of(encoding: str) -> str:
    """Return the name of an encoding for a message."""
    return _TITLES[encoding]


def first_character(head: bytes, encoding: str) -> str:
    """Return the first character that is no blank and no mark, empty if there is none."""
    return head.decode(encoding, "ignore").lstrip("\ufeff \t\r\n")[:1]
