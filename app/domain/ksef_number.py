"""The KSeF number: the 35 characters that the system gives to an accepted invoice.

`5265877635-20250826-0100001AF629-AF`: the seller's NIP, the day of acceptance, a technical part of six
bytes in upper-case hexadecimal, and a CRC-8 of everything before it. KSeF 1.0 wrote one more hyphen inside
the technical part (36 characters); such numbers still appear when old invoices are corrected.
Source: ksef-docs, faktury/numer-ksef.md; KSeF API 2.9, schema KsefNumber.
"""

import re
from datetime import date
from functools import lru_cache

CHECKSUMMED_LENGTH = 32
"""Characters before the last hyphen of a present-day number; the checksum covers them, hyphens included."""

_BEGINNING_LENGTH = 20
_BEGINNING = re.compile(
    r"([1-9](?:[0-9][1-9]|[1-9][0-9])[0-9]{7})"
    r"-(20[2-9][0-9]|2[1-9][0-9]{2}|[3-9][0-9]{3})(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])-"
)
_ENDING = re.compile(r"[0-9A-F]{6}(-?)[0-9A-F]{6}-([0-9A-F]{2})")
_NIP = re.compile(r"[1-9](?:[0-9][1-9]|[1-9][0-9])[0-9]{7}")
_POLYNOMIAL = 0x07
_TECHNICAL_BYTES = 6


def _crc8_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        remainder = byte
        for _ in range(8):
            remainder = (remainder << 1) ^ (_POLYNOMIAL if remainder & 0x80 else 0)
        table.append(remainder & 0xFF)
    return tuple(table)


_CRC8 = _crc8_table()


def crc8(data: bytes) -> int:
    """CRC-8 with polynomial 0x07, initial value 0, nothing reflected, no final XOR."""
    remainder = 0
    for byte in data:
        remainder = _CRC8[remainder ^ byte]
    return remainder


def is_valid_ksef_number(text: str) -> bool:
    """Return whether the text has the form of a KSeF number, with a day that exists and a correct checksum.

    The checksum of the 36-character KSeF 1.0 form is not documented, so only its form is checked.
    """
    # The numbers of a receipt share their beginning, whose CRC is cached; only the rest is computed each time.
    remainder = _beginning(text[:_BEGINNING_LENGTH])
    match = _ENDING.fullmatch(text, _BEGINNING_LENGTH)
    if remainder is None or match is None:
        return False
    if match[1]:
        return True
    for byte in text[_BEGINNING_LENGTH:CHECKSUMMED_LENGTH].encode("ascii"):
        remainder = _CRC8[remainder ^ byte]
    return remainder == int(match[2], 16)


@lru_cache(maxsize=1_000)
def _beginning(text: str) -> int | None:
    """Give the CRC of a seller's NIP and a day with their hyphens; None when they are none."""
    match = _BEGINNING.fullmatch(text)
    if match is None:
        return None
    try:
        date(int(match[2]), int(match[3]), int(match[4]))
    except ValueError:
        return None
    return crc8(text.encode("ascii"))


def make_ksef_number(nip: str, day: date, technical: bytes) -> str:
    """The KSeF number of a seller, a day of acceptance and six technical bytes, checksum included.

    Raises ValueError when the NIP does not have the form of one, the day lies before 2020, or `technical`
    is not six bytes long.
    """
    if _NIP.fullmatch(nip) is None:
        raise ValueError("the NIP of a KSeF number has ten digits and does not start with zero")
    if day.year < 2020:
        raise ValueError("KSeF numbers start in 2020")
    if len(technical) != _TECHNICAL_BYTES:
        raise ValueError("the technical part of a KSeF number has six bytes")
    body = f"{nip}-{day:%Y%m%d}-{technical.hex().upper()}"
    return f"{body}-{crc8(body.encode('ascii')):02X}"
