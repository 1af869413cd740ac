"""`python -m benchmarks.night`: sends one upload of 2 GB and kills the service while it arrives and while it is read.

`ksefd submit` sends a tar of 500,000 invoices. When half of it has arrived, every process of the service is killed, and again
when a third of it has been read; each time the service is only started again. At the end every invoice must have its verdict,
and the sandbox's ledger must have each once. The memory of all our processes is sampled all the time.
"""

import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Final

import httpx
import typer

from app.cli.demo.processes import free_port
from benchmarks.measure import MeasurementFailed
from benchmarks.measure_cargo import TarBody, many_invoices, up_to_bytes
from benchmarks.measure_memory import MemoryWatch
from benchmarks.measure_sandbox import ledger, running_sandbox
from benchmarks.measure_service import Service, memory_of, running_service, wait_for

_TIMEOUT_SECONDS: Final = 3_600.0
_MB: Final = 1e6


def main(
    gigabytes: Annotated[float, typer.Option(min=0.1, help="XML of the upload.")] = 2.0,
    kill: Annotated[bool, typer.Option(help="Kill all processes twice meanwhile.")] = True,
) -> None:
    """Print memory by phase and the verdicts; exit code 1 when one is missing."""
    with (
        TemporaryDirectory(prefix="ksefd-night-", ignore_cleanup_errors=True) as folder,
        running_sandbox(free_port()) as sandbox_url,
        running_service({"KSEFD_KSEF_URL": f"{sandbox_url}/v2"}) as service,
    ):
        path = Path(folder) / "night.tar"
        count = _write(path, int(gigabytes * 1e9))
        size = path.stat().st_size
        print(f"{count:,} invoices, a tar of {size / 1e9:.2f} GB; idle {memory_of(service.processes()) / _MB:.0f} MB")
        started = time.monotonic()
        sender = subprocess.Popen(
            [sys.executable, "-m", "app.cli.main", "submit", str(path), "--flush"],
            env=service.environment | {"KSEFD_URL": service.url, "KSEFD_API_KEY": service.api_key},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            with service.client() as http:
                upload = _night(service, http, sender, size=size, count=count, kill=kill)
        finally:
            sender.kill()
            sender.wait()
        seconds = time.monotonic() - started
        counts = {state: number for state, number in upload["counts"].items() if number}
        taken = Counter(one["accepted"] for one in ledger(sandbox_url)["sessions"])
        accepted = sum(number * times for number, times in taken.items())
        print(f"{upload['state']} after {seconds:.0f} s: {counts}; the sandbox accepted {accepted:,}")
    if upload["state"] != "completed" or counts != {"accepted": count} or accepted != count:
        raise typer.Exit(1)


def _write(path: Path, size: int) -> int:
    body = TarBody(up_to_bytes(many_invoices(seed=91), size))
    with path.open("wb") as file:
        for piece in body:
            file.write(piece)
    return body.count


def _night(
    service: Service, http: httpx.Client, sender: subprocess.Popen[bytes], *, size: int, count: int, kill: bool
) -> dict[str, Any]:
    with _phase(service, "while the first half arrives"):
        wait_for(
            lambda: _arrived(http) >= size // 2 or sender.poll() is not None,
            "half of the body",
            seconds=_TIMEOUT_SECONDS,
            pause=0.1,
        )
    if kill:
        _kill_and_start(service)
    with _phase(service, "while the rest arrives"):
        wait_for(lambda: sender.poll() is not None, "the end of the command", seconds=_TIMEOUT_SECONDS, pause=0.2)
    if sender.returncode != 0:
        raise MeasurementFailed(f"ksefd submit ended with {sender.returncode}")
    upload = http.get("/v1/uploads", params={"limit": 1}).raise_for_status().json()["items"][0]["id"]

    def seen() -> dict[str, Any]:
        found: dict[str, Any] = http.get(f"/v1/uploads/{upload}").raise_for_status().json()
        return found

    with _phase(service, "until a third is read"):
        wait_for(lambda: sum(seen()["counts"].values()) >= count // 3, "reading", seconds=_TIMEOUT_SECONDS, pause=0.5)
    if kill:
        _kill_and_start(service)
    with _phase(service, "until all is read"):
        wait_for(lambda: sum(seen()["counts"].values()) >= count, "reading", seconds=_TIMEOUT_SECONDS, pause=0.5)
    with _phase(service, "until each has its verdict"):
        wait_for(lambda: seen()["state"] in {"completed", "failed"}, "verdicts", seconds=_TIMEOUT_SECONDS, pause=1)
    return seen()


def _arrived(http: httpx.Client) -> int:
    items = http.get("/v1/uploads/resumable").raise_for_status().json()["items"]
    return max((one["offset"] for one in items), default=0)


def _kill_and_start(service: Service) -> None:
    service.kill(with_database=False)
    service.start()
    print(f"  killed everything; ready again after {service.wait_until_ready():.1f} s")


class _phase:  # noqa: N801 - used like a function
    """Context that samples memory and prints its peak."""

    def __init__(self, service: Service, name: str) -> None:
        self._watch, self._name = MemoryWatch(service), name
        self._started = time.monotonic()

    def __enter__(self) -> None:
        self._watch.start()

    def __exit__(self, *_: object) -> None:
        self._watch.stop()
        print(
            f"  {self._name}: peak {self._watch.peak / _MB:.0f} MB, {time.monotonic() - self._started:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    typer.run(main)
