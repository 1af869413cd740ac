"""Measurement of the memory of all our processes while a large upload, and one half as large, go into KSeF's storage."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from app.cli.demo.processes import free_port
from benchmarks.measure import Figure, Goal, MeasurementFailed, Say, Scale, Yardstick
from benchmarks.measure_cargo import TarBody, many_invoices, up_to_bytes
from benchmarks.measure_sandbox import running_sink
from benchmarks.measure_service import Service, counts_of, memory_of, running_service, send, sessions_of, wait_for
from invoicegen.invoices import GeneratedInvoice

_POLL_SECONDS = 0.2
_GOAL_MB = 600
_GROWTH = 1.1
_SLOWEST_A_SECOND = 100
_PARTS = 12
_PACKED_BYTES_AN_INVOICE = 1_600
"""Bytes of a mixed invoice in a package, with names and directory; used only for the number of parts."""
_TRAVELLED = {"sent", "accepted", "rejected"}


class MemoryWatch:
    """Sampler of the service's memory, from `start` to `stop`."""

    def __init__(self, service: Service) -> None:
        self.peak = 0
        self.samples = 0
        self._service = service
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory", daemon=True)

    @contextmanager
    def on(self) -> Iterator[None]:
        """Sample inside the context."""
        self.start()
        try:
            yield
        finally:
            self.stop()

    def start(self) -> None:
        """Start the samples."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the samples."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            self.peak = max(self.peak, memory_of(self._service.processes()))
            self.samples += 1
            self._stop.wait(_POLL_SECONDS)


def measure_memory(scale: Scale, say: Say) -> list[Figure]:
    """Measure the peak of an upload of half the size and then of the full size, until all parts are in KSeF's storage.

    KSeF is the sink: sending parts and reading receipts are part of the figure, the sink's memory is not.
    """
    say("memory: making invoices")
    source = many_invoices(seed=11)
    part_bytes = max(10_000, scale.session_invoices * _PACKED_BYTES_AN_INVOICE // _PARTS)
    with running_sink(free_port()) as sink:
        settings = {
            "KSEFD_KSEF_URL": f"{sink.url}/v2",
            "KSEFD_PART_BYTES": str(part_bytes),
            "KSEFD_SESSION_MAX_INVOICES": str(scale.session_invoices),
        }
        with running_service(settings) as service, service.client() as http:
            idle = memory_of(service.processes())
            say(f"memory: an upload of {scale.upload_bytes / 2e6:.0f} MB")
            half = _peak_of(service, http, up_to_bytes(source, scale.upload_bytes // 2))
            say(f"memory: an upload of {scale.upload_bytes / 1e6:.0f} MB")
            whole = _peak_of(service, http, up_to_bytes(source, scale.upload_bytes))
            parts = max((one["parts"] for one in sessions_of(http)), default=0)
    # Most of the memory is that of two pool processes, a worker and an API with their libraries, independent of the upload.
    detail = {"idle_bytes": idle, "peak_bytes_of_half": half, "peak_bytes": whole, "parts": parts}
    return [
        Figure(
            "memory",
            f"all our processes, upload of {scale.upload_bytes / 1e6:.0f} MB, packages of {parts} parts",
            whole / 1e6,
            "MB",
            Yardstick("the same processes before any upload", idle / 1e6, "MB"),
            Goal(_GOAL_MB),
            note="PSS, PostgreSQL aside",
            detail=detail,
        ),
        Figure(
            "memory",
            "the same beside an upload of half the size",
            whole / 1e6,
            "MB",
            Yardstick(f"upload of {scale.upload_bytes / 2e6:.0f} MB", half / 1e6, "MB"),
            Goal(_GROWTH, of_ratio=True),
            detail=detail,
        ),
    ]


def _peak_of(service: Service, http: httpx.Client, invoices: Iterator[GeneratedInvoice]) -> int:
    body = TarBody(invoices)
    watch = MemoryWatch(service)
    with watch.on():
        upload = send(http, body, body.content_type)
        wait_for(
            lambda: _travelled(http, upload, body.count),
            f"{body.count} invoices in KSeF's storage",
            seconds=60 + body.count / _SLOWEST_A_SECOND,
            pause=0.5,
        )
        # The receipts of the last sessions follow; the pause shows whether memory still grows.
        time.sleep(1.0)
    if not watch.samples:
        raise MeasurementFailed("the memory was never sampled")
    return watch.peak


def _travelled(http: httpx.Client, upload: str, count: int) -> bool:
    counts = counts_of(http, upload)
    refused = {state: number for state, number in counts.items() if state in {"invalid", "duplicate", "failed"}}
    if refused:
        raise MeasurementFailed(f"valid invoices were refused: {refused}")
    return sum(counts.get(state, 0) for state in _TRAVELLED) >= count
