"""Measurement of a single post's wait for its 202, at a steady rate: alone, and while a large upload is read."""

import os
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Final

import anyio

from benchmarks.measure import Figure, Goal, MeasurementFailed, Say, Scale, Yardstick, percentile
from benchmarks.measure_cargo import TarBody, many_invoices, up_to_bytes
from benchmarks.measure_lines import open_lines
from benchmarks.measure_service import Service, counts_of, nobody_at_ksef, running_service, send, wait_for
from invoicegen.invoices import GeneratedInvoice

_GOAL: Final = Goal(50)
_CONNECTIONS: Final = 64
"""The most open requests at the same time. A request without a free connection waits, and that wait counts."""
_LIVEZ_RATE: Final = 20
_LIVEZ_CONNECTIONS: Final = 8
_WARM_POSTS: Final = 20
_SYNCS: Final = 100


def measure_latency(scale: Scale, say: Say) -> list[Figure]:
    """Measure from the time at which a request was due, so that a stall of the service counts for every waiting request."""
    posts = int(scale.rate * scale.seconds)
    say("latency: making invoices")
    source = many_invoices(seed=21)
    singles = [one.xml for one in islice(source, 2 * posts + _WARM_POSTS)]
    with running_service(nobody_at_ksef()) as service:
        sync = _sync_p99(service.data)
        anyio.run(_paced, service, singles[:_WARM_POSTS], scale.rate, 0)
        say(f"latency: {scale.rate} posts a second for {scale.seconds:g} s")
        alone, _ = anyio.run(_paced, service, singles[_WARM_POSTS : _WARM_POSTS + posts], scale.rate, 0)
        _wait_until_idle(service)
        say(f"latency: the same while {scale.upload_bytes / 1e6:.0f} MB are being read")
        busy, livez, still_read = _while_reading(service, source, singles[_WARM_POSTS + posts :], scale)
        _wait_until_idle(service)
        say(f"latency: {scale.fast_rate} posts a second for {scale.seconds:g} s")
        fast, _ = anyio.run(
            _paced,
            service,
            [one.xml for one in islice(source, int(scale.fast_rate * scale.seconds))],
            scale.fast_rate,
            0,
        )
    of_disk = Yardstick("write + fsync of 4 KB there, p99", 1000 * sync, "ms")
    note = "" if still_read else "the upload was read before the last post"
    return [
        _figure(f"POST /v1/invoices, {scale.rate}/s for {scale.seconds:g} s, p99", alone, of_disk, ""),
        _figure("the same while a large upload is read, p99", busy, _p99_of("alone", alone), note),
        _figure("GET /livez meanwhile, p99", livez, _p99_of("POST meanwhile", busy), note),
        # A post that is not answered with 202 ends the measurement: this row is there only if none was refused.
        _figure(
            f"{scale.fast_rate:,}/s for {scale.seconds:g} s, each 202, p99",
            fast,
            _p99_of(f"{scale.rate}/s", alone),
            "",
            goal=None,
        ),
    ]


def _figure(
    what: str, latencies: Sequence[float], yardstick: Yardstick, note: str, goal: Goal | None = _GOAL
) -> Figure:
    milliseconds = [1000 * one for one in latencies]
    shares = {name: percentile(milliseconds, share) for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))}
    shown = f"p50 {shares['p50']:.1f} ms, max {shares['max']:.0f} ms"
    return Figure(
        "latency",
        what,
        shares["p99"],
        "ms",
        yardstick,
        goal,
        note=f"{shown}; {note}" if note else shown,
        detail={**shares, "requests": len(milliseconds)},
    )


def _p99_of(what: str, latencies: Sequence[float]) -> Yardstick:
    return Yardstick(f"{what}, p99", 1000 * percentile(latencies, 0.99), "ms")


def _while_reading(
    service: Service, source: Iterator[GeneratedInvoice], singles: Sequence[bytes], scale: Scale
) -> tuple[list[float], list[float], bool]:
    body = TarBody(up_to_bytes(source, scale.upload_bytes))
    with service.client() as http:
        upload = send(http, body, body.content_type)
        wait_for(lambda: bool(counts_of(http, upload)), "the reading of the upload", seconds=60)
        busy, livez = anyio.run(_paced, service, singles, scale.rate, _LIVEZ_RATE)
        still_read = sum(counts_of(http, upload).values()) < body.count
    return busy, livez, still_read


async def _paced(
    service: Service, documents: Sequence[bytes], rate: int, livez_rate: int
) -> tuple[list[float], list[float]]:
    """Post each invoice at its time, request /livez at its own rate meanwhile, and return both lists of seconds."""
    posts: list[float] = []
    livez: list[float] = []
    headers = f"Authorization: Bearer {service.api_key}\r\nContent-Type: application/xml\r\n"
    # /livez has its own connections, so that it does not wait behind posts that wait for the disk.
    async with open_lines(service.url, _CONNECTIONS) as lines, open_lines(service.url, _LIVEZ_CONNECTIONS) as own:

        async def post(due: float, document: bytes) -> None:
            status = await lines.ask("POST", "/v1/invoices", headers=headers, body=document)
            posts.append(time.perf_counter() - due)
            if status != 202:
                raise MeasurementFailed(f"a post was answered with {status}")

        async def request_livez(due: float) -> None:
            status = await own.ask("GET", "/livez")
            livez.append(time.perf_counter() - due)
            if status != 200:
                raise MeasurementFailed(f"/livez was answered with {status}")

        started = time.perf_counter() + 0.05
        calls = [(started + number / rate, document) for number, document in enumerate(documents)]
        asks = [(started + number / livez_rate, None) for number in range(len(documents) * livez_rate // rate)]
        async with anyio.create_task_group() as tasks:
            for due, document in sorted([*calls, *asks], key=lambda call: call[0]):
                await anyio.sleep(max(0.0, due - time.perf_counter()))
                if document is None:
                    tasks.start_soon(request_livez, due)
                else:
                    tasks.start_soon(post, due, document)
    return posts, livez


def _wait_until_idle(service: Service) -> None:
    """Wait until the single posts are checked, so that the next part starts with an idle service."""
    with service.client() as http:

        def is_checked() -> bool:
            page = http.get("/v1/invoices", params={"state": "received", "limit": 1}).raise_for_status().json()
            return not page["items"]

        wait_for(is_checked, "the check of the single posts", seconds=60, pause=0.3)


def _sync_p99(folder: Path) -> float:
    """Return the p99 of the least cost of a durable answer: one small write and one sync of this disk."""
    seconds = []
    with NamedTemporaryFile(dir=folder) as file:
        for _ in range(_SYNCS):
            started = time.perf_counter()
            os.write(file.fileno(), bytes(4096))
            os.fsync(file.fileno())
            seconds.append(time.perf_counter() - started)
    return percentile(seconds, 0.99)
