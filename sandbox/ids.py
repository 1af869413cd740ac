"""Reference numbers and KSeF numbers.

Reference numbers: `YYYYMMDD-TT-10-10-2`, upper-case hex, TT the kind. Source: pattern TNumerReferencyjny of the
UPO schema v4-3; kinds as seen in the examples of the KSeF API 2.9.
"""

import re
import secrets
from datetime import date

from app.domain.ksef_number import make_ksef_number

REFERENCE = re.compile(
    r"(20[2-9][0-9]|2[1-9][0-9]{2}|[3-9][0-9]{3})(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])"
    r"-[0-9A-Z]{2}-[0-9A-F]{10}-[0-9A-F]{10}-[0-9A-F]{2}"
)
KSEF_NUMBER = re.compile(
    r"[1-9]([0-9][1-9]|[1-9][0-9])[0-9]{7}-(20[2-9][0-9]|2[1-9][0-9]{2}|[3-9][0-9]{3})(0[1-9]|1[0-2])"
    r"(0[1-9]|[12][0-9]|3[01])-[0-9A-F]{6}-?[0-9A-F]{6}-[0-9A-F]{2}"
)
NIP = re.compile(r"[1-9]([0-9][1-9]|[1-9][0-9])[0-9]{7}")
_NIP_WEIGHTS = (6, 5, 7, 2, 3, 4, 5, 6, 7)


def new_reference(kind: str, day: date) -> str:
    """Create a reference number of a two-letter kind."""
    digits = secrets.token_hex(11).upper()
    return f"{day:%Y%m%d}-{kind}-{digits[:10]}-{digits[10:20]}-{digits[20:]}"


def new_ksef_number(nip: str, day: date) -> str:
    """Create a KSeF number for a seller, with a right checksum."""
    return make_ksef_number(nip, day, secrets.token_bytes(6))


def nip_checksum_is_right(nip: str) -> bool:
    """Return whether the tenth digit is the weighted sum of the first nine modulo 11 (ten is never valid)."""
    if NIP.fullmatch(nip) is None:
        return False
    total = sum(weight * int(digit) for weight, digit in zip(_NIP_WEIGHTS, nip, strict=False))
    return total % 11 == int(nip[9])
