"""The state file itself: what is written comes back, what does not belong there is refused."""

import asyncio
import os
import pickle
import sqlite3
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox.pool.outcome import Verdict
from sandbox.state.file import StateFile, UnusableState
from sandbox.state.memory import SandboxState
from sandbox.state.records.common import Identifier, Status
from sandbox.state.records.logins import AuthOperation, Challenge, KsefToken
from sandbox.state.records.sessions import Invoice, Part, Session, UpoPage
from sandbox.state.tables import taking_notes
from tests.support.sandbox_process import running_sandbox

MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - given UTC below
ROOT = Path(__file__).resolve().parents[3]


def login(moment: datetime, number: int) -> AuthOperation:
    nip = Identifier("Nip", "5265877635")
    return AuthOperation(
        reference_number=f"AU-{number}",
        context=nip,
        subject=nip,
        method="Token",
        started=moment,
        ready=moment,
        outcome=Status(200, "ok", ("a", "b")),
        permissions=frozenset({"InvoiceWrite", "InvoiceRead"}),
    )


def session(opened_by: AuthOperation, moment: datetime, count: int, folder: Path, *, kind: Any) -> Session:
    invoices = [
        Invoice(
            n, f"EE-{n}", Verdict(f"{n}.xml", f"hash{n}", n, 200, (), "5265877635", "VAT", f"A/{n}"), Status(200, "x")
        )
        for n in range(count)
    ]
    for invoice in invoices[::2]:
        invoice.ksef_number = f"number-{invoice.ordinal_number}"
    return Session(
        reference_number="SB-1",
        context=opened_by.context,
        subject=opened_by.subject,
        opened_by=opened_by,
        offline_mode=False,
        compression="Zip",
        file_size=1,
        file_hash="",
        parts={1: Part(1, 5, "x", folder / "part", 5)},
        key=b"k" * 32,
        iv=b"i" * 16,
        check_identifiers=False,
        created=moment,
        updated=moment,
        valid_until=moment,
        status=Status(200, "done"),
        invoices=invoices,
        by_reference={invoice.reference_number: invoice for invoice in invoices},
        upo_pages=[UpoPage("EU-1", folder / "upo", "hash")],
        kind=kind,
    )


def read(path: Path) -> tuple[SandboxState, dict[str, Any]]:
    file = StateFile(path)
    try:
        found = file.read(("extra",))
    finally:
        file.close()
    assert found is not None
    return found


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moment=MOMENTS, count=st.integers(0, 450), kind=st.sampled_from(["Batch", "Online"]), used=st.booleans())
async def test_what_was_saved_is_read_back(tmp_path: Path, moment: datetime, count: int, kind: str, used: bool) -> None:
    path = tmp_path / os.urandom(8).hex()
    file = StateFile(path)
    state = SandboxState()
    with taking_notes() as notes:
        state.logins["AU-1"] = login(moment, 1)
        state.challenges["c"] = Challenge("c", moment, used)
        state.sessions["SB-1"] = session(state.logins["AU-1"], moment, count, file.folder, kind=kind)
        state.receipts["EE-0"] = UpoPage("EU-2", file.folder / "receipt", "hash")
        state.requests["other"] = Counter({200: count})
        state.attachments.add("5265877635")
        await file.save(state, notes, {"extra": moment}, [])
    file.close()
    found, others = read(path)
    state.index()
    assert found == state
    assert others == {"extra": moment}
    assert found.sessions["SB-1"].opened_by is found.logins["AU-1"]
    assert set(found.by_ksef_number) == {f"number-{n}" for n in range(0, count, 2)}


async def test_a_record_is_saved_though_only_what_it_holds_was_changed(tmp_path: Path) -> None:
    path = tmp_path / "state"
    file = StateFile(path)
    state = SandboxState()
    moment = datetime.now(UTC)
    with taking_notes() as notes:
        state.logins["AU-1"] = login(moment, 1)
        made = session(state.logins["AU-1"], moment, 3, file.folder, kind="Online")
        made.status = Status(100, "open")
        state.sessions["SB-1"] = made
        await file.save(state, notes, {}, [])
    with taking_notes() as notes:
        found = state.sessions["SB-1"]
        found.parts[1].stored_size = 77
        found.invoices[2].status = Status(440, "again")
        await file.save(state, notes, {}, [])
    with taking_notes() as notes:
        del state.logins["AU-1"]
        state.logins["AU-1"] = login(moment, 1)
        state.logins["AU-2"] = login(moment, 2)
        state.logins.pop("AU-2")
        await file.save(state, notes, {}, [])
    file.close()
    again = read(path)[0]
    assert again.sessions["SB-1"].parts[1].stored_size == 77
    assert [invoice.status.code for invoice in again.sessions["SB-1"].invoices] == [200, 200, 440]
    assert set(again.logins) == {"AU-1"}


async def test_nobody_is_told_that_a_change_is_saved_while_another_one_is_still_writing_it(tmp_path: Path) -> None:
    path = tmp_path / "state"
    file = StateFile(path)
    state = SandboxState()
    disk = Event()
    file._writer.submit(disk.wait)  # the disk is slow: nothing is written before it is set
    with taking_notes() as notes:
        state.attachments.add("5265877635")
        state.challenges["c"] = Challenge("c", datetime.now(UTC))
        first, second = (asyncio.create_task(file.save(state, notes, {}, [])) for _ in range(2))
        for _ in range(50):
            await asyncio.sleep(0)
        try:
            assert not first.done()
            assert not second.done()
        finally:
            disk.set()
        await asyncio.gather(first, second)
    file.close()
    assert set(read(path)[0].challenges) == {"c"}


async def test_looking_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "state"
    file = StateFile(path)
    state = SandboxState()
    moment = datetime.now(UTC)
    with taking_notes() as notes:
        state.tokens["t"] = KsefToken(
            "t", "s", Identifier("Nip", "1"), Identifier("Nip", "1"), "d", frozenset({"InvoiceWrite"}), moment, moment
        )
        await file.save(state, notes, {}, [])
        before = file.written
        assert state.tokens["t"].secret == "s"
        await file.save(state, notes, {}, [])
        assert file.written == before
    file.close()


async def test_a_file_from_elsewhere_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "state"
    file = StateFile(path)
    await file.save(SandboxState(), set(), {}, [])
    file.close()
    harm = tmp_path / "harm"

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(harm),)

    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO records VALUES ('tokens', 't', ?)", (pickle.dumps(Trap()),))
    connection.close()
    with pytest.raises(UnusableState, match="mkdir has no place"):
        read(path)
    assert not harm.exists()


async def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state"
    file = StateFile(path)
    await file.save(SandboxState(), set(), {}, [])
    file.close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE records SET body = ? WHERE key = 'format'", (pickle.dumps("0"),))
    connection.close()
    with pytest.raises(UnusableState, match="another version"):
        read(path)


def start_on(path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sandbox", "--port", "1", "--state", str(path)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_a_file_that_is_no_state_ends_the_start_with_one_line(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_bytes(b"nothing that SQLite knows, but long enough to be looked at" * 100)
    ended = start_on(path)
    assert ended.returncode == 1
    assert ended.stderr.strip().splitlines() == [f"{path}: file is not a database"]


def test_two_sandboxes_do_not_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "state"
    with running_sandbox(state=str(path)):
        ended = start_on(path)
    assert ended.returncode == 1
    assert "locked" in ended.stderr
