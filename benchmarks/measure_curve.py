"""The cost curve: time for one invoice, from the first byte over HTTP to its encrypted part, by size of upload; and disk."""

import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

import httpx

from benchmarks.measure import Figure, Goal, Say, Scale, Yardstick
from benchmarks.measure_cargo import TarBody, many_invoices
from benchmarks.measure_pipeline import when_packed
from benchmarks.measure_service import nobody_at_ksef, running_service, send, sessions_of
from invoicegen.invoices import GeneratedInvoice

_SIZES: Final = (1_000, 10_000, 100_000, 1_000_000)
_SPREAD: Final = 1.15


def measure_curve(scale: Scale, say: Say) -> list[Figure]:
    """Measure uploads of 1,000, 10,000 ... up to `largest` invoices on one service, one after the other."""
    source = many_invoices(seed=81)
    sizes = [size for size in _SIZES if size <= scale.largest] or [scale.largest]
    cost: dict[int, float] = {}
    with running_service(nobody_at_ksef()) as service, service.client() as http:
        empty = _bytes_in(service.data / "postgres" / "base")
        for size in sizes:
            say(f"curve: {size:,} invoices")
            cost[size] = 1e6 * _seconds(http, source, size) / size
        on_disk = (_bytes_in(service.data / "postgres" / "base") - empty) / sum(sizes)
    # The smallest upload waits longer than it is processed, so the others are compared with the second one.
    second = cost[sizes[1]] if len(sizes) > 1 else cost[sizes[0]]
    worst = max((cost[size] for size in sizes[1:]), key=lambda one: abs(one - second), default=second)
    detail = {"us_an_invoice": cost, "database_bytes_an_invoice": on_disk}
    shown = ", ".join(f"{size:,}: {one:.0f}" for size, one in cost.items())
    return [
        Figure(
            "curve", "time an invoice in the upload that differs most from the second", worst, "µs",
            Yardstick(f"upload of {sizes[min(1, len(sizes) - 1)]:,}", second, "µs"),
            Goal(_SPREAD, of_ratio=True, full_size=scale.largest >= _SIZES[-1]),
            note=f"µs an invoice: {shown}", detail=detail,
        ),
        Figure(
            "curve", "database, an invoice (queued and packed; indexes and jobs too)", on_disk, "bytes",
            Yardstick("XML of a mixed invoice", _mean_xml(), "bytes"), detail=detail,
        ),
    ]  # fmt: skip


def _seconds(http: httpx.Client, source: Iterator[GeneratedInvoice], count: int) -> float:
    known = {one["id"] for one in sessions_of(http)}
    body = TarBody(islice(source, count))
    started = time.time()
    send(http, body, body.content_type)
    # Small uploads are polled often, large ones rarely.
    return when_packed(http, count, known=known, pause=min(2.0, max(0.1, count / 100_000))) - started


def _bytes_in(folder: Path) -> int:
    return sum(one.stat().st_size for one in folder.rglob("*") if one.is_file())


def _mean_xml() -> float:
    documents = [one.xml for one in islice(many_invoices(seed=81), 1_000)]
    return sum(map(len, documents)) / len(documents)
