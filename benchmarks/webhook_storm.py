"""Measurement of many events for many webhooks, some of which hang, fail or vanish, with a worker killed midway.

    python -m benchmarks.webhook_storm --events 10000

runs twice, first with only the good receivers and then also with the bad ones, and prints the time until every good receiver had
every event. The two times are compared: bad receivers must not delay the good ones.
"""

import argparse
import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from app.clock import utc_now
from app.observability.logs import configure_logging
from app.observability.metrics import start_at_zero
from app.settings import Settings, load_settings
from app.store.embedded import EmbeddedPostgres
from app.store.events.endpoints import NewEndpoint
from app.store.events.outbox import EventType
from app.store.installation import prepare_installation
from app.store.store import Store, open_store
from workers.delivery.dispatcher import Dispatcher, delivery_context

_EVENTS_AT_ONCE: Final = 100
_POLL_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class Storm:
    """Numbers of events and of receivers of each kind."""

    events: int
    good: int
    hang: int = 0
    fail: int = 0
    vanish: int = 0
    kill_after: float | None = None
    """The share of good deliveries after which the worker is killed."""
    data_bytes: int = 600
    timeout_seconds: float = 3_600


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of a storm. Seconds are counted from the start of the worker to the last event of the last good receiver."""

    seconds: float
    deliveries: int
    repeated: int
    worker_cpu_seconds: float
    bad_requests: int

    @property
    def a_second(self) -> float:
        """Deliveries a second."""
        return self.deliveries / self.seconds


class StormFailed(Exception):
    """A good receiver did not get all events, or got one that was not sent."""


class Receivers:
    """The process of `benchmarks.storm_receiver`."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.ports: list[int] = json.loads(self._line())

    def report(self) -> dict[str, dict[str, float]]:
        """Request the counts so far."""
        assert self._process.stdin is not None  # noqa: S101 - it was opened with a pipe
        self._process.stdin.write("?\n")
        self._process.stdin.flush()
        found: dict[str, dict[str, float]] = json.loads(self._line())
        return found

    def _line(self) -> str:
        assert self._process.stdout is not None  # noqa: S101 - it was opened with a pipe
        return self._process.stdout.readline()


@contextmanager
def receivers(storm: Storm) -> Iterator[Receivers]:
    """Run the receivers inside the context."""
    enough = max(1, storm.events // 2)
    command = [sys.executable, "-m", "benchmarks.storm_receiver", str(storm.vanish), str(enough)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Receivers(process)
        finally:
            process.kill()


def run_storm(storm: Storm, settings: Settings) -> Outcome:
    """Send a storm through workers on this database, which has our schema. Raises StormFailed."""
    with receivers(storm) as running:
        asyncio.run(_prepare(storm, settings, running.ports))
        good = {f"/good/{number}" for number in range(storm.good)}
        start, before = time.time(), resource.getrusage(resource.RUSAGE_CHILDREN)
        worker = _start_worker(settings)
        try:
            if storm.kill_after is not None:
                _wait(storm, running, good, storm.kill_after)
                worker.send_signal(signal.SIGKILL)
                worker.wait()
                worker = _start_worker(settings)
            report = _wait(storm, running, good, 1.0)
        finally:
            worker.kill()
            worker.wait()
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
    requests = sum(int(report[path]["requests"]) for path in good)
    return Outcome(
        seconds=max(report[path]["last_at"] for path in good) - start,
        deliveries=storm.events * storm.good,
        repeated=requests - storm.events * storm.good,
        worker_cpu_seconds=used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime,
        bad_requests=sum(int(item["requests"]) for path, item in report.items() if path not in good),
    )


def _wait(storm: Storm, running: Receivers, good: set[str], share: float) -> dict[str, dict[str, float]]:
    wanted = share * storm.events * len(good)
    deadline = time.monotonic() + storm.timeout_seconds
    while True:
        report = running.report()
        events = [int(report[path]["events"]) if path in report else 0 for path in good]
        if max(events) > storm.events:
            raise StormFailed(f"a receiver saw {max(events):,} different events of {storm.events:,}")
        if sum(events) >= wanted:
            return report
        if time.monotonic() > deadline:
            raise StormFailed(f"{sum(events):,} of {wanted:,.0f} deliveries after {storm.timeout_seconds:,.0f} s")
        time.sleep(_POLL_SECONDS)


def _start_worker(settings: Settings) -> "subprocess.Popen[bytes]":
    environment = os.environ | {
        "KSEFD_DATABASE_URL": settings.database_url or "",
        "KSEFD_DATA_DIR": str(settings.data_dir),
        "KSEFD_WEBHOOK_ALLOW_HTTP": "true",
        "KSEFD_WEBHOOK_ALLOW_PRIVATE": "true",
        "KSEFD_LOG_LEVEL": "ERROR",
    }
    return subprocess.Popen([sys.executable, "-m", "benchmarks.webhook_storm", "--worker"], env=environment)


async def _prepare(storm: Storm, settings: Settings, ports: list[int]) -> None:
    async with open_store(settings) as store:
        tenant = await store.tenants.add(
            nip="5265877635",
            name="Storm",
            credential_kind="ksef_token",
            credential={"token": "t"},
            compression="zip",
            now=utc_now(),
        )
        paths = [
            (kind, ports[0], number)
            for kind, count in (("good", storm.good), ("hang", storm.hang), ("fail", storm.fail))
            for number in range(count)
        ] + [("vanish", port, number) for number, port in enumerate(ports[1:])]
        for kind, port, number in paths:
            endpoint = NewEndpoint(f"http://127.0.0.1:{port}/{kind}/{number}")
            await store.webhooks.add(tenant.id, endpoint, now=utc_now())
        await _write_events(storm, store, tenant.id)
        await store.database.execute("ANALYZE")


async def _write_events(storm: Storm, store: Store, tenant_id: int) -> None:
    data: dict[str, Any] = {"words": "x" * storm.data_bytes}
    for first in range(0, storm.events, _EVENTS_AT_ONCE):
        async with store.database.transaction() as connection:
            for _ in range(first, min(first + _EVENTS_AT_ONCE, storm.events)):
                await store.outbox.add(
                    connection, EventType.UPLOAD_COMPLETED, tenant_id=tenant_id, data=data, now=utc_now()
                )


async def _work() -> None:
    settings = load_settings()
    configure_logging(settings)
    start_at_zero()
    async with open_store(settings) as store:
        await Dispatcher(delivery_context(store, settings, utc_now)).run()


@contextmanager
def fresh_database() -> Iterator[Settings]:
    """Run an embedded PostgreSQL with an empty database of our schema inside the context."""
    with tempfile.TemporaryDirectory(prefix="ksefd-storm-") as folder, EmbeddedPostgres(Path(folder)) as server:
        settings = Settings(data_dir=Path(folder) / "data", database_url=server.url)
        prepare_installation(settings)
        yield settings


def main() -> int:
    """Run both storms and print their times."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.webhook_storm", description=__doc__)
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--good", type=int, default=30)
    parser.add_argument("--hang", type=int, default=10)
    parser.add_argument("--fail", type=int, default=5)
    parser.add_argument("--vanish", type=int, default=5)
    parser.add_argument("--kill-after", type=float, default=0.5, help="share of the deliveries; the second storm only")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        asyncio.run(_work())
        return 0
    alone = Storm(options.events, options.good)
    beside = Storm(options.events, options.good, options.hang, options.fail, options.vanish)
    killed = Storm(
        options.events, options.good, options.hang, options.fail, options.vanish, kill_after=options.kill_after
    )
    for name, storm in (("good receivers alone", alone), ("bad ones beside them", beside), ("and kill -9", killed)):
        with fresh_database() as settings:
            outcome = run_storm(storm, settings)
        print(
            f"{name}: {outcome.deliveries:,} deliveries in {outcome.seconds:,.1f} s, {outcome.a_second:,.0f} a second, "
            f"{outcome.worker_cpu_seconds:,.1f} s of CPU, {outcome.repeated:,} repeated, "
            f"{outcome.bad_requests:,} requests at bad ones",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
