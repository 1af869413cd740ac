"""The fixed header of a tar entry: 512 bytes. Source: POSIX.1-2008, pax, "ustar Interchange Format"; GNU tar manual."""

from typing import Final

HEADER_BYTES: Final = 512

_OCTAL: Final = b"01234567"


def checksum_holds(header: bytes) -> bool:
    """Return whether 512 bytes carry the checksum of a tar header."""
    digits = header[148:156].strip(b" \0")
    if len(header) != HEADER_BYTES or not digits or any(byte not in _OCTAL for byte in digits):
        return False
    declared = int(digits, 8)
    counted = sum(header) - sum(header[148:156]) + 8 * 0x20
    if declared == counted:
        return True
    # Some old writers summed signed bytes.
    return declared == counted - 256 * sum(byte > 127 for byte in header[:148] + header[156:])


def is_header(head: bytes) -> bool:
    """Return whether a body with these first bytes is a tar.

    The checksum decides. The `ustar` mark does not: old tars have none, and a document may contain it by chance.
    """
    return checksum_holds(head[:HEADER_BYTES])


def name_of(header: bytes) -> bytes:
    """Return the name in a header, with the prefix that ustar uses for long names."""
    name = header[:100].split(b"\0", 1)[0]
    if header[257:263] == b"ustar\0":
        prefix = header[345:500].split(b"\0", 1)[0]
        if prefix:
            return prefix + b"/" + name
    return name


def size_of(header: bytes) -> int | None:
    """Return the size: octal digits, or GNU's binary form when the first bit is set; None when there is no usable one."""
    field = header[124:136]
    if field[0] & 0x80:
        return None if field[0] & 0x40 else int.from_bytes(field, "big") & ~(0x80 << 88)
    digits = field.strip(b" \0")
    if any(byte not in _OCTAL for byte in digits):
        return None
    return int(digits or b"0", 8)
