"""The measured service: `ksefd serve` with its own PostgreSQL, and access to its processes from outside."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import httpx
import psutil

from app.cli.demo.processes import clean_environment, drop_data, free_port, run_once
from benchmarks.measure import MeasurementFailed
from benchmarks.measure_cargo import NIP

POOL_PROCESSES: Final = 2
"""The number of pool processes, since DESIGN's goals are for two cores."""

_READY_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 20.0
_POLL_SECONDS: Final = 0.05
_GONE: Final = (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess)


class Service:
    """One data folder, one port, and at most one `ksefd serve` running on them."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self.data = folder / "var"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.api_key = ""
        self._log = folder / "service.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.environment = clean_environment(
            {
                "KSEFD_DATA_DIR": str(self.data),
                "KSEFD_POOL_WORKERS": str(POOL_PROCESSES),
                "KSEFD_LOG_FORMAT": "json",
                "KSEFD_LOG_LEVEL": "WARNING",
                **settings,
            }
        )

    def start(self) -> None:
        """Start the service without waiting until it is ready."""
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "app.cli.main", "serve", "--port", str(self.port)],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_until_ready(self) -> float:
        """Wait for `/readyz` and return the seconds that it took. Raises MeasurementFailed."""
        started = time.monotonic()
        with httpx.Client(trust_env=False, timeout=5) as http:
            while time.monotonic() - started < _READY_SECONDS:
                if self._process is None or self._process.poll() is not None:
                    raise MeasurementFailed(f"the service ended: {self.log_end()}")
                with suppress(httpx.TransportError):
                    if http.get(f"{self.url}/readyz").status_code == 200:
                        return time.monotonic() - started
                time.sleep(_POLL_SECONDS)
        raise MeasurementFailed(f"the service was not ready in {_READY_SECONDS:.0f} s: {self.log_end()}")

    def add_tenant(self) -> None:
        """Add the tenant of all measurements and keep its API key."""
        command = ["app.cli.main", "tenant", "add", NIP, "--name", "Bench", "--self-signed", "--json"]
        self.api_key = str(json.loads(run_once(command, self.environment))["api_key"])

    def client(self) -> httpx.Client:
        """Open a client with the tenant's key; the caller closes it."""
        headers = {"Authorization": f"Bearer {self.api_key}"}
        return httpx.Client(base_url=self.url, headers=headers, trust_env=False, timeout=120)

    def processes(self) -> list[psutil.Process]:
        """Return our own processes: supervisor, API, worker, pool. PostgreSQL is not among them."""
        if self._process is None:
            return []
        with suppress(*_GONE):
            root = psutil.Process(self._process.pid)
            return [one for one in (root, *root.children(recursive=True)) if not _is_postgres(one)]
        return []

    def postgres(self) -> list[psutil.Process]:
        """Return the processes of the embedded PostgreSQL, the postmaster first."""
        pid_file = self.data / "postgres" / "postmaster.pid"
        with suppress(*_GONE, FileNotFoundError, ValueError, IndexError):
            root = psutil.Process(int(pid_file.read_text().splitlines()[0]))
            if _is_postgres(root):
                return [root, *root.children(recursive=True)]
        return []

    def kill(self, *, with_database: bool) -> None:
        """Kill all our processes with SIGKILL at once, with `with_database` also PostgreSQL, and wait for their end."""
        victims = [*self.processes(), *(self.postgres() if with_database else [])]
        for victim in victims:
            with suppress(*_GONE):
                victim.send_signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
        psutil.wait_procs(victims, timeout=5)
        self._process = None

    def stop(self) -> None:
        """Stop the service in order, and kill the processes that are left."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_SECONDS)
        self.kill(with_database=False)
        drop_data(self.data)

    def log_end(self) -> str:
        """Return the end of the service's log."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return " | ".join(lines[-5:]) or "the log is empty"

    def cpu_seconds(self) -> dict[str, float]:
        """Return the CPU seconds used so far by role: supervisor, api, worker, pool, postgres."""
        used: dict[str, float] = {}
        for one in self.processes():
            with suppress(*_GONE):
                times = one.cpu_times()
                role = _role(one)
                used[role] = used.get(role, 0.0) + times.user + times.system
        for one in self.postgres():
            with suppress(*_GONE):
                times = one.cpu_times()
                used["postgres"] = used.get("postgres", 0.0) + times.user + times.system
        return used

    def stage_seconds(self) -> dict[str, tuple[float, float]]:
        """Return (runs, seconds in all) of each stage, from the service's own metrics."""
        text = httpx.get(f"{self.url}/metrics", trust_env=False, timeout=30).text
        found: dict[str, dict[str, float]] = {"count": {}, "sum": {}}
        for line in text.splitlines():
            for kind, values in found.items():
                if line.startswith(f"ksefd_stage_seconds_{kind}{{"):
                    name, _, value = line.rpartition(" ")
                    values[name.split('"')[1]] = float(value)
        return {stage: (count, found["sum"].get(stage, 0.0)) for stage, count in found["count"].items() if count}


@contextmanager
def running_service(settings: Mapping[str, str], *, warm: bool = True) -> Iterator[Service]:
    """Run a service in a temporary folder, with a tenant; processes and folder are always removed.

    With `warm` it checks one invoice first: pool processes start and compile the schema at their first chunk, which happens once
    for each start and is not part of any figure.
    """
    with tempfile.TemporaryDirectory(prefix="ksefd-bench-", ignore_cleanup_errors=True) as folder:
        service = Service(Path(folder), settings)
        try:
            service.start()
            service.wait_until_ready()
            service.add_tenant()
            if warm:
                _warm_up(service)
            yield service
        finally:
            service.stop()


def nobody_at_ksef() -> dict[str, str]:
    """Return settings with a KSeF address at which no process listens.

    Dispatch fails in a millisecond and tries again half a minute later, so the measurement ends at the encrypted parts, and no
    sandbox takes CPU from the service.
    """
    return {"KSEFD_KSEF_URL": f"http://127.0.0.1:{free_port()}/v2"}


def send(http: httpx.Client, body: Iterable[bytes], content_type: str, *, flush: bool = True) -> str:
    """Stream a body to the service and return the upload's id. Raises MeasurementFailed."""
    answer = http.post(
        "/v1/uploads",
        params={"flush": str(flush).lower()},
        headers={"Content-Type": content_type},
        content=iter(body),
    )
    if answer.status_code != 202:
        raise MeasurementFailed(f"the upload was answered with {answer.status_code}: {answer.text[:300]}")
    return str(answer.json()["id"])


def counts_of(http: httpx.Client, upload_id: str) -> dict[str, int]:
    """Return the counts of an upload's invoices by state, without empty states. Raises MeasurementFailed."""
    answer = http.get(f"/v1/uploads/{upload_id}")
    if answer.status_code != 200:
        raise MeasurementFailed(f"the upload's state was answered with {answer.status_code}: {answer.text[:300]}")
    document: dict[str, Any] = answer.json()
    if document["state"] == "failed":
        raise MeasurementFailed(f"the upload could not be read: {document['errors']}")
    return {state: count for state, count in document["counts"].items() if count}


def sessions_of(http: httpx.Client) -> list[dict[str, Any]]:
    """Return all sessions, as the API shows them (up to 500)."""
    items: list[dict[str, Any]] = http.get("/v1/sessions", params={"limit": 500}).raise_for_status().json()["items"]
    return items


def wait_for(condition: Callable[[], bool], what: str, *, seconds: float, pause: float = _POLL_SECONDS) -> None:
    """Poll until a condition is true. Raises MeasurementFailed when it does not become true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise MeasurementFailed(f"{what}: not within {seconds:.0f} seconds")
        time.sleep(pause)


def memory_of(processes: Iterable[psutil.Process]) -> int:
    """Return the memory of the processes together: proportional set size, so that shared pages count once."""
    total = 0
    for one in processes:
        with suppress(*_GONE):
            full = one.memory_full_info()
            total += int(getattr(full, "pss", full.rss))
    return total


@contextmanager
def on_two_cores() -> Iterator[int]:
    """Bind this process and all processes started inside to two cores, where the system can; yields the number of cores."""
    if not hasattr(os, "sched_setaffinity"):
        yield os.cpu_count() or 1
        return
    before = os.sched_getaffinity(0)
    chosen = set(sorted(before)[:2])
    os.sched_setaffinity(0, chosen)
    try:
        yield len(chosen)
    finally:
        os.sched_setaffinity(0, before)


def _warm_up(service: Service) -> None:
    # One broken invoice for each pool process is checked and refused, so it has no further effect.
    with service.client() as http:
        uploads = [send(http, [b"<Faktura/>%d" % number], "application/xml") for number in range(POOL_PROCESSES)]
        for upload in uploads:
            wait_for(lambda upload=upload: bool(counts_of(http, upload)), "the pool's start", seconds=60)  # type: ignore[misc]


def _is_postgres(process: psutil.Process) -> bool:
    with suppress(*_GONE):
        return process.name().startswith("postgres")
    return False


def _role(process: psutil.Process) -> str:
    words = process.cmdline()
    if any("spawn_main" in word or "multiprocessing" in word for word in words):
        return "pool"
    for role in ("serve", "api", "worker"):
        if role in words:
            return "supervisor" if role == "serve" else role
    return "other"
