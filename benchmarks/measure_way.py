"""Measurement from the first byte over HTTP to the accepted webhook with the last KSeF number, and of a session's end.

KSeF is a sink in a process of its own: it decrypts, unpacks, hashes, numbers and signs receipts, without checks. It and the
receiver of the webhooks, which runs here, still use a part of the two cores. So the CPU time of both is printed with the
figure, and the rate without them.
"""

import gc
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final

import psutil

from app.cli.demo.processes import free_port
from app.cli.demo.receiver import Receiver, listening
from benchmarks.bare import bare_rate
from benchmarks.measure import Figure, Goal, MeasurementFailed, Say, Scale, Yardstick
from benchmarks.measure_cargo import ZipBody, fresh_invoices, renumbered
from benchmarks.measure_sandbox import RunningSink, cpu_of, running_sink
from benchmarks.measure_service import POOL_PROCESSES, Service, running_service, send, wait_for

_SLOWEST_A_SECOND: Final = 50
_RECEIPT_SECONDS: Final = 1.5


def measure_way(scale: Scale, say: Say) -> list[Figure]:
    """Measure in rounds, the yardstick before each on the same documents."""
    say(f"way: making {scale.count:,} invoices")
    made = fresh_invoices(scale.count, seed=41)
    rounds: list[dict[str, float]] = []
    receiver = Receiver()
    with (
        running_sink(free_port()) as sink,
        listening(receiver) as hook,
        TemporaryDirectory() as folder,
    ):
        settings = {
            "KSEFD_KSEF_URL": f"{sink.url}/v2",
            "KSEFD_SESSION_MAX_INVOICES": str(scale.session_invoices),
            "KSEFD_WEBHOOK_ALLOW_HTTP": "true",
            "KSEFD_WEBHOOK_ALLOW_PRIVATE": "true",
        }
        with running_service(settings) as service, service.client() as http:
            receiver.expect(http.post("/v1/webhooks", json={"url": hook}).raise_for_status().json()["secret"])
            for number in range(scale.rounds):
                invoices = [renumbered(one, number) for one in made] if number else made
                say(f"way: round {number + 1} of {scale.rounds}, bare lxml on {POOL_PROCESSES} processes")
                bare = bare_rate([one.xml for one in invoices], POOL_PROCESSES)
                say(f"way: round {number + 1} of {scale.rounds}, the service")
                body = ZipBody(Path(folder) / "body.zip", invoices)
                # Collect before the measurement, so that the collector need not walk through tens of thousands of invoices in it.
                gc.collect()
                gc.freeze()
                rounds.append({"bare": bare, **_round(service, http, body, receiver, sink, len(invoices))})
            stages = service.stage_seconds()
            _check_ledger(sink, scale.count * scale.rounds)
    ratios = [one["rate"] / one["bare"] for one in rounds]
    without = [one["rate_without_sink"] / one["bare"] for one in rounds]
    stick = Yardstick(
        f"{POOL_PROCESSES} bare lxml processes, parse + XSD", median(one["bare"] for one in rounds), "invoices/s"
    )
    return [
        Figure(
            "way", f"whole way of {scale.count:,} invoices, HTTP upload to the last webhook",
            median(one["rate"] for one in rounds), "invoices/s", stick,
            Goal(0.45, at_least=True, of_ratio=True, full_size=scale.count >= 10_000),
            note=(
                f"KSeF's side took {median(one['cpu_us_sink'] for one in rounds):.0f} µs of CPU an invoice, the receiver and the"
                f" sending client {median(one['cpu_us_receiver'] for one in rounds):.0f}: together"
                f" {median(one['others_share'] for one in rounds):.0%} of the cores"
            ),
            detail={"rounds": rounds, "ratios": ratios}, measured_ratio=median(ratios),
        ),
        Figure(
            "way", "the same, the time that sink and receiver took of the cores left out",
            median(one["rate_without_sink"] for one in rounds), "invoices/s", stick,
            detail={"ratios": without}, measured_ratio=median(without),
        ),
        *_receipts(stages, scale),
    ]  # fmt: skip


def _receipts(stages: dict[str, tuple[int | float, float]], scale: Scale) -> list[Figure]:
    """Measure the work after KSeF's "processed": the receipt is fetched, parsed and matched, verdicts and events are written."""
    runs = stages["verdicts"][0]
    upo, verdicts = (stages[name][1] / stages[name][0] for name in ("upo", "verdicts"))
    per_session = min(scale.session_invoices, scale.count)
    return [
        Figure(
            "way", f"receipt of {per_session:,} documents: fetched, parsed, matched, verdicts written",
            upo + verdicts, "s", Yardstick("of this, until it is parsed and kept", upo, "s"),
            Goal(_RECEIPT_SECONDS, full_size=per_session >= 10_000),
            note=f"mean of {runs:.0f} sessions, while others were under way",
        )
    ]  # fmt: skip


def _check_ledger(sink: RunningSink, expected: int) -> None:
    """Raise MeasurementFailed unless the sink got every invoice exactly once."""
    seen = sink.ledger()
    if not seen["documents"] == seen["distinct"] == expected:
        raise MeasurementFailed(
            f"of {expected:,} invoices KSeF's side got {seen['documents']:,}, {seen['distinct']:,} different ones"
        )


def _round(
    service: Service, http: Any, body: ZipBody, receiver: Receiver, sink: RunningSink, count: int
) -> dict[str, float]:
    already = len(receiver.invoices)
    us = psutil.Process()
    before_sink, before_us, before = sink.cpu_seconds(), cpu_of(us), service.cpu_seconds()
    started = time.monotonic()
    send(http, body, body.content_type)
    wait_for(
        lambda: len(receiver.invoices) >= already + count,
        "the last webhook",
        seconds=90 + count / _SLOWEST_A_SECOND,
        pause=0.1,
    )
    seconds = (receiver.last_at or time.monotonic()) - started
    by_sink, by_us, used = sink.cpu_seconds() - before_sink, cpu_of(us) - before_us, service.cpu_seconds()
    others = by_sink + by_us
    cores = len(us.cpu_affinity() or [0, 1]) if hasattr(us, "cpu_affinity") else 2
    return {
        "rate": count / seconds,
        "others_share": others / (seconds * cores),
        "rate_without_sink": count / max(seconds - others / cores, 1e-9),
        "cpu_us_sink": 1e6 * by_sink / count,
        "cpu_us_receiver": 1e6 * by_us / count,
        **{f"cpu_us_{role}": 1e6 * (used[role] - before.get(role, 0.0)) / count for role in used},
    }
