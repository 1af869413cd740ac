"""Measurement of the CPU time of each step in a pool process, on one core. It has no goal; it shows the costly steps."""

import pickle
import time
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import sha256
from io import BytesIO
from statistics import median
from typing import Any, Final
from uuid import uuid4

from lxml import etree

from app.checking.check_chunk import ChunkTask, check_chunk, prepare
from app.clock import utc_now, warsaw_day
from app.forms.fa3.checker import InvoiceChecker
from app.forms.fa3.fast_path.recogniser import FastPathRecogniser
from app.forms.fa3.form import FA3
from app.forms.fa3.schema import compile_schema
from app.forms.form import CheckContext
from app.forms.wellformed import make_parser
from app.package.entries import compress, crc32
from app.reading.entry import RawEntry, decode_entry
from app.reading.kinds import BodyKind
from app.reading.limits import ReadingLimits
from app.reading.reader import read_entries
from app.schema_files import load_schema_files
from benchmarks.measure import Figure, Say, Scale, Yardstick
from benchmarks.measure_cargo import NIP, fresh_invoices
from invoicegen.archives import write_zip
from invoicegen.invoices import GeneratedInvoice
from workers.intake.chunks import CHUNK_ENTRIES

_ROUNDS: Final = 7


def measure_stages(scale: Scale, say: Say) -> list[Figure]:
    """Measure CPU microseconds for an invoice of one chunk: the whole check, and each step by itself.

    Steps are timed separately and warm, so their sum is not exactly the whole.
    """
    count = min(CHUNK_ENTRIES, scale.count)
    say(f"stages: one chunk of {count} invoices, step by step")
    invoices = fresh_invoices(count, seed=51)
    files = load_schema_files()[FA3.code]
    schema, published = compile_schema(files), compile_schema(files, as_published=True)
    prepare({FA3.code: files})
    context = CheckContext(NIP, warsaw_day(utc_now()), check_nip_checksums=False, attachments_allowed=None)
    entries, body = raw_entries(invoices), zip_of(invoices)
    task = ChunkTask(1, (uuid4(),), uuid4(), entries, context, utc_now())
    outcome = check_chunk(task)
    documents = [one.xml for one in invoices]
    parser, careful, checker, plain = (
        make_parser(),
        InvoiceChecker(schema),
        FA3.make_checker(files),
        FastPathRecogniser(files),
    )
    for document in documents:
        checker.check(document, context)
        plain.remember_prologue(document)
    seen = [plain.read(one, NIP, context.today, check_nip_checksums=False) for one in documents]
    roots = [etree.fromstring(document, parser) for document in documents]
    steps: dict[str, Callable[[], Any]] = {
        "worker: read the entry from the ZIP": lambda: _read(body),
        "worker: pickle the chunk": lambda: pickle.dumps(task, pickle.HIGHEST_PROTOCOL),
        "pool: unpickle it": partial(pickle.loads, pickle.dumps(task, pickle.HIGHEST_PROTOCOL)),
        "pool: inflate, CRC-32": lambda: [decode_entry(entry, 3_000_000) for entry in entries],
        "pool: check (one match, amounts, dates)": lambda: [checker.check(document, context) for document in documents],
        "pool: the careful check, for those not recognised": lambda: [
            careful.check(document, context) for document in documents
        ],
        "yardstick: parse": lambda: [etree.fromstring(document, parser) for document in documents],
        "yardstick: XSD as published": lambda: [published.validate(root) for root in roots],
        "pool: SHA-256": lambda: [sha256(document).hexdigest() for document in documents],
        "pool: deflate": lambda: [compress(document) for document in documents],
        "pool: CRC-32": lambda: [crc32(document) for document in documents],
        "pool: pickle the outcome": lambda: pickle.dumps(outcome, pickle.HIGHEST_PROTOCOL),
        "worker: unpickle it": partial(pickle.loads, pickle.dumps(outcome, pickle.HIGHEST_PROTOCOL)),
    }
    costs = {name: _cpu_us(step) / count for name, step in steps.items()}
    whole = _cpu_us(lambda: check_chunk(task)) / count
    return [
        Figure(
            "stages",
            "CPU of one invoice in the pool (check, hash, deflate, rows)",
            whole,
            "µs",
            Yardstick("parse + XSD alone", costs["yardstick: parse"] + costs["yardstick: XSD as published"], "µs"),
            note=f"mean XML {sum(map(len, documents)) / count:,.0f} bytes; {count - seen.count(None)} of {count} in one match",
            detail={"us_an_invoice": {name: round(cost, 1) for name, cost in costs.items()}},
        )
    ]


def zip_of(invoices: Sequence[GeneratedInvoice]) -> BytesIO:
    """Put invoices into a ZIP in memory."""
    body = BytesIO()
    write_zip(body, invoices)
    return body


def raw_entries(invoices: Sequence[GeneratedInvoice]) -> tuple[RawEntry, ...]:
    """Return invoices as the entries that the reader of a ZIP yields."""
    return _read(zip_of(invoices))


def _read(body: BytesIO) -> tuple[RawEntry, ...]:
    body.seek(0)
    size = body.getbuffer().nbytes
    return tuple(read_entries(BodyKind.ZIP, body, size=size, limits=ReadingLimits()))


def _cpu_us(step: Callable[[], Any]) -> float:
    """Return the median CPU microseconds of a step; other processes on the core do not count."""
    step()
    taken = []
    for _ in range(_ROUNDS):
        started = time.process_time_ns()
        step()
        taken.append((time.process_time_ns() - started) / 1000)
    return median(taken)
