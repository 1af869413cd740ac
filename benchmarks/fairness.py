"""`python -m benchmarks.fairness`: measures the waits of one tenant while another has very many invoices queued.

It runs the real service with one worker and two pool processes. The first tenant sends its invoices in one large upload and
fifty smaller ones. While they are read, the other tenant sends uploads of a hundred invoices, posts a hundred single invoices,
and requests checks; each is timed from the first byte sent until all its invoices are checked and queued.
"""

import io
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from statistics import median
from typing import Annotated, Final

import httpx
import typer

from app.cli.demo.processes import run_once
from app.clock import utc_now, warsaw_day
from benchmarks.measure import MeasurementFailed
from benchmarks.measure_cargo import TarBody, many_invoices
from benchmarks.measure_service import Service, counts_of, nobody_at_ksef, on_two_cores, running_service, send, wait_for
from invoicegen.invoices import GeneratedInvoice, generate_invoices, write_zip

GOAL_SECONDS: Final = 2.0
_OTHER_NIP: Final = "5260250274"
_SMALL_UPLOADS: Final = 50
_OWN: Final = 100
_POLL_SECONDS: Final = 0.02
_TIMEOUT_SECONDS: Final = 120.0
_SENDERS: Final = 8


@dataclass
class Waits:
    """Seconds that the other tenant waited, by action."""

    by_deed: dict[str, list[float]] = field(default_factory=dict)

    def time(self, deed: str, action: Callable[[], None]) -> None:
        """Run an action and record its time."""
        started = time.monotonic()
        action()
        self.by_deed.setdefault(deed, []).append(time.monotonic() - started)

    @property
    def longest(self) -> float:
        """The longest of all waits for a verdict."""
        return max(seconds for deed, times in self.by_deed.items() for seconds in times)


def main(
    queued: Annotated[int, typer.Option(min=1_000, help="Invoices of the first tenant.")] = 500_000,
    rounds: Annotated[int, typer.Option(min=1, help="How often the other one sends its hundred.")] = 10,
) -> None:
    """Print the other tenant's waits, alone and with the first tenant, and fail when one is longer than two seconds."""
    with on_two_cores() as cores, running_service(nobody_at_ksef()) as service:
        other = _other_tenant(service)
        with service.client() as http, other as beside:
            alone, shared = Waits(), Waits()
            _round(beside, alone, seed=1)
            print(f"{cores} cores, one worker with two pool processes")
            uploads = _fill(http, queued)
            behind = queued - _checked(http, uploads)
            print(f"the first tenant's invoices: {queued:,} sent in {len(uploads)} uploads, {behind:,} not checked yet")
            started, before = time.monotonic(), queued - behind
            for number in range(rounds):
                _round(beside, shared, seed=2 + number)
            done = _checked(http, uploads)
            rate = (done - before) / (time.monotonic() - started)
            print(f"meanwhile {done - before:,} of them were checked, {rate:,.0f} a second; {queued - done:,} are left")
            if done >= queued:
                raise MeasurementFailed("the first tenant's invoices were all checked before the end: send more")
    _print(alone, shared)
    if shared.longest > GOAL_SECONDS:
        raise typer.Exit(1)


def _print(alone: Waits, shared: Waits) -> None:
    print(f"{'the other tenant':<34}{'alone':>9}{'median':>9}{'longest':>9}   goal: under {GOAL_SECONDS:.0f} s")
    for deed, times in shared.by_deed.items():
        print(f"{deed:<34}{alone.by_deed[deed][0]:>8.2f}s{median(times):>8.2f}s{max(times):>8.2f}s")


def _other_tenant(service: Service) -> httpx.Client:
    command = ["app.cli.main", "tenant", "add", _OTHER_NIP, "--name", "Beside", "--self-signed", "--json"]
    key = str(json.loads(run_once(command, service.environment))["api_key"])
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.Client(base_url=service.url, headers=headers, trust_env=False, timeout=_TIMEOUT_SECONDS)


def _fill(http: httpx.Client, count: int) -> list[str]:
    """Send half of the invoices in one upload and half in fifty, and return the uploads."""
    source = many_invoices(seed=99)
    sizes = [count // 2, *[(count - count // 2) // _SMALL_UPLOADS] * _SMALL_UPLOADS]
    uploads: list[str] = []
    for size in sizes:
        body = TarBody(islice(source, size))
        uploads.append(send(http, body, body.content_type, flush=False))
    return uploads


def _checked(http: httpx.Client, uploads: list[str]) -> int:
    return sum(sum(counts_of(http, upload).values()) for upload in uploads)


def _own_invoices(seed: int, start: int) -> Iterator[GeneratedInvoice]:
    day = warsaw_day(utc_now())
    return generate_invoices(
        _OWN, seller_nip=_OTHER_NIP, issue_date=day, seed=1_000 + seed, start=start, attachments=False
    )


def _round(http: httpx.Client, waits: Waits, *, seed: int) -> None:
    buffer = io.BytesIO()
    write_zip(buffer, _own_invoices(seed, 0))
    waits.time("an upload of 100", lambda: _upload(http, buffer.getvalue()))
    documents = [invoice.xml for invoice in _own_invoices(seed, _OWN)]
    waits.time("100 single posts", lambda: _post(http, documents, waits))
    waits.time("a check at once", lambda: _validate(http, documents[0]))


def _upload(http: httpx.Client, body: bytes) -> None:
    upload = send(http, [body], "application/zip", flush=False)
    wait_for(
        lambda: sum(counts_of(http, upload).values()) == _OWN,
        "the verdicts on a hundred",
        seconds=_TIMEOUT_SECONDS,
        pause=_POLL_SECONDS,
    )
    refused = {state for state in counts_of(http, upload) if state in {"invalid", "duplicate", "failed"}}
    if refused:
        raise MeasurementFailed(f"some of a hundred valid invoices are {', '.join(refused)}")


def _post(http: httpx.Client, documents: list[bytes], waits: Waits) -> None:
    def post(document: bytes) -> str:
        answer = http.post("/v1/invoices", content=document, headers={"Content-Type": "application/xml"})
        if answer.status_code != 202:
            raise MeasurementFailed(f"a single post was answered with {answer.status_code}: {answer.text[:300]}")
        return str(answer.json()["id"])

    acknowledged: list[str] = []
    with ThreadPoolExecutor(_SENDERS) as senders:
        waits.time("  of which until the last answer", lambda: acknowledged.extend(senders.map(post, documents)))
    wait_for(
        lambda: not http.get("/v1/invoices?state=received&limit=1").raise_for_status().json()["items"],
        "the check of single posts",
        seconds=_TIMEOUT_SECONDS,
        pause=_POLL_SECONDS,
    )
    state = http.get(f"/v1/invoices/{acknowledged[-1]}").raise_for_status().json()["state"]
    if state not in {"queued", "packed"}:
        raise MeasurementFailed(f"a valid single post is {state}")


def _validate(http: httpx.Client, document: bytes) -> None:
    answer = http.post("/v1/validate", content=document, headers={"Content-Type": "application/xml"})
    if answer.status_code != 200 or not answer.json()["valid"]:
        raise MeasurementFailed(f"the check was answered with {answer.status_code}: {answer.text[:300]}")


if __name__ == "__main__":
    typer.run(main)
