"""Measurement of the durable pipeline: from the first byte over HTTP until every invoice is in an encrypted part."""

import time
from datetime import datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from benchmarks.bare import bare_rate
from benchmarks.measure import Figure, Goal, MeasurementFailed, Say, Scale, Yardstick
from benchmarks.measure_cargo import ZipBody, fresh_invoices, renumbered
from benchmarks.measure_service import (
    POOL_PROCESSES,
    Service,
    counts_of,
    nobody_at_ksef,
    running_service,
    send,
    sessions_of,
    wait_for,
)
from invoicegen.invoices import GeneratedInvoice

_SLOWEST_A_SECOND = 100


def measure_pipeline(scale: Scale, say: Say) -> list[Figure]:
    """Measure invoices a second, in rounds, the yardstick before and after each on the same documents."""
    say(f"pipeline: making {scale.count:,} invoices")
    made = fresh_invoices(scale.count)
    rates: list[float] = []
    bares: list[float] = []
    cost: dict[str, Any] = {}
    with running_service(nobody_at_ksef()) as service, service.client() as http, TemporaryDirectory() as folder:
        for number in range(scale.rounds):
            invoices = [renumbered(one, number) for one in made] if number else made
            documents = [one.xml for one in invoices]
            say(f"pipeline: round {number + 1} of {scale.rounds}, bare lxml on {POOL_PROCESSES} processes")
            before = bare_rate(documents, POOL_PROCESSES)
            say(f"pipeline: round {number + 1} of {scale.rounds}, the service")
            rate, cost = _round(service, http, Path(folder) / "body.zip", invoices)
            rates.append(rate)
            bares.append((before + bare_rate(documents, POOL_PROCESSES)) / 2)
    ratios = [rate / bare for rate, bare in zip(rates, bares, strict=True)]
    return [
        Figure(
            "pipeline",
            f"durable pipeline, {scale.count:,} invoices, HTTP upload to encrypted parts",
            median(rates),
            "invoices/s",
            Yardstick(f"{POOL_PROCESSES} bare lxml processes, parse + XSD", median(bares), "invoices/s"),
            Goal(0.6, at_least=True, of_ratio=True, full_size=scale.count >= 10_000),
            note=f"rounds {', '.join(f'{ratio:.2f}' for ratio in ratios)}",
            detail={"rates": rates, "bare_rates": bares, "ratios": ratios, **cost},
            measured_ratio=median(ratios),
        )
    ]


def _round(
    service: Service, http: httpx.Client, path: Path, invoices: list[GeneratedInvoice]
) -> tuple[float, dict[str, Any]]:
    body = ZipBody(path, invoices)
    known = {one["id"] for one in sessions_of(http)}
    cpu_before, stages_before = service.cpu_seconds(), service.stage_seconds()
    started = time.time()
    upload = send(http, body, body.content_type)
    acknowledged = time.time() - started
    seconds = when_packed(http, len(invoices), known=known, pause=0.5) - started
    counts = counts_of(http, upload)
    if counts != {"packed": len(invoices)}:
        raise MeasurementFailed(f"of {len(invoices)} invoices not all were packed: {counts}")
    cpu, stages = service.cpu_seconds(), service.stage_seconds()
    per_invoice = 1e6 / len(invoices)
    return len(invoices) / seconds, {
        "acknowledged_seconds": acknowledged,
        "cpu_us_an_invoice": {
            role: round((used - cpu_before.get(role, 0)) * per_invoice, 1) for role, used in cpu.items()
        },
        "stage_wall_us_an_invoice": {
            stage: round((used - stages_before.get(stage, (0, 0))[1]) * per_invoice, 1)
            for stage, (_, used) in stages.items()
        },
    }


def when_packed(http: httpx.Client, count: int, *, known: set[str], pause: float) -> float:
    """Wait until new sessions (not `known`) have `count` invoices in encrypted parts, and return the time of the last commit.

    The time is in seconds of this machine's clock. Polling costs the service time, so it is rare, and the time is read from the
    sessions' histories.
    """

    def with_parts() -> list[str]:
        new = [one for one in sessions_of(http) if one["id"] not in known and one["state"] != "sealed"]
        return [one["id"] for one in new] if sum(one["invoices"] for one in new) >= count else []

    wait_for(
        lambda: bool(with_parts()),
        f"{count:,} invoices in encrypted parts",
        seconds=60 + count / _SLOWEST_A_SECOND,
        pause=pause,
    )
    return max(_packed_at(http, session) for session in with_parts())


def _packed_at(http: httpx.Client, session_id: str) -> float:
    history = http.get(f"/v1/sessions/{session_id}").raise_for_status().json()["history"]
    return max(datetime.fromisoformat(line["at"]).timestamp() for line in history if line["action"] == "pack")
