"""kill -9 again and again while invoices keep coming: each reaches KSeF once, and nothing is left lying in the object store.

Short by default. `make torture` makes it a hundred kills during fifty thousand invoices.
"""

import os
import random
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Event

import anyio
import pytest

from app.checking.service import CheckService
from app.cli.local_store import local_store
from app.clock import utc_now
from app.schema_files import load_schema_files
from app.settings import Settings
from invoicegen.invoices import GeneratedInvoice
from tests.road.proofs import TARGZ, ZIP, invoices, prove_all_accepted_once, seller_nip, tarred, zipped
from tests.support.sandbox_process import SandboxHandle
from tests.support.service_process import ApiClient, Name, ServiceHandle, running_service
from tests.support.waiting import poll
from workers.maintenance import remove_orphans
from workers.runtime import worker_context

TORTURE = os.environ.get("KSEFD_TORTURE") == "1"
INVOICES = int(os.environ.get("KSEFD_TORTURE_INVOICES", "50000" if TORTURE else "1200"))
KILLS = int(os.environ.get("KSEFD_TORTURE_KILLS", "100" if TORTURE else "6"))
PIECE = 1_000 if TORTURE else 200
VICTIMS: tuple[Name, ...] = ("worker", "worker", "api", "postgres", "pool")
"""Workers twice as often as each of the others: they hold what can be lost."""
_PAUSE_SECONDS = (0.2, 4.0)
_RECOVERY_SECONDS = 600.0 if TORTURE else 150.0
_KEYS_OF_ROWS = (
    "SELECT blob_key AS key FROM uploads UNION SELECT blob_key FROM chunks "
    "UNION SELECT blob_key FROM parts UNION SELECT blob_key FROM upo_pages"
)


@pytest.mark.timeout(5_400 if TORTURE else 300)
def test_kill_9_over_and_over_loses_nothing_and_leaves_nothing_behind(sandbox: SandboxHandle, tmp_path: Path) -> None:
    seed = int(os.environ.get("KSEFD_TORTURE_SEED", "1"))
    began = time.monotonic()
    with running_service(tmp_path, sandbox, session_max_invoices=PIECE // 2) as service:
        client = service.add_tenant(seller_nip())
        killer = _Killer(service, random.Random(seed))
        uploads, documents = _send_under_fire(client, killer)
        for upload in uploads:
            client.wait_until_done(upload, seconds=_RECOVERY_SECONDS)
        prove_all_accepted_once(sandbox, client, uploads, documents)
        assert killer.kills.total() >= KILLS
        left, removed = anyio.run(_blobs_left_behind, service)
    told = ", ".join(f"{count} {name}" for name, count in sorted(killer.kills.items()))
    print(
        f"\n{len(documents):,} invoices in {len(uploads)} uploads, {killer.kills.total()} kills ({told}), seed {seed}, "
        f"{time.monotonic() - began:.0f} s; each accepted once; {removed} orphaned blobs removed, {len(left)} left"
    )
    assert not left


class _Killer:
    """Kills one process after another until it is told to stop, and counts the dead."""

    def __init__(self, service: ServiceHandle, chance: random.Random) -> None:
        self.kills: Counter[str] = Counter()
        self._service = service
        self._chance = chance

    def run(self, finished: Callable[[], bool]) -> None:
        """Kill until there were enough and `finished` says that nothing more is sent."""
        while self.kills.total() < KILLS or not finished():
            time.sleep(self._chance.uniform(*_PAUSE_SECONDS))
            name = self._chance.choice(VICTIMS)
            # One that was killed a moment ago may not be back yet.
            if self._service.kill(name):
                self.kills[name] += 1
            assert self._service.process.poll() is None, f"the supervisor gave up: {self._service.last_words()}"


def _send_under_fire(client: ApiClient, killer: _Killer) -> tuple[list[str], list[GeneratedInvoice]]:
    """Send all pieces, as evenly over the kills as can be, so that there is always something to interrupt."""
    pieces = -(-INVOICES // PIECE)
    stopped, done = Event(), Event()
    documents: list[GeneratedInvoice] = []

    def send() -> list[str]:
        uploads = []
        try:
            for number in range(pieces):
                while killer.kills.total() < number * KILLS // pieces and not stopped.is_set():
                    time.sleep(0.05)
                made = invoices(min(PIECE, INVOICES - len(documents)), nip=client.nip, start=len(documents))
                form, written = ((ZIP, zipped), (TARGZ, tarred))[number % 2]
                # Found by its number later; a quarter of a gigabyte of XML need not be kept for that.
                documents.extend(replace(one, xml=b"") for one in made)
                sent = client.upload_stubbornly(written(made), form, key=f"piece-{number}", seconds=_RECOVERY_SECONDS)
                uploads.append(sent["id"])
        finally:
            done.set()
        return uploads

    with ThreadPoolExecutor(1) as threads:
        sending = threads.submit(send)
        try:
            killer.run(done.is_set)
        finally:
            stopped.set()
        return sending.result(), documents


async def _blobs_left_behind(service: ServiceHandle) -> tuple[set[str], int]:
    """Run the nightly removal as it will run in two days; give the keys that no row names after it, and how many went."""
    settings = Settings(data_dir=service.data_dir)
    folder = service.data_dir / "blobs"
    async with local_store(settings) as store:

        async def no_removal_waits() -> bool:
            rows = await store.database.fetch_all(
                "SELECT 1 AS waits FROM procrastinate_jobs WHERE status IN ('todo', 'doing') "
                "AND task_name = 'maintenance.drop_blobs'"
            )
            return not rows

        await poll(no_removal_waits, seconds=_RECOVERY_SECONDS)
        with CheckService(1, load_schema_files) as pool:
            async with worker_context(settings, store, pool, lambda: utc_now() + timedelta(days=2)) as in_two_days:
                removed = await remove_orphans(in_two_days)
        named = {row["key"] for row in await store.database.fetch_all(_KEYS_OF_ROWS, {})}
    stored = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert stored, f"no blobs in {folder}"
    return stored - named, removed
