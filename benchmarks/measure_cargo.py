"""Bodies for measurements: distinct valid invoices, made so cheaply that their making does not distort the figure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from xml.sax.saxutils import escape

from app.cli.client.upload_sources import tar_pieces
from app.clock import utc_now, warsaw_day
from invoicegen.generate import DEFAULT_NIP
from invoicegen.invoices import GeneratedInvoice, generate_invoices, write_zip

NIP = DEFAULT_NIP
_TEMPLATES = 4_000


def fresh_invoices(count: int, *, seed: int = 1) -> list[GeneratedInvoice]:
    """Make mixed invoices of today, all different, without attachments, which KSeF accepts only from few sellers."""
    day = warsaw_day(utc_now())
    return list(generate_invoices(count, seller_nip=NIP, issue_date=day, seed=seed, attachments=False))


def many_invoices(*, seed: int, templates: int = _TEMPLATES) -> Iterator[GeneratedInvoice]:
    """Yield invoices without end: the same mixed ones again and again, under new numbers.

    It serves sizes at which generating each invoice would take longer than the measurement. For the service each one is new.
    """
    made = fresh_invoices(templates, seed=seed)
    lap = 0
    while True:
        for invoice in made:
            yield renumbered(invoice, lap) if lap else invoice
        lap += 1


def renumbered(invoice: GeneratedInvoice, lap: int) -> GeneratedInvoice:
    """Return a copy of an invoice with another number (P_2)."""
    number = f"{invoice.number}/{lap}"
    old, new = (f"P_2>{escape(text)}</" for text in (invoice.number, number))
    xml = invoice.xml.replace(old.encode(), new.encode(), 1)
    if xml == invoice.xml:
        raise ValueError(f"{invoice.name} does not show its number in P_2")
    return replace(invoice, number=number, name=f"{lap}-{invoice.name}", xml=xml)


def up_to_bytes(invoices: Iterable[GeneratedInvoice], size: int) -> Iterator[GeneratedInvoice]:
    """Yield invoices until their XML has this many bytes in total."""
    given = 0
    for invoice in invoices:
        if given >= size:
            return
        given += len(invoice.xml)
        yield invoice


class TarBody:
    """A tar of invoices, made while it is sent; it counts its invoices."""

    content_type = "application/x-tar"

    def __init__(self, invoices: Iterable[GeneratedInvoice]) -> None:
        self._invoices = invoices
        self.count = 0
        self.xml_bytes = 0

    def __iter__(self) -> Iterator[bytes]:
        return tar_pieces(self._documents())

    def _documents(self) -> Iterator[tuple[str, int, Iterable[bytes]]]:
        for invoice in self._invoices:
            self.count += 1
            self.xml_bytes += len(invoice.xml)
            yield invoice.name, len(invoice.xml), (invoice.xml,)


class ZipBody:
    """A ZIP in a file, as an ERP sends it."""

    content_type = "application/zip"

    def __init__(self, path: Path, invoices: Sequence[GeneratedInvoice]) -> None:
        self._path = path
        self.count = write_zip(path, invoices)

    def __iter__(self) -> Iterator[bytes]:
        with self._path.open("rb") as file:
            while block := file.read(1 << 18):
                yield block
