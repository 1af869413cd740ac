"""`python -m benchmarks.hostile_archive`: measures the cost of an archive of documents that hang, and another tenant's rate beside it.

No real document is known that hangs the check; a marker in a document makes its checking process loop. One worker with two checking
processes reads the archive, while the other tenant's uploads of good invoices follow one another.
"""

import asyncio
import multiprocessing
import os
import time
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Final

import psutil
import typer

from app.checking import check_chunk
from app.checking.service import CheckService
from app.clock import utc_now, warsaw_day
from app.domain.ids import time_ordered_id
from app.domain.states import InvoiceState
from app.forms.form import CheckContext, CheckedInvoice
from app.forms.registry import SchemaFiles
from app.ksef.login.certificates import self_signed_seal
from app.observability.logs import configure_logging
from app.reading.kinds import BodyKind
from app.schema_files import load_schema_files
from app.settings import Settings
from app.store.embedded import EmbeddedPostgres
from app.store.installation import prepare_installation
from app.store.store import Store, open_store
from app.store.tenants.tenants import Tenant
from app.store.uploads.uploads import NewUpload, Upload
from invoicegen.invoices import GeneratedInvoice, generate_invoices, write_zip
from workers.context import WorkerContext
from workers.intake.uploads import read_upload
from workers.runtime import worker_context

GOAL_CPU_SECONDS: Final = 600.0
"""Of an archive of 10,000 documents."""
GOAL_SHARE: Final = 0.5
"""Of the other tenant's rate alone."""

_HANG: Final = b"<!-- hang -->"
_HOSTILE_NIP: Final = "5265877635"
_OTHER_NIP: Final = "5260250274"
_PROCESSES: Final = 2


@dataclass(frozen=True, slots=True)
class HostileRun:
    """The result of one run. CPU seconds are those of the worker and its checking processes."""

    documents: int
    refused: int
    seconds: float
    cpu_seconds: float
    """For the archive alone: without the other tenant's invoices at their price when alone."""
    alone_a_second: float
    beside_a_second: float


def main(
    documents: Annotated[int, typer.Option(min=1, help="Documents that hang.")] = 10_000,
    own: Annotated[int, typer.Option(min=1, help="Invoices in each upload of the other tenant.")] = 2_000,
    rounds: Annotated[int, typer.Option(min=1, help="Uploads of the other tenant alone.")] = 10,
) -> None:
    """Print CPU seconds, time and the other tenant's rates, and fail when a goal is missed."""
    with (
        TemporaryDirectory(prefix="ksefd-bench-", ignore_cleanup_errors=True) as folder,
        EmbeddedPostgres(Path(folder) / "var") as server,
    ):
        settings = Settings(
            data_dir=Path(folder) / "var",
            database_url=server.url,
            ksef_url="http://127.0.0.1:9/v2",
            linger_seconds=86_400,
            log_level="ERROR",
        )
        prepare_installation(settings)
        configure_logging(settings)
        run = asyncio.run(measure(settings, documents=documents, own=own, rounds=rounds))
    share = run.beside_a_second / run.alone_a_second
    of_ten_thousand = run.cpu_seconds * 10_000 / run.documents
    print(f"{run.documents:,} documents that hang: {run.refused:,} refused in {run.seconds:,.0f} s")
    print(f"CPU: {run.cpu_seconds:,.0f} s, {of_ten_thousand:,.0f} s for 10,000 (goal {GOAL_CPU_SECONDS:,.0f})")
    print(
        f"the other tenant: {run.alone_a_second:,.0f} invoices a second alone, {run.beside_a_second:,.0f} beside the archive"
    )
    print(f"share: {share:.2f} (goal {GOAL_SHARE})")
    if of_ten_thousand > GOAL_CPU_SECONDS or share < GOAL_SHARE or run.refused != run.documents:
        raise typer.Exit(1)


async def measure(settings: Settings, *, documents: int, own: int, rounds: int) -> HostileRun:
    """Measure the other tenant alone, then beside the archive until the archive has been read."""
    hostile_body = _zip(_invoices(_HOSTILE_NIP, documents), behind=_HANG)
    other_body = _zip(_invoices(_OTHER_NIP, own))
    with CheckService(_PROCESSES, load_hanging_schema) as pool:
        async with open_store(settings) as store, worker_context(settings, store, pool) as context:
            hostile, other = await _add_tenant(store, _HOSTILE_NIP), await _add_tenant(store, _OTHER_NIP)
            # Processes start, and the database has its plans.
            await _read(context, other, other_body)
            started, cpu = time.monotonic(), _cpu_seconds()
            for _ in range(rounds):
                await _read(context, other, other_body)
            alone_seconds, alone_cpu = time.monotonic() - started, _cpu_seconds() - cpu
            started, cpu = time.monotonic(), _cpu_seconds()
            reading = asyncio.create_task(_read(context, hostile, hostile_body))
            beside = 0
            while not reading.done():
                await _read(context, other, other_body)
                beside += own
            upload = await reading
            seconds, spent = time.monotonic() - started, _cpu_seconds() - cpu
    return HostileRun(
        documents=documents,
        refused=upload.counts[InvoiceState.INVALID],
        seconds=seconds,
        cpu_seconds=spent - beside * alone_cpu / (rounds * own),
        alone_a_second=rounds * own / alone_seconds,
        beside_a_second=beside / seconds,
    )


def load_hanging_schema() -> SchemaFiles:
    """Return the schema files, and make the checker of this process loop on a document with the marker."""
    if multiprocessing.parent_process() is None:
        raise RuntimeError("only a checking process may be made to hang")
    make: Any = check_chunk.__dict__["make_checker"]
    if not isinstance(make, _HangingMaker):
        check_chunk.__dict__["make_checker"] = _HangingMaker(make)
    return load_schema_files()


class _HangingMaker:
    def __init__(self, make: Any) -> None:
        self._make = make

    def __call__(self, *arguments: Any, **settings: Any) -> "_HangingChecker":
        return _HangingChecker(self._make(*arguments, **settings))


class _HangingChecker:
    def __init__(self, checker: Any) -> None:
        self._checker = checker

    def check(self, document: bytes, context: CheckContext) -> CheckedInvoice:
        while document.endswith(_HANG):
            pass
        checked: CheckedInvoice = self._checker.check(document, context)
        return checked


def _invoices(nip: str, count: int) -> list[GeneratedInvoice]:
    return list(
        generate_invoices(count, seller_nip=nip, issue_date=warsaw_day(utc_now()), seed=1, start=0, attachments=False)
    )


def _zip(invoices: list[GeneratedInvoice], *, behind: bytes = b"") -> bytes:
    body = BytesIO()
    write_zip(body, (GeneratedInvoice(one.number, one.name, one.xml + behind, one.kind) for one in invoices))
    return body.getvalue()


async def _add_tenant(store: Store, nip: str) -> Tenant:
    now = utc_now()
    certificate, key = self_signed_seal(nip, "Bench", now=now)
    credential = {"certificate": certificate.decode(), "key": key.decode()}
    return await store.tenants.add(
        nip=nip, name="Bench", credential_kind="self_signed", credential=credential, compression="zip", now=now
    )


async def _read(context: WorkerContext, tenant: Tenant, body: bytes) -> Upload:
    """Store a body as the API does, and read it. The same invoices again are duplicates, which are checked all the same."""
    now = utc_now()
    upload_id = time_ordered_id(int(now.timestamp() * 1000), os.urandom(10))
    blob_key = f"uploads/{upload_id.hex}"
    await context.store.blobs.put(blob_key, body)
    upload, _ = await context.store.uploads.add(
        NewUpload(
            id=upload_id, tenant_id=tenant.id, kind=BodyKind.ZIP.value, boundary=None, blob_key=blob_key, size=len(body),
            sha256=os.urandom(32), reference=None, idempotency_key=None, offline_mode=False, flush=False, atomic=False,
        ),
        now=now,
    )  # fmt: skip
    await read_upload(context, upload.id)
    return await context.store.uploads.get(tenant.id, upload.id)


def _cpu_seconds() -> float:
    """Return the CPU seconds of this process and of all that it started, ended ones included."""
    own = psutil.Process()
    total = 0.0
    for process in (own, *own.children()):
        times = process.cpu_times()
        total += times.user + times.system + times.children_user + times.children_system
    return total


if __name__ == "__main__":
    typer.run(main)
