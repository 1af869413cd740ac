"""The process that checks one document at once: bounded in time and number, and never left behind."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import date
from typing import Any

import anyio
import psutil
import pytest

from app.api.http.errors import Busy, TenantLimitReached
from app.api.intake import validation_pool as checking
from app.api.intake.validation_pool import WAITING_DOCUMENTS_OF_A_TENANT, CheckingProcess
from app.domain.findings import Finding
from app.forms.form import CheckContext
from app.settings import Settings

CONTEXT = CheckContext(
    tenant_nip="5260250274", today=date(2026, 11, 22), check_nip_checksums=False, attachments_allowed=None
)


async def test_a_document_that_kills_its_process_is_a_finding_and_the_next_is_checked(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = CheckingProcess(settings)
    try:
        first = await process.check(b"<a/>", CONTEXT)
        assert first
        children = [c for c in psutil.Process().children() if "spawn_main" in " ".join(c.cmdline())]
        monkeypatch.setattr(checking, "_check", _die)
        (finding,) = await process.check(b"<a/>", CONTEXT)
        assert finding.rule == "not-checkable"
        monkeypatch.undo()
        assert await process.check(b"<a/>", CONTEXT) == first
        assert not all(child.is_running() for child in children)
    finally:
        await process.close()


async def test_a_document_that_takes_too_long_is_a_finding_and_the_next_is_checked(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = CheckingProcess(settings)
    try:
        first = await process.check(b"<a/>", CONTEXT)
        monkeypatch.setattr(checking, "_check", _hang)
        monkeypatch.setattr(checking, "DOCUMENT_SECONDS", 0.3)
        (finding,) = await process.check(b"<a/>", CONTEXT)
        assert finding.rule == "not-checkable"
        monkeypatch.undo()
        assert await process.check(b"<a/>", CONTEXT) == first
    finally:
        await process.close()


async def test_no_more_documents_wait_than_there_is_room_for_and_those_of_one_tenant_leave_room(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checking, "WAITING_DOCUMENTS", WAITING_DOCUMENTS_OF_A_TENANT + 2)
    process = CheckingProcess(settings)
    outcomes: list[tuple[str, str]] = []
    handed_over: list[str] = []
    check = process._check

    async def noted(document: bytes, context: CheckContext) -> list[Finding]:
        handed_over.append(context.tenant_nip)
        return await check(document, context)

    monkeypatch.setattr(process, "_check", noted)

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
    # Of those that were let in, the second tenant's did not wait for all of the first's. Whose turn comes is what counts: which of
    # the two processes has started first is the machine's affair.
    assert handed_over.index("7010002137") < 4


async def test_a_document_that_hangs_does_not_hold_up_another_tenant(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = CheckingProcess(settings)
    ended: list[str] = []

    async def one(nip: str) -> None:
        await process.check(b"<a/>", replace(CONTEXT, tenant_nip=nip))
        ended.append(nip)

    try:
        await one("5260250274")
        monkeypatch.setattr(checking, "_check", _hang)
        monkeypatch.setattr(checking, "DOCUMENT_SECONDS", 30.0)
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(one, "5260250274")
            # Each has been handed over, or waits for its turn.
            await anyio.wait_all_tasks_blocked()
            monkeypatch.undo()
            await one("7010002137")
            tasks.cancel_scope.cancel()
    finally:
        await process.close()
    assert ended == ["5260250274", "7010002137"]


_PARENT = """
import asyncio, sys
from datetime import date
from app.api.intake.validation_pool import CheckingProcess
from app.forms.form import CheckContext
from app.settings import Settings
import psutil

async def main():
    context = CheckContext(tenant_nip="5260250274", today=date(2026, 11, 22), check_nip_checksums=False, attachments_allowed=None)
    await CheckingProcess(Settings()).check(b"<a/>", context)
    print(" ".join(str(child.pid) for child in psutil.Process().children(recursive=True)), flush=True)
    await asyncio.sleep(60)

if __name__ == "__main__":
    asyncio.run(main())
"""


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


def _die(*_: Any) -> None:
    assert multiprocessing.parent_process() is not None
    os._exit(13)


def _hang(*_: Any) -> None:
    assert multiprocessing.parent_process() is not None
    time.sleep(30)
