"""The checksum of a NIP, Poland's tax identification number."""

from operator import mul

_ZERO = ord("0")
_WEIGHTS = (6, 5, 7, 2, 3, 4, 5, 6, 7)


def is_nip(value: str) -> bool:
    """Tell whether the value is ten ASCII digits whose last one is the right check digit.

    The weighted sum of the first nine digits modulo 11 must equal the tenth; a remainder of 10 is never valid.
    Separators are not accepted: KSeF wants bare digits. The pattern of the XSD is not repeated here.
    """
    if len(value) != 10 or not (value.isascii() and value.isdigit()):
        return False
    digits = [byte - _ZERO for byte in value.encode("ascii")]
    remainder: int = sum(map(mul, _WEIGHTS, digits)) % 11
    return remainder == digits[9]
