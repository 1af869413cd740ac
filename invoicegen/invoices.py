"""Generator of valid FA(3) invoices of realistic variety, for the demo, the benchmarks and the tests.

Every invoice is determined by (seed, index, seller, day, profile): the same arguments give the same bytes in any process. The
invoices are valid against the official schema, their sums add up, and their NIPs and KSeF numbers have right check digits.
They are not meant for a real tax office.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from invoicegen._compose import Composer
from invoicegen.archives import write_folder, write_ndjson, write_targz, write_zip

__all__ = [
    "FIRST_DAY",
    "LAST_DAY",
    "PROFILES",
    "GeneratedInvoice",
    "generate_invoices",
    "write_folder",
    "write_ndjson",
    "write_targz",
    "write_zip",
]

PROFILES = ("mixed", "small", "large")
FIRST_DAY = date(2025, 9, 1)
"""The earliest day that FA(3) allows (DataWytworzeniaFa)."""
LAST_DAY = date(2049, 6, 30)
"""The last day of issue: FA(3) allows dates up to 2050, and terms of payment are later than the day of issue."""
_NIP = re.compile(r"[1-9](?:[0-9][1-9]|[1-9][0-9])[0-9]{7}")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_MAX_PREFIX = 100


@dataclass(frozen=True, slots=True)
class GeneratedInvoice:
    """One invoice: its number (P_2), a safe file name, its bytes, and its kind (RodzajFaktury)."""

    number: str
    name: str
    xml: bytes
    kind: str


def generate_invoices(
    count: int,
    *,
    seller_nip: str,
    issue_date: date,
    seed: int = 1,
    start: int = 0,
    profile: str = "mixed",
    number_prefix: str = "FV",
    attachments: bool = True,
) -> Iterator[GeneratedInvoice]:
    """Yield the invoices with indexes `start` to `start + count - 1`.

    Numbers are unique for each (prefix, day, seed, index), across all kinds. Profiles: `mixed` (all kinds,
    about 4 KB on average), `small` (2 to 3 KB, domestic sales only), `large` (40 to 200 lines, up to 900 KB).
    `attachments=False` leaves out every Zalacznik, which KSeF accepts only from sellers with a consent; the other invoices are
    unchanged. Raises ValueError for arguments that allow no valid invoice.
    """
    if profile not in PROFILES:
        raise ValueError(f"unknown profile {profile!r}; there are {', '.join(PROFILES)}")
    if _NIP.fullmatch(seller_nip) is None:
        raise ValueError("the seller's NIP has ten digits, the first not zero")
    if not FIRST_DAY <= issue_date <= LAST_DAY:
        raise ValueError(f"the day of issue must lie between {FIRST_DAY} and {LAST_DAY}")
    if count < 0 or start < 0 or seed < 0:
        raise ValueError("count, start and seed must not be negative")
    if not number_prefix.strip() or len(number_prefix) > _MAX_PREFIX or not number_prefix.isprintable():
        raise ValueError(f"the prefix of numbers has 1 to {_MAX_PREFIX} printable characters")
    composer = Composer(
        seller_nip=seller_nip,
        issue_date=issue_date,
        seed=seed,
        profile=profile,
        number_prefix=number_prefix.strip(),
        attachments=attachments,
    )
    return _made(composer, start, count)


def _made(composer: Composer, start: int, count: int) -> Iterator[GeneratedInvoice]:
    for index in range(start, start + count):
        number, kind, xml = composer.compose(index)
        yield GeneratedInvoice(number, f"{_UNSAFE.sub('-', number)}.xml", xml, kind)
