"""Run of the demo from its start to its end."""

import json
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import typer

from app.cli.actions.status import page_numbers
from app.cli.actions.submit import send_body
from app.cli.client.service_client import ServiceClient
from app.cli.client.upload_sources import Body
from app.cli.demo.checks import (
    Check,
    Verdicts,
    check_forgery,
    check_ledger,
    check_upos,
    check_webhooks,
)
from app.cli.demo.invoices import DemoInvoices, make_demo_invoices
from app.cli.demo.processes import clean_environment, drop_data, free_port, run_once, running, term_as_interrupt
from app.cli.demo.receiver import Receiver, listening
from app.cli.demo.view import ProgressView, print_checks, print_history, print_results
from app.cli.demo.watching import watch
from app.cli.exit_codes import REFUSED, UsageProblem
from app.cli.output import print_json, stdout_console
from app.clock import utc_now, warsaw_day

_OUT: Final = Path("demo-out")
_LINGER_SECONDS: Final = "1.5"
_TENANT_NAME: Final = "Demo sp. z o.o."
_BASE_DEADLINE_SECONDS: Final = 170.0
_SLOWEST_A_SECOND: Final = 100
"""The rate, in invoices a second, by which the deadline grows above the default count."""


@dataclass(frozen=True, slots=True)
class _Folders:
    """The folder of UPOs and logs, and the folder of the service's data."""

    out: Path
    data: Path


def run_demo(*, count: int, bad: int, keep: Path | None, as_json: bool) -> None:
    """Run the demo, print its results, and exit with REFUSED when a check fails. Stops its processes in every case."""
    with _make_folders(keep) as folders, term_as_interrupt():
        invoices = make_demo_invoices(count, bad, warsaw_day(utc_now()), seed=secrets.randbelow(1 << 30))
        report, checks, verdicts, history = _run(invoices, folders)
    failed = [check for check in checks if not check.ok]
    if as_json:
        print_json(report | {"ok": not failed, "checks": [asdict(check) for check in checks]})
    else:
        console = stdout_console()
        print_results(console, report, verdicts.bad_results)
        print_history(console, history)
        print_checks(console, checks)
        for path in report["upo"]:
            console.print(f"UPO: {path}", markup=False, soft_wrap=True)
        console.print(f"The logs of service and sandbox are in {folders.out}/", style="dim", markup=False)
        if keep:
            console.print(
                f"To inspect the data: KSEFD_DATA_DIR={folders.data} ksefd serve",
                style="dim",
                markup=False,
                soft_wrap=True,
            )
    if failed:
        raise typer.Exit(REFUSED)


def _run(invoices: DemoInvoices, folders: _Folders) -> tuple[dict[str, Any], list[Check], Verdicts, dict[str, Any]]:
    receiver = Receiver()
    sandbox_url, service_url = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    environment = clean_environment(
        {
            "KSEFD_DATA_DIR": str(folders.data),
            "KSEFD_KSEF_URL": f"{sandbox_url}/v2",
            "KSEFD_LINGER_SECONDS": _LINGER_SECONDS,
            "KSEFD_WEBHOOK_ALLOW_HTTP": "true",
            "KSEFD_WEBHOOK_ALLOW_PRIVATE": "true",
            "KSEFD_LOG_FORMAT": "json",
        }
    )
    with ExitStack() as stack:
        view = stack.enter_context(ProgressView())
        # The pool is left last: the service has stopped by then, so the thread that sends to it has ended.
        threads = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="sending"))
        hook = stack.enter_context(listening(receiver))
        view.say("Starting the KSeF sandbox and the service with its own PostgreSQL ...")
        sandbox = stack.enter_context(
            running("the sandbox", ["sandbox", "--port", _port(sandbox_url)], environment, folders.out / "sandbox.log")
        )
        serve = ["app.cli.main", "serve", "--port", _port(service_url)]
        server = stack.enter_context(running("the service", serve, environment, folders.out / "service.log"))
        sandbox.wait_until_ready(f"{sandbox_url}/_sandbox/health")
        server.wait_until_ready(f"{service_url}/readyz")
        api_key = _add_tenant(invoices.seller_nip, environment)
        service = stack.enter_context(ServiceClient(service_url, api_key))
        receiver.expect(service.post("/v1/webhooks", {"url": hook, "description": "demo"})["secret"])
        view.say(
            f"Sending {invoices.count:,} valid invoices of NIP {invoices.seller_nip} and {len(invoices.bad)} bad ones ..."
        )
        sending = threads.submit(_send, service_url, api_key, invoices)
        upload, times = watch(
            service,
            invoices,
            receiver,
            sending,
            (sandbox, server),
            show=view.show,
            deadline_seconds=_BASE_DEADLINE_SECONDS + max(0, invoices.count - 10_000) / _SLOWEST_A_SECOND,
        )
        view.say("Comparing the invoices sent with API, UPOs, ledger and webhooks ...")
        verdicts = Verdicts(invoices, service.lines(f"/v1/uploads/{upload['id']}/results"))
        sessions = list(service.items("/v1/sessions"))
        upos = _save_upos(service, sessions, folders.out / "upo")
        checks = [
            verdicts.check_valid(),
            verdicts.check_bad(),
            check_upos(upos, invoices, verdicts),
            check_ledger(_ledger(sandbox_url), _ledger_rows(sandbox_url), invoices, verdicts),
            check_webhooks(receiver, verdicts, len(sessions)),
            check_forgery(receiver),
        ]
        history = service.get(f"/v1/invoices/{verdicts.sample}") if verdicts.sample else {}
    report = {
        "invoices": invoices.total,
        "counts": upload["counts"],
        "seconds": times.seconds(),
        "sessions": len(sessions),
        "upo": [str(path) for path in upos],
        "webhooks": {
            "verified": receiver.verified,
            "refused": len(receiver.refused),
            "events": dict(receiver.types),
        },
    }
    return report, checks, verdicts, history


def _send(service_url: str, api_key: str, invoices: DemoInvoices) -> dict[str, Any]:
    with ServiceClient(service_url, api_key) as service:
        return send_body(service, Body("demo", "application/x-tar", 0, invoices.pieces), {"reference": "demo"})


def _add_tenant(nip: str, environment: dict[str, str]) -> str:
    command = ["app.cli.main", "tenant", "add", nip, "--name", _TENANT_NAME, "--self-signed", "--json"]
    return str(json.loads(run_once(command, environment))["api_key"])


def _save_upos(service: ServiceClient, sessions: list[dict[str, Any]], folder: Path) -> list[Path]:
    saved: list[Path] = []
    for session in sessions:
        for page in page_numbers(session):
            path = folder / f"{session['reference_number']}-{page}.xml"
            with path.open("wb") as file:
                service.download(f"/v1/sessions/{session['id']}/upo/{page}", file)
            saved.append(path)
    return saved


def _ledger(sandbox_url: str) -> dict[str, Any]:
    answer = httpx.get(f"{sandbox_url}/_sandbox/ledger", timeout=30, trust_env=False)
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


def _ledger_rows(sandbox_url: str) -> Iterator[dict[str, Any]]:
    with httpx.stream(
        "GET", f"{sandbox_url}/_sandbox/ledger", params={"full": "1"}, timeout=30, trust_env=False
    ) as answer:
        answer.raise_for_status()
        for line in answer.iter_lines():
            yield json.loads(line)


def _port(url: str) -> str:
    return url.rpartition(":")[2]


@contextmanager
def _make_folders(keep: Path | None) -> Iterator[_Folders]:
    """Create the folders. Without `keep` the service's data are in a temporary folder that is removed at the end."""
    out = keep or _OUT
    data = out / "var" if keep else Path(tempfile.mkdtemp(prefix="ksefd-demo-"))
    try:
        if keep and data.exists():
            raise UsageProblem(f"{data} exists already: --keep needs a folder without an earlier demo's data")
        shutil.rmtree(out / "upo", ignore_errors=True)
        (out / "upo").mkdir(parents=True)
        yield _Folders(out, data.resolve())
    finally:
        if not keep:
            drop_data(data)
