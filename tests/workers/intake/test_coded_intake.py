"""An upload that came with Content-Encoding: gzip is read like the body itself, and picked up again where it stopped."""

import gzip
import json
from dataclasses import replace

import pytest

from app.domain.states import InvoiceState, UploadState
from app.reading.kinds import BodyKind
from app.store.database_errors import DatabaseUnavailable
from app.store.uploads.uploads import NewUpload, UploadStore
from tests.support.road import add_tenant, add_upload, invoices, read
from workers.context import WorkerContext
from workers.intake import uploads as intake


async def test_a_coded_upload_is_read_and_resumed(context: WorkerContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "CHUNK_ENTRIES", 10)
    lines = [{"name": one.name, "xml": one.xml.decode()} for one in invoices(45)]
    body = gzip.compress(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
    add = UploadStore.add

    async def add_coded(self: UploadStore, new: NewUpload, **named: object) -> object:
        return await add(self, replace(new, content_encoding="gzip"), **named)  # type: ignore[arg-type]  # as it came

    monkeypatch.setattr(UploadStore, "add", add_coded)
    tenant = await add_tenant(context.store)
    upload = await add_upload(context.store, tenant, body, kind=BodyKind.NDJSON)
    assert upload.content_encoding == "gzip"
    commit = type(context.store.chunks).commit
    calls = 0

    async def dies_at_the_third(*arguments: object, **named: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise DatabaseUnavailable("gone")
        return await commit(*arguments, **named)  # type: ignore[arg-type]  # handed on as they came

    monkeypatch.setattr(type(context.store.chunks), "commit", dies_at_the_third)
    with pytest.raises(ExceptionGroup):
        await intake.read_upload(context, upload.id)
    half = await context.store.uploads.get(tenant.id, upload.id)
    assert (half.state, half.next_entry) == (UploadState.READING, 20)
    done = await read(context, upload)
    assert (done.state, done.errors, done.counts[InvoiceState.QUEUED]) == (UploadState.IN_PROGRESS, [], 45)
