"""Invoices of the demo: valid ones with bad ones spread among them, made while they are sent as one tar stream."""

import hashlib
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date

from app.cli.client.upload_sources import tar_pieces
from app.forms.nip import is_nip
from invoicegen.bad_invoices import BadInvoice, bad_invoices
from invoicegen.invoices import generate_invoices


@dataclass(slots=True)
class DemoInvoices:
    """The invoices of one demo run, and the count and names of those sent so far."""

    seller_nip: str
    issue_date: date
    count: int
    bad: tuple[BadInvoice, ...]
    seed: int
    sent_names: dict[str, str] = field(default_factory=dict)
    """Names of the valid invoices sent, by SHA-256 in hex; filled while the stream is read."""
    sent: int = 0

    @property
    def total(self) -> int:
        """The number of all invoices to send, including bad ones."""
        return self.count + len(self.bad)

    def pieces(self) -> Iterator[bytes]:
        """Yield the tar, block by block, and record each invoice that is sent."""
        return tar_pieces(self._documents())

    def _documents(self) -> Iterator[tuple[str, int, Iterable[bytes]]]:
        # The invoices have no attachments: KSeF accepts them only from sellers who have asked for it.
        valid = generate_invoices(
            self.count, seller_nip=self.seller_nip, issue_date=self.issue_date, seed=self.seed, attachments=False
        )
        places = bad_places(self.count, len(self.bad))
        for place, invoice in enumerate(valid):
            for one in places.get(place, ()):
                self.sent += 1
                yield self.bad[one].name, len(self.bad[one].xml), (self.bad[one].xml,)
            self.sent_names[hashlib.sha256(invoice.xml).hexdigest()] = invoice.name
            self.sent += 1
            yield invoice.name, len(invoice.xml), (invoice.xml,)


def make_demo_invoices(count: int, bad: int, issue_date: date, seed: int) -> DemoInvoices:
    """Create the invoices of a made-up seller; the same arguments give the same bytes."""
    nip = made_up_nip(seed)
    return DemoInvoices(nip, issue_date, count, tuple(bad_invoices(nip, issue_date)[:bad]), seed)


def made_up_nip(seed: int) -> str:
    """Make a NIP with a right check digit from the seed."""
    source = random.Random(seed)  # noqa: S311 - a made-up taxpayer is no secret
    while True:
        # KSeF's pattern does not allow the second and third digit to be both zero.
        body = f"{source.randint(1, 9)}{source.randint(1, 9)}{source.randint(0, 9_999_999):07d}"
        for digit in "0123456789":
            if is_nip(body + digit):
                return body + digit


def bad_places(count: int, bad: int) -> dict[int, list[int]]:
    """Spread bad invoices evenly: return the indexes of the bad ones to send before each valid one."""
    places: dict[int, list[int]] = {}
    for one in range(bad):
        places.setdefault((one * count) // bad, []).append(one)
    return places
