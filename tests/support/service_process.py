"""The whole service as real processes for tests: `ksefd serve` on a free port, killed, interrupted and started again.

Whatever a test does to it, leaving the context ends every process of the service and fails when one had to be forced.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import httpx
import psutil

from tests.support.ports import reserved_port
from tests.support.sandbox_process import SandboxHandle

_ROOT = Path(__file__).resolve().parents[2]
_READY_SECONDS = 90.0
_STOP_SECONDS = 40.0
_PAUSE_SECONDS = 0.1

Name = Literal["supervisor", "api", "worker", "pool", "postgres"]


def wait_for(reached: Callable[[], bool], *, seconds: float = 60.0, what: str = "the condition") -> None:
    """Return once the condition holds; fail when it does not within the deadline."""
    deadline = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {seconds:.0f} seconds")
        time.sleep(_PAUSE_SECONDS)


class ApiClient:
    """One tenant's view of the service over HTTP."""

    def __init__(self, base_url: str, tenant: str, nip: str, api_key: str) -> None:
        self.tenant = tenant
        self.nip = nip
        self.api_key = api_key
        self._http = httpx.Client(
            base_url=base_url, headers={"Authorization": f"Bearer {api_key}"}, timeout=60, trust_env=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def request(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Make one call and give whatever the answer is."""
        return self._http.request(method, path, **more)

    def get(self, path: str, **params: Any) -> Any:
        """Give the JSON of a call that must succeed."""
        answer = self._http.get(path, params=params)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text[:500]}"
        return answer.json()

    def upload(
        self,
        body: bytes | Iterator[bytes],
        content_type: str,
        *,
        headers: Mapping[str, str] | None = None,
        **params: Any,
    ) -> dict[str, Any]:
        """Send a body that must be acknowledged."""
        answer = self._http.post(
            "/v1/uploads", content=body, params=params, headers={"Content-Type": content_type, **(headers or {})}
        )
        assert answer.status_code == 202, f"{answer.status_code} {answer.text[:500]}"
        document: dict[str, Any] = answer.json()
        return document

    def upload_stubbornly(self, body: bytes, content_type: str, *, key: str, seconds: float = 120) -> dict[str, Any]:
        """Send a body as an ERP would through outages: with an Idempotency-Key, until it is acknowledged."""
        acknowledged: list[dict[str, Any]] = []

        def sent() -> bool:
            try:
                answer = self._http.post(
                    "/v1/uploads", content=body, headers={"Content-Type": content_type, "Idempotency-Key": key}
                )
            except httpx.TransportError:
                return False
            # 500 would mean that an outage was not understood as one.
            assert answer.status_code in {202, 503}, f"{answer.status_code} {answer.text[:500]}"
            if answer.status_code == 202:
                acknowledged.append(answer.json())
            return bool(acknowledged)

        wait_for(sent, seconds=seconds, what="the acknowledgement of an upload")
        return acknowledged[0]

    def wait_until_done(self, upload: str, *, seconds: float = 90) -> dict[str, Any]:
        """Wait until nothing of an upload is on the way any more, and give it. Outages of the API are waited out."""
        seen: dict[str, Any] = {}

        def done() -> bool:
            try:
                answer = self._http.get(f"/v1/uploads/{upload}")
            except httpx.TransportError:
                return False
            if answer.status_code != 200:
                assert answer.status_code == 503, f"{answer.status_code} {answer.text[:500]}"
                return False
            seen.update(answer.json())
            return seen["completed_at"] is not None

        try:
            wait_for(done, seconds=seconds, what=f"the end of {upload}")
        except AssertionError as error:
            raise AssertionError(f"{error}; it was last seen as {seen}") from error
        return seen

    def results(self, upload: str) -> list[dict[str, Any]]:
        """Give the verdict on every invoice of an upload."""
        answer = self._http.get(f"/v1/uploads/{upload}/results", headers={"Accept": "application/x-ndjson"})
        assert answer.status_code == 200, f"{answer.status_code} {answer.text[:500]}"
        return [json.loads(line) for line in answer.text.splitlines()]

    def sessions(self) -> list[dict[str, Any]]:
        """Give all sessions, newest first."""
        items: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            page = self.get("/v1/sessions", **({"cursor": cursor} if cursor else {}))
            items += page["items"]
            cursor = page["next"]
            if cursor is None:
                return items


@dataclass
class ServiceHandle:
    """A service that may be killed and started again; data folder, port and settings stay the same."""

    base_url: str
    data_dir: Path
    log: Path
    process: subprocess.Popen[bytes]
    environment: dict[str, str]
    _clients: list[ApiClient] = field(default_factory=list)

    def start(self) -> None:
        """Start the service anew after it has ended; returns when it is ready."""
        assert self.process.poll() is not None, "the supervisor still runs"
        self.process = _launch(self.base_url, self.environment, self.log)
        self.wait_until_ready()

    def wait_until_ready(self, *, seconds: float = _READY_SECONDS) -> None:
        """Wait until /readyz answers 200; fail at once when the supervisor ends."""

        def ready() -> bool:
            if self.process.poll() is not None:
                raise AssertionError(f"the service ended with code {self.process.returncode}: {self.last_words()}")
            try:
                return httpx.get(f"{self.base_url}/readyz", timeout=5, trust_env=False).status_code == 200
            except httpx.TransportError:
                return False

        wait_for(ready, seconds=seconds, what="readiness")

    def add_tenant(self, nip: str, *, compression: str = "zip") -> ApiClient:
        """Add a tenant by the command line, as an operator would, and give its client."""
        command = [sys.executable, "-m", "app.cli.main", "tenant", "add", nip, "--name", "Spółka testowa"]
        done = subprocess.run(
            [*command, "--self-signed", "--compression", compression, "--json"],
            cwd=_ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        shape = json.loads(done.stdout)
        client = ApiClient(self.base_url, shape["tenant"], shape["nip"], shape["api_key"])
        self._clients.append(client)
        return client

    def processes(self, name: Name) -> list[psutil.Process]:
        """Give the living processes of one kind."""
        if name == "supervisor":
            return _living([self.process.pid]) if self.process.poll() is None else []
        if name == "postgres":
            return _living([_postmaster(self.data_dir)])
        found = {kind: list(self._commands(kind)) for kind in ("api", "worker")}
        if name != "pool":
            return found[name]
        # The second process that the worker starts, the resource tracker of multiprocessing, checks nothing.
        return [
            child
            for worker in found["worker"]
            for child in _children(worker)
            if "spawn_main" in " ".join(_command_line(child))
        ]

    def kill(self, name: Name = "supervisor") -> bool:
        """Kill -9 every process of one kind; false when there was none at this moment."""
        victims = self.processes(name)
        for victim in victims:
            _send(victim, signal.SIGKILL)
        if name == "supervisor":
            self.process.wait(timeout=10)
        return bool(victims)

    def interrupt(self, *, seconds: float = _STOP_SECONDS) -> int:
        """Press Ctrl-C: SIGINT to the whole foreground process group; gives the exit code when all has ended."""
        os.killpg(self.process.pid, signal.SIGINT)
        code = self.process.wait(timeout=seconds)
        assert not self.survivors(), f"after Ctrl-C these still run: {_told(self.survivors())}; {self.last_words()}"
        return code

    def survivors(self, *, with_database: bool = True) -> list[psutil.Process]:
        """Give every living process of this service, the embedded database's among them unless told otherwise."""
        folder = str(self.data_dir)
        found = []
        for process in psutil.process_iter():
            try:
                # PostgreSQL writes its title over its environment, but it stays in its data folder.
                ours = (
                    process.environ().get("KSEFD_DATA_DIR") == folder
                    or (with_database and process.cwd() == str(self.data_dir / "postgres"))
                ) and process.status() != psutil.STATUS_ZOMBIE
                if ours and (with_database or process.name() != "postgres"):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def last_words(self) -> str:
        """Give the end of the log."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:]
        return "\n".join(lines)

    def _commands(self, kind: str) -> Iterator[psutil.Process]:
        for process in self.survivors(with_database=False):
            line = _command_line(process)
            if line[1:4] == ["-m", "app.cli.main", kind]:
                yield process

    def _end(self) -> None:
        for client in self._clients:
            client.close()
        forced = False
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                forced = True
                self.process.kill()
                self.process.wait()
            left = self.survivors()
        else:
            # A killed supervisor cannot stop its database, which by design waits for the next start.
            left = self.survivors(with_database=False)
        words = _told(left)
        for process in self.survivors():
            _send(process, signal.SIGKILL)
        psutil.wait_procs(self.survivors(), timeout=5)
        assert not forced, f"the service did not end when it was asked to: {self.last_words()}"
        assert not left, f"the service left processes behind: {words}; {self.last_words()}"


@contextmanager
def running_service(folder: Path, sandbox: SandboxHandle, **settings: object) -> Iterator[ServiceHandle]:
    """Run `ksefd serve` with its data below a folder, ready when the block begins, ended with all of it after.

    Settings are those of `app.settings`, in lower case: `linger_seconds=0`, `database_url=...`. Without a database_url
    it runs a PostgreSQL of its own below the folder.
    """
    data_dir = (folder / "var").resolve()
    defaults: dict[str, object] = {
        "data_dir": data_dir,
        "ksef_url": sandbox.base_url,
        "linger_seconds": 0,
        "pool_workers": 1,
        "log_format": "json",
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("KSEFD_", "PROMETHEUS_"))}
    environment |= {f"KSEFD_{name.upper()}": str(value) for name, value in (defaults | settings).items()}
    environment["PYTHONUNBUFFERED"] = "1"
    log = folder / "service.log"
    with reserved_port() as port:
        base_url = f"http://127.0.0.1:{port}"
        handle = ServiceHandle(base_url, data_dir, log, _launch(base_url, environment, log), environment)
        try:
            handle.wait_until_ready()
            yield handle
        finally:
            handle._end()


def _launch(base_url: str, environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    port = base_url.rpartition(":")[2]
    with log.open("ab") as output:
        # A session of its own is what a terminal gives its foreground job: Ctrl-C goes to this group.
        return subprocess.Popen(
            [sys.executable, "-m", "app.cli.main", "serve", "--port", port],
            cwd=_ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _postmaster(data_dir: Path) -> int | None:
    try:
        return int((data_dir / "postgres" / "postmaster.pid").read_text().split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return None


def _living(pids: list[int | None]) -> list[psutil.Process]:
    return [psutil.Process(pid) for pid in pids if pid is not None and psutil.pid_exists(pid)]


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children()
    except psutil.Error:
        return []


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _send(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def _told(processes: list[psutil.Process]) -> str:
    return "; ".join(f"{process.pid} {' '.join(_command_line(process))[:120]}" for process in processes) or "none"
