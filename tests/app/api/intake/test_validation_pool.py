"""The process that checks one document at once: bounded in time and number, and never left behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from typing import Any

import anyio
import psutil
import pytest

from app.api.http.errors import Busy, TenantLimitReached
from app.api.intake import validation_pool
from app.api.intake.validation_pool import WAITING_DOCUMENTS_OF_A_TENANT, ValidationPool
from app.forms.form import CheckContext
from app.settings import Settings
from tests.support.poison import BLOCK, POISONS, load_poisoned_schema, poisoned

CONTEXT = CheckContext(
    tenant_nip="5260250274", today=date(2026, 11, 22), check_nip_checksums=False, attachments_allowed=None
)


@pytest.fixture
def poisoned_pool(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[ValidationPool]:
    """A pool whose processes obey the markers of `tests.support.poison`."""
    monkeypatch.setattr(validation_pool, "schema_loader", lambda _settings: load_poisoned_schema)
    pool = ValidationPool(settings)
    yield pool
    anyio.run(pool.close)


@pytest.mark.slow
@pytest.mark.parametrize("poison", POISONS.values(), ids=POISONS)
async def test_a_document_that_ends_or_hangs_its_process_is_a_finding_and_the_next_is_checked(
    poisoned_pool: ValidationPool, poison: bytes
) -> None:
    first = await poisoned_pool.check(b"<a/>", CONTEXT)
    assert first
    (finding,) = await poisoned_pool.check(poisoned(b"<a/>", poison), CONTEXT)
    assert finding.rule == "document-crashes-reader"
    assert await poisoned_pool.check(b"<a/>", CONTEXT) == first


async def test_no_more_documents_wait_than_there_is_room_for_and_those_of_one_tenant_leave_room(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validation_pool, "WAITING_DOCUMENTS", WAITING_DOCUMENTS_OF_A_TENANT + 2)
    process = ValidationPool(settings)
    outcomes: list[tuple[str, str]] = []
    handed_over: list[str] = []
    run = process._service._run_now

    async def noted(work: Any, task: Any, seconds: float | None, *, reserve: bool) -> Any:
        handed_over.append(task.tenant_id)
        return await run(work, task, seconds, reserve=reserve)

    monkeypatch.setattr(process._service, "_run_now", noted)

    async def one(nip: str) -> None:
        try:
            await process.check(b"<a/>", replace(CONTEXT, tenant_nip=nip))
            outcomes.append((nip, "checked"))
        except (Busy, TenantLimitReached) as error:
            outcomes.append((nip, error.code))

    try:
        async with anyio.create_task_group() as tasks:
            for _ in range(WAITING_DOCUMENTS_OF_A_TENANT + 5):
                tasks.start_soon(one, "5260250274")
            for _ in range(3):
                tasks.start_soon(one, "7010002137")
    finally:
        await process.close()
    first, second = ([outcome for nip, outcome in outcomes if nip == wanted] for wanted in ("5260250274", "7010002137"))
    assert sorted(first) == ["checked"] * WAITING_DOCUMENTS_OF_A_TENANT + ["tenant-limit"] * 5
    assert sorted(second) == ["busy", "checked", "checked"]
    # Of those that were let in, the second tenant's did not wait for all of the first's: the order of turns counts, not which of the
    # two processes has started first.
    assert handed_over.index("7010002137") < 4


async def test_a_document_that_hangs_does_not_hold_up_another_tenant(poisoned_pool: ValidationPool) -> None:
    ended: list[str] = []

    async def one(nip: str, document: bytes) -> None:
        await poisoned_pool.check(document, replace(CONTEXT, tenant_nip=nip))
        ended.append(nip)

    await one("5260250274", b"<a/>")
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(one, "5260250274", poisoned(b"<a/>", BLOCK))
        # Each has been handed over, or waits for its turn.
        await anyio.wait_all_tasks_blocked()
        await one("7010002137", b"<a/>")
        tasks.cancel_scope.cancel()
    assert ended == ["5260250274", "7010002137"]


_PARENT = """
import asyncio, sys
from datetime import date
from app.api.intake.validation_pool import ValidationPool
from app.forms.form import CheckContext
from app.settings import Settings
import psutil

async def main():
    context = CheckContext(tenant_nip="5260250274", today=date(2026, 11, 22), check_nip_checksums=False, attachments_allowed=None)
    await ValidationPool(Settings()).check(b"<a/>", context)
    print(" ".join(str(child.pid) for child in psutil.Process().children(recursive=True)), flush=True)
    await asyncio.sleep(60)

if __name__ == "__main__":
    asyncio.run(main())
"""


@pytest.mark.slow
def test_a_killed_parent_leaves_no_process_behind(tmp_path: Any) -> None:
    script = tmp_path / "parent.py"
    script.write_text(_PARENT)
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        children = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
        assert children
        parent.send_signal(signal.SIGKILL)
        _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []
