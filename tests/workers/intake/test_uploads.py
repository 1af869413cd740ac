"""Reading uploads: verdicts, checkpoints, duplicates, and documents that kill their reader."""

import base64
import gzip
import io
import json
import tarfile
from functools import partial
from pathlib import Path

import pytest

from app.checking.check_chunk import ChunkTask
from app.checking.service import CheckService, PoolBroken
from app.domain.ids import chunk_id
from app.domain.states import InvoiceState, UploadState
from app.forms.registry import SchemaFiles
from app.reading.entry import Encoding, RawEntry
from app.reading.kinds import BodyKind
from app.schema_files import load_schema_files
from app.store.database_errors import DatabaseUnavailable
from app.store.uploads.invoices import InvoiceFilter
from invoicegen.invoices import GeneratedInvoice
from tests.support.poison import CRASH, HANG, load_poisoned_schema, poisoned
from tests.support.road import NIP, add_tenant, add_upload, invoices, read, zip_of
from workers.context import WorkerContext
from workers.intake import uploads as intake
from workers.intake.chunks import check_context


def _tar(documents: list[GeneratedInvoice]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for document in documents:
            info = tarfile.TarInfo(document.name)
            info.size = len(document.xml)
            archive.addfile(info, io.BytesIO(document.xml))
    return buffer.getvalue()


def _bodies(documents: list[GeneratedInvoice]) -> list[tuple[BodyKind, bytes, str | None]]:
    lines = b"".join(
        json.dumps({"name": one.name, "xml_base64": base64.b64encode(one.xml).decode()}).encode() + b"\n"
        for one in documents
    )
    parts = b"".join(
        b'--limit\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n'
        b"Content-Type: application/xml\r\n\r\n%s\r\n" % (one.name.encode(), one.xml)
        for one in documents
    )
    tar = _tar(documents)
    return [
        (BodyKind.ZIP, zip_of(documents), None),
        (BodyKind.TARGZ, gzip.compress(tar), None),
        (BodyKind.TAR, tar, None),
        (BodyKind.NDJSON, lines, None),
        (BodyKind.MULTIPART, parts + b"--limit--\r\n", "limit"),
    ]


@pytest.mark.slow
async def test_the_same_invoices_get_the_same_verdicts_whatever_the_body(context: WorkerContext) -> None:
    broken = GeneratedInvoice("X/1", "broken.xml", b"<Faktura>", "VAT")
    verdicts: list[list[tuple[str, str, tuple[str, ...]]]] = []
    # A tenant for each body, so that none is a duplicate of another's.
    for number, nip in enumerate(("5265877635", "5213814999", "5260250274", "1111111111", "5391433354")):
        tenant = await add_tenant(context.store, nip=nip)
        own = invoices(30, nip=nip)
        kind, body, boundary = _bodies([*own, broken, own[3]])[number]
        upload = await read(context, await add_upload(context.store, tenant, body, kind=kind, boundary=boundary))
        assert upload.state is UploadState.IN_PROGRESS
        rows = await context.store.invoices.page(tenant.id, InvoiceFilter(upload_id=upload.id), limit=100)
        verdicts.append([(row["name"], row["state"], tuple(f["rule"] for f in row["findings"])) for _, row in rows])
    assert len(verdicts[0]) == 32
    assert [state for _, state, _ in verdicts[0]].count("queued") == 30
    assert verdicts[0][30][1] == "invalid"
    assert verdicts[0][31][1:] == ("duplicate", ("same-document",))
    assert all(other == verdicts[0] for other in verdicts)


async def test_a_crash_between_chunks_repeats_nothing_and_loses_nothing(
    context: WorkerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "CHUNK_ENTRIES", 10)
    tenant = await add_tenant(context.store)
    upload = await add_upload(context.store, tenant, zip_of(invoices(55)))
    commit = context.store.chunks.commit
    calls = 0

    async def dies_at_the_third(*args: object, **kwargs: object) -> dict[int, int] | None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise DatabaseUnavailable("gone")
        return await commit(*args, **kwargs)  # type: ignore[arg-type]  # handed on as they came

    monkeypatch.setattr(type(context.store.chunks), "commit", lambda _self, *a, **k: dies_at_the_third(*a, **k))
    with pytest.raises(ExceptionGroup):
        await intake.read_upload(context, upload.id)
    half = await context.store.uploads.get(tenant.id, upload.id)
    assert (half.state, half.next_entry, half.counts[InvoiceState.QUEUED]) == (UploadState.READING, 20, 20)

    done = await read(context, upload)
    assert done.counts[InvoiceState.QUEUED] == 55
    rows = await context.store.invoices.page(tenant.id, InvoiceFilter(upload_id=upload.id), limit=1000)
    assert [row["name"] for _, row in rows] == [one.name for one in invoices(55)]
    known = await context.store.chunks.blob_keys_for_job(upload.id)
    stored = {key async for key in context.store.blobs.list_keys(f"chunks/{upload.id.hex}")}
    assert stored == known, "blobs of chunks that were never committed are removed"


async def test_a_second_run_of_a_finished_upload_changes_nothing(context: WorkerContext) -> None:
    tenant = await add_tenant(context.store)
    first = await read(context, await add_upload(context.store, tenant, zip_of(invoices(12))))
    assert await read(context, first) == first


async def test_what_was_read_before_a_truncation_stays_valid(context: WorkerContext) -> None:
    tenant = await add_tenant(context.store)
    lines = _bodies(invoices(20))[1][1]
    upload = await read(
        context, await add_upload(context.store, tenant, lines[: len(lines) * 2 // 3], kind=BodyKind.TARGZ)
    )
    assert upload.state is UploadState.FAILED
    assert upload.errors
    assert upload.counts[InvoiceState.QUEUED] > 0


async def test_all_or_nothing_sends_nothing_of_an_upload_that_breaks_off(context: WorkerContext) -> None:
    tenant = await add_tenant(context.store)
    body = _bodies(invoices(20))[1][1]
    broken = await read(
        context,
        await add_upload(context.store, tenant, body[: len(body) * 2 // 3], kind=BodyKind.TARGZ, atomic=True),
    )
    assert broken.state is UploadState.FAILED
    assert broken.counts[InvoiceState.QUEUED] == 0
    assert broken.counts[InvoiceState.FAILED] > 0
    assert broken.completed_at is not None
    assert not any(lane["queued"] for lane in await context.store.chunks.queued_by_lane())
    whole = await read(context, await add_upload(context.store, tenant, body, kind=BodyKind.TARGZ, atomic=True))
    assert whole.counts[InvoiceState.QUEUED] == 20, "the claims of the broken upload were released"


async def test_a_number_that_is_taken_names_its_holder(context: WorkerContext) -> None:
    tenant = await add_tenant(context.store)
    document = invoices(1)[0]
    other = GeneratedInvoice(
        document.number, "other.xml", document.xml.replace(b"</Faktura>", b"<!-- x --></Faktura>"), document.kind
    )
    assert other.xml != document.xml
    first = await read(context, await add_upload(context.store, tenant, zip_of([document])))
    second = await read(context, await add_upload(context.store, tenant, zip_of([other])))
    (holder, _), *_ = await context.store.invoices.page(tenant.id, InvoiceFilter(upload_id=first.id))
    (_, row), *_ = await context.store.invoices.page(tenant.id, InvoiceFilter(upload_id=second.id))
    assert row["state"] == "duplicate"
    assert row["duplicate_of"] == f"inv_{holder.hex}"
    assert [finding["rule"] for finding in row["findings"]] == ["number-taken"]
    assert second.state is UploadState.COMPLETED, "nothing of it is on the way"


async def test_two_tenants_may_have_the_same_number(context: WorkerContext) -> None:
    first, second = await add_tenant(context.store), await add_tenant(context.store, nip="5213814999")
    for tenant in (first, second):
        upload = await read(context, await add_upload(context.store, tenant, zip_of(invoices(3, nip=tenant.nip))))
        assert upload.counts[InvoiceState.QUEUED] == 3


@pytest.mark.slow
async def test_a_document_that_kills_or_hangs_its_process_is_refused_alone(context: WorkerContext) -> None:
    good = invoices(14)
    payloads = [one.xml for one in good]
    payloads[4:4] = [poisoned(good[0].xml, CRASH)]
    payloads[9:9] = [poisoned(good[0].xml, HANG)]
    tenant = await add_tenant(context.store)
    task = ChunkTask(
        tenant_id=tenant.id,
        upload_ids=(chunk_id(1, bytes(10)),),
        chunk_id=chunk_id(0, bytes(10)),
        entries=tuple(
            RawEntry(index, f"{index}.xml", Encoding.PLAIN, payload, len(payload), None)
            for index, payload in enumerate(payloads)
        ),
        context=await check_context(context, tenant),
        now=context.clock(),
    )
    with CheckService(1, load_poisoned_schema) as pool:
        outcome = await pool.check(task)
    [checked] = outcome.forms
    assert checked.valid == 14
    states = [row.split(b"\t")[3] for row in checked.rows.splitlines()]
    assert [position for position, state in enumerate(states) if state == b"invalid"] == [4, 9]
    assert outcome.findings["document-crashes-reader"] == 2


def _schema_once(marker: Path) -> SchemaFiles:
    """Fails until the marker is there: a pool whose processes cannot start."""
    if not marker.exists():
        raise OSError("the schema files are away")
    return load_schema_files(None)


@pytest.mark.slow
async def test_a_pool_whose_processes_could_not_start_is_replaced(context: WorkerContext, tmp_path: Path) -> None:
    marker = tmp_path / "there"
    tenant = await add_tenant(context.store)
    (document,) = invoices(1)
    task = ChunkTask(
        tenant_id=tenant.id,
        upload_ids=(chunk_id(1, bytes(10)),),
        chunk_id=chunk_id(0, bytes(10)),
        entries=(RawEntry(0, "0.xml", Encoding.PLAIN, document.xml, len(document.xml), None),),
        context=await check_context(context, tenant),
        now=context.clock(),
    )
    with CheckService(1, partial(_schema_once, marker)) as pool:
        with pytest.raises(PoolBroken):
            await pool.check(task)
        marker.touch()
        assert [form.valid for form in (await pool.check(task)).forms] == [1]


async def test_the_nip_of_the_tests_is_a_valid_one() -> None:
    from app.forms.nip import is_nip

    assert is_nip(NIP)
