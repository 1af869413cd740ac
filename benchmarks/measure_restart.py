"""Measurement from kill -9 of all processes until work continues, with many unfinished invoices; then also of PostgreSQL."""

import time
from contextlib import suppress
from itertools import islice

import httpx

from benchmarks.measure import Figure, Goal, MeasurementFailed, Say, Scale, Yardstick
from benchmarks.measure_cargo import TarBody, many_invoices
from benchmarks.measure_service import Service, counts_of, nobody_at_ksef, running_service, send, wait_for

_GOAL_SECONDS = 10
_TIMEOUT_SECONDS = 120.0
_POLL_SECONDS = 0.1


def measure_restart(scale: Scale, say: Say) -> list[Figure]:
    """Measure from the kill to the second poll that shows more finished invoices than the first poll after the restart."""
    say("restart: making invoices")
    with running_service(nobody_at_ksef(), warm=False) as service:
        with service.client() as http:
            body = TarBody(islice(many_invoices(seed=41), scale.in_flight))
            say(f"restart: sending {scale.in_flight:,} invoices")
            upload = send(http, body, body.content_type)
        figures = []
        clean = 0.0
        for with_database in (False, True):
            with service.client() as http:
                wait_for(lambda: bool(counts_of(http, upload)), "the reading of the upload", seconds=60)
                left = body.count - sum(counts_of(http, upload).values())
            say(f"restart: kill -9 of everything{', PostgreSQL too' if with_database else ''}")
            seconds, ready = _kill_and_wait(service, upload, body.count, with_database=with_database)
            clean = clean or ready
            figures.append(
                Figure(
                    "restart",
                    f"kill -9 {'with' if with_database else 'without'} PostgreSQL until work goes on",
                    seconds,
                    "s",
                    Yardstick("until it answers at all", ready, "s"),
                    Goal(_GOAL_SECONDS),
                    note=f"{body.count:,} in flight, {left:,} not yet read",
                    detail={"in_flight": body.count, "unread": left, "ready_seconds": ready},
                )
            )
    return figures


def _kill_and_wait(service: Service, upload: str, count: int, *, with_database: bool) -> tuple[float, float]:
    """Return the seconds from the kill until work continues, and until the service answers."""
    killed = time.monotonic()
    service.kill(with_database=with_database)
    service.start()
    service.wait_until_ready()
    ready = time.monotonic() - killed
    first: int | None = None
    with service.client() as http:
        while time.monotonic() - killed < _TIMEOUT_SECONDS:
            with suppress(httpx.TransportError):
                # Invoices committed just before the kill are not progress, so the first poll only sets the reference.
                done = sum(counts_of(http, upload).values())
                if first is None:
                    first = done
                elif done > first:
                    return time.monotonic() - killed, ready
                elif done >= count:
                    raise MeasurementFailed("everything was done before it could be seen to go on; send more invoices")
            time.sleep(_POLL_SECONDS)
    raise MeasurementFailed(f"no work within {_TIMEOUT_SECONDS:.0f} s of the kill: {service.log_end()}")
