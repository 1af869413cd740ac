"""The checksum of a NIP, Poland's tax identification number."""

from stdnum.pl import nip


def is_nip(value: str) -> bool:
    """Return whether the value is ten ASCII digits whose last one is the right check digit.

    The library also accepts separators, the prefix `PL` and digits of other scripts, which KSeF refuses. The XSD's pattern
    is checked elsewhere.
    """
    return len(value) == 10 and value.isascii() and value.isdigit() and nip.checksum(value) == 0
