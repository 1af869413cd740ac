"""A second form goes the whole way beside FA(3): from one upload, and from single posts, to a session of its own and its receipt."""

import shutil
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from app.api.serve import make_server
from app.checking.service import CheckService
from app.clock import utc_now, warsaw_day
from app.domain.ids import parse_public_id
from app.domain.states import InvoiceState, SessionState
from app.forms.fa_rr1.form import FA_RR1
from app.forms.form import Form
from app.forms.registry import FORMS, SchemaFiles
from app.schema_files import recognise_file
from app.settings import Settings
from app.store.installed_schemas import schema_loader
from app.store.store import Store
from app.store.tenants.tenants import Tenant
from app.store.uploads.invoices import InvoiceFilter
from invoicegen.invoices import GeneratedInvoice
from invoicegen.vat_rr import generate_rr_invoices
from tests.support.official_files import FA_RR_XSD, needs_fa_rr_xsd
from tests.support.road import NIP, add_tenant, add_upload, carry, invoices, read, seal_and_pack, zip_of
from tests.support.sandbox_process import running_sandbox
from tests.support.toy_form import TOY, load_schema_files_with_toy, teach_sandbox, toy_invoices
from workers.context import WorkerContext
from workers.intake import uploads as intake
from workers.intake.singles import check_singles
from workers.runtime import worker_context


@dataclass(frozen=True)
class Second:
    """The second form of a test: how the service loads it, how the sandbox learns it, its documents and its receipt's code."""

    form: Form
    load_schema: Callable[[Settings], Callable[[], SchemaFiles]]
    teach_sandbox: Callable[[Path], object]
    make: Callable[[int, date], list[GeneratedInvoice]]


def _rr_invoices(count: int, day: date) -> list[GeneratedInvoice]:
    return list(generate_rr_invoices(count, buyer_nip=NIP, issue_date=day))


TOY_FORM = Second(
    TOY,
    lambda _settings: load_schema_files_with_toy,
    teach_sandbox,
    lambda count, day: toy_invoices(count, nip=NIP, day=day),
)
RR_FORM = Second(FA_RR1, schema_loader, lambda folder: shutil.copy(FA_RR_XSD, folder / FA_RR_XSD.name), _rr_invoices)


@pytest.fixture(params=[pytest.param(TOY_FORM, id="toy"), pytest.param(RR_FORM, id="FA_RR", marks=needs_fa_rr_xsd)])
def second(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Second:
    chosen: Second = request.param
    monkeypatch.setitem(FORMS, chosen.form.code, chosen.form)
    return chosen


@pytest_asyncio.fixture
async def stages(settings: Settings, store: Store, second: Second, tmp_path: Path) -> AsyncIterator[WorkerContext]:
    """The stages with a sandbox that accepts the second form, and a pool that has its schema."""
    if second is RR_FORM:
        found = recognise_file(FA_RR_XSD)
        await store.blobs.put(found.key, found.content)
    folder = tmp_path / "forms-of-the-sandbox"
    folder.mkdir()
    second.teach_sandbox(folder)
    with running_sandbox(schemas=str(folder)) as sandbox, CheckService(1, second.load_schema(settings)) as pool:
        own = settings.model_copy(update={"ksef_url": sandbox.base_url})
        async with worker_context(own, store, pool) as made:
            yield made


@contextmanager
def _api(settings: Settings) -> Iterator[str]:
    listening = threading.Event()
    addresses: list[str] = []

    def ready(url: str) -> None:
        addresses.append(url)
        listening.set()

    server = make_server(settings, "127.0.0.1", 0, ready=ready, clock=utc_now)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    assert listening.wait(20), "the API did not start"
    try:
        yield addresses[0]
    finally:
        server.should_exit = True
        thread.join(30)


def _mixed(first: list[GeneratedInvoice], second: list[GeneratedInvoice]) -> list[GeneratedInvoice]:
    """Put documents of two forms into one order, so that neighbours differ."""
    both = [one for pair in zip(first, second, strict=False) for one in pair]
    return both + first[len(second) :]


async def _assert_each_form_is_accepted(
    stages: WorkerContext, tenant: Tenant, expected: dict[str, list[GeneratedInvoice]]
) -> None:
    sessions = await seal_and_pack(stages, tenant)
    await carry(stages, sessions)
    sessions = [await stages.store.sessions.get(tenant.id, session.id) for session in sessions]
    assert sorted(session.form_code for session in sessions) == sorted(expected)
    for session in sessions:
        rows = await stages.store.invoices.page(tenant.id, InvoiceFilter(session_id=session.id), limit=100)
        assert session.state is SessionState.COMPLETED
        assert {row["number"] for _, row in rows} == {one.number for one in expected[session.form_code]}
        assert {row["state"] for _, row in rows} == {InvoiceState.ACCEPTED.value}
        assert all(row["ksef_number"] for _, row in rows)
        (page,) = await stages.store.sessions.upo_pages(tenant.id, session.id)
        receipt = await stages.store.blobs.read(page["blob_key"])
        assert f"<KodFormularza>{session.form_code}</KodFormularza>".encode() in receipt


async def test_one_archive_of_two_forms_becomes_two_sessions_that_are_accepted(
    stages: WorkerContext, settings: Settings, second: Second
) -> None:
    day = warsaw_day(utc_now())
    tenant = await add_tenant(stages.store)
    _, key = await stages.store.tenants.add_key(tenant.id, label="test", now=utc_now())
    ours, theirs = invoices(9), second.make(6, day)
    documents = _mixed(ours, theirs)
    with _api(settings) as url:
        async with httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=30) as http:
            answer = await http.post(
                "/v1/uploads", content=zip_of(documents), headers={"Content-Type": "application/zip"}
            )
            assert answer.status_code == 202
            upload_id = parse_public_id("upl", answer.json()["id"])
            await intake.read_upload(stages, upload_id)
            # A crash after the commit has it read once more, which changes nothing.
            await intake.read_upload(stages, upload_id)
            await _assert_each_form_is_accepted(stages, tenant, {"FA (3)": ours, second.form.code: theirs})
            shown = (await http.get(f"/v1/uploads/{answer.json()['id']}")).json()
    assert shown["state"] == "completed"
    assert {state: count for state, count in shown["counts"].items() if count} == {"accepted": 15}
    rows = await stages.store.invoices.page(tenant.id, InvoiceFilter(upload_id=upload_id), limit=100)
    assert {row["name"] for _, row in rows} == {one.name for one in documents}


async def test_single_posts_wait_in_the_lane_of_their_form(
    stages: WorkerContext, settings: Settings, second: Second
) -> None:
    day = warsaw_day(utc_now())
    tenant = await add_tenant(stages.store)
    _, key = await stages.store.tenants.add_key(tenant.id, label="test", now=utc_now())
    ours, theirs = invoices(2), second.make(2, day)
    with _api(settings) as url:
        async with httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=30) as http:
            for document in _mixed(ours, theirs):
                answer = await http.post(
                    "/v1/invoices", content=document.xml, headers={"Content-Type": "application/xml"}
                )
                assert answer.status_code == 202
    await check_singles(stages, tenant.id)
    await _assert_each_form_is_accepted(stages, tenant, {"FA (3)": ours, second.form.code: theirs})


async def test_a_crash_between_chunks_of_two_forms_repeats_nothing(
    stages: WorkerContext, second: Second, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "CHUNK_ENTRIES", 4)
    tenant = await add_tenant(stages.store)
    documents = _mixed(invoices(8), second.make(8, warsaw_day(utc_now())))
    upload = await add_upload(stages.store, tenant, zip_of(documents))
    commit = type(stages.store.chunks).commit
    calls = 0

    async def dies_at_the_third(*args: object, **kwargs: object) -> dict[int, int] | None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise RuntimeError("killed")
        return await commit(*args, **kwargs)  # type: ignore[arg-type]  # handed on as they came

    monkeypatch.setattr(type(stages.store.chunks), "commit", dies_at_the_third)
    with pytest.raises(ExceptionGroup):
        await intake.read_upload(stages, upload.id)
    half = await stages.store.uploads.get(tenant.id, upload.id)
    assert (half.next_entry, half.counts[InvoiceState.QUEUED]) == (8, 8)
    done = await read(stages, upload)
    assert done.counts[InvoiceState.QUEUED] == 16
    rows = await stages.store.invoices.page(tenant.id, InvoiceFilter(upload_id=upload.id), limit=100)
    assert sorted(row["name"] for _, row in rows) == sorted(one.name for one in documents)


async def test_all_or_nothing_holds_for_both_forms(stages: WorkerContext, second: Second) -> None:
    tenant = await add_tenant(stages.store)
    body = zip_of(_mixed(invoices(4), second.make(4, warsaw_day(utc_now()))))
    whole = await read(stages, await add_upload(stages.store, tenant, body, atomic=True))
    assert whole.counts[InvoiceState.QUEUED] == 8
    assert len(await stages.store.chunks.queued_by_lane()) == 2
