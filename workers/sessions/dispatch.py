"""Dispatch: opens a session, stores its parts and closes it. Each call is recorded before and after.

A call may get no answer. After `open` KSeF has at worst an empty session that can be neither filled nor closed; a part is sent again;
after `close` the status is polled. `app.domain.session_machine` decides the next action.
"""

import time
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Final

import anyio
from pydantic import SecretStr

from app.domain.history import HistoryAction, HistoryOutcome
from app.domain.session_machine import Event, event_of_status
from app.domain.session_times import upload_by
from app.domain.warsaw import warsaw_day
from app.forms.registry import FORMS
from app.ksef.batch import BatchSpec, CompressionType, FormCode, PartSpec, PartUpload
from app.ksef.client import KsefClient
from app.ksef.error_classification import part_numbers_hint
from app.ksef.errors import (
    DeadlineExceeded,
    KeyUnknown,
    KsefError,
    LinkRefused,
    Outcome,
    PartBodyWrong,
    PartMismatch,
    PartMissing,
    RequestRefused,
    SessionNotFound,
    StateForbids,
)
from app.observability import metrics
from app.observability.logs import get_logger
from app.store.blob_errors import BlobMissing
from app.store.sessions.packages import Part
from app.store.sessions.session import Session
from workers.context import WorkerContext
from workers.sessions.result import Result, result_of_error

log = get_logger(__name__)

_PART_TRIES: Final = 3
_PART_PAUSE_SECONDS: Final = 1.0
_OUR_FAULTS: Final = frozenset({21157, 21161, 21405, 21001})


async def open_session(context: WorkerContext, session: Session, *, renew_key: bool) -> Result:
    """Open a session for the package, and store its reference number and links before the first part is sent."""
    client = await context.ksef.of(session.tenant_id)
    started = time.perf_counter()
    parts = await context.store.packages.parts(session.id)
    key = await context.store.packages.encryption_key(session.id)
    try:
        if renew_key:
            await client.keys.refresh()
        spec = await _spec(client, session, parts, key)
        await context.record_step(
            session, HistoryAction.OPEN, HistoryOutcome.ASKING, {"public_key_id": spec.public_key_id}
        )
        opened = await client.open_batch_session(spec)
    except KsefError as error:
        result = _classify_open_error(error)
        await context.record_step(session, HistoryAction.OPEN, HistoryOutcome(result.event), result.detail)
        return result
    await context.store.dispatch.opened(
        session,
        reference_number=opened.reference_number,
        targets={
            upload.ordinal_number: {
                "method": upload.method,
                "url": upload.url.get_secret_value(),
                "headers": dict(upload.headers),
            }
            for upload in opened.part_uploads
        },
        now=context.clock(),
    )
    await _warn_late_invoices(context, session)
    metrics.STAGE_SECONDS.labels(stage="open").observe(time.perf_counter() - started)
    log.info("session_opened", session=session.public_id, reference_number=opened.reference_number)
    return Result(Event.OPENED)


async def _warn_late_invoices(context: WorkerContext, session: Session) -> None:
    """Add a warning to each invoice that came in time and whose session was opened after its day. Safe to repeat."""
    async with context.store.ownership.transaction(session) as connection:
        opened_day = warsaw_day(context.clock())
        late = await context.store.late_invoices.note_mode_change_for_job(connection, session.id, opened_day)
    if late:
        log.warning("invoices_missed_their_day", session=session.public_id, invoices=late)


def _classify_open_error(error: KsefError) -> Result:
    if isinstance(error, KeyUnknown):
        return Result(Event.KEY_UNKNOWN, error.as_dict())
    if isinstance(error, PartMismatch) or (isinstance(error, RequestRefused) and _OUR_FAULTS & set(error.codes)):
        return Result(Event.OUR_FAULT, error.as_dict())
    return result_of_error(error)


async def check_opened(context: WorkerContext, session: Session) -> Result:
    """Poll the status once before sending parts, since KSeF reports an unreadable key at once.

    Without an answer the session goes on: this poll is a precaution.
    """
    client = await context.ksef.of(session.tenant_id)
    try:
        status = await client.session_status(session.opened_reference_number)
    except KsefError as error:
        await context.record_step(session, HistoryAction.STATUS, HistoryOutcome.NOT_SEEN, error.as_dict())
        return Result(Event.NOT_SEEN)
    if status.code != 100:
        await context.record_step(
            session, HistoryAction.STATUS, status.code, {"description": status.status.description}
        )
    return Result(event_of_status(status.code), {"status": status.code})


async def store_parts(context: WorkerContext, session: Session) -> Result:
    """Send the parts that are not known to be stored, several at a time; each has its own retries."""
    client = await context.ksef.of(session.tenant_id)
    parts = await context.store.packages.parts(session.id)
    targets = await context.store.dispatch.upload_targets(session.id)
    results: list[Result] = []
    async with anyio.create_task_group() as tasks:
        for part in parts:
            if not part.uploaded:
                target = targets[part.ordinal_number]
                upload = PartUpload(part.ordinal_number, target["method"], SecretStr(target["url"]), target["headers"])
                deadline = upload.expires_at or _links_end(session, len(parts))
                tasks.start_soon(_store_part, context, session, client, part, upload, deadline, results)
    # Return the most severe result: one expired link fails the session.
    for event in (Event.PART_DAMAGED, Event.LINKS_EXPIRED, Event.BLOCKED):
        for result in results:
            if result.event is event:
                return result
    return results[0] if results else Result(Event.PARTS_STORED)


def _links_end(session: Session, parts: int) -> datetime | None:
    return upload_by(session.opened_at, parts) if session.opened_at is not None else None


async def _store_part(
    context: WorkerContext,
    session: Session,
    client: KsefClient,
    part: Part,
    upload: PartUpload,
    deadline: datetime | None,
    results: list[Result],
) -> None:
    for attempt in range(1, _PART_TRIES + 1):
        try:
            async with context.part_uploads:
                started = time.perf_counter()
                await client.upload_part(upload, _bytes_of(context, part), part.size)
        except (BlobMissing, PartBodyWrong) as error:
            detail = {"ordinal_number": part.ordinal_number, "error": type(error).__name__}
            await context.record_step(session, HistoryAction.PUT_PART, HistoryOutcome.PART_DAMAGED, detail)
            results.append(Result(Event.PART_DAMAGED, detail))
            return
        except KsefError as error:
            detail = error.as_dict() | {"ordinal_number": part.ordinal_number}
            await context.record_step(session, HistoryAction.PUT_PART, HistoryOutcome(error.outcome), detail)
            expired = isinstance(error, LinkRefused) and deadline is not None and deadline <= context.clock()
            if expired or error.outcome is Outcome.BLOCKED or attempt == _PART_TRIES:
                blocked = error.outcome is Outcome.BLOCKED
                event = Event.LINKS_EXPIRED if expired else Event.BLOCKED if blocked else Event.PARTS_UNSURE
                results.append(Result(event, detail))
                return
            await anyio.sleep(_PART_PAUSE_SECONDS * attempt)
        else:
            await context.store.dispatch.part_uploaded(session, part.ordinal_number, now=context.clock())
            metrics.STAGE_SECONDS.labels(stage="put_part").observe(time.perf_counter() - started)
            metrics.PART_BYTES.inc(part.size)
            return


async def _bytes_of(context: WorkerContext, part: Part) -> AsyncIterator[bytes]:
    async for piece in context.store.blobs.stream(part.blob_key):
        yield piece


async def close_session(context: WorkerContext, session: Session) -> Result:
    """Close the session. Only status 204 means that it is closed."""
    client = await context.ksef.of(session.tenant_id)
    started = time.perf_counter()
    await context.record_step(session, HistoryAction.CLOSE, HistoryOutcome.ASKING, {})
    try:
        await client.close_batch_session(session.opened_reference_number)
    except KsefError as error:
        result = _classify_close_error(error)
        await context.record_step(session, HistoryAction.CLOSE, HistoryOutcome(result.event), result.detail)
        if result.event is Event.PART_MISSING:
            await _resend_parts(context, session, part_numbers_hint(error))
        return result
    await context.record_step(session, HistoryAction.CLOSE, HistoryOutcome.CLOSED, {})
    metrics.STAGE_SECONDS.labels(stage="close").observe(time.perf_counter() - started)
    log.info("session_closed", session=session.public_id)
    return Result(Event.CLOSED)


def _classify_close_error(error: KsefError) -> Result:
    for kind, event in (
        (StateForbids, Event.CLOSE_FORBIDDEN),
        (DeadlineExceeded, Event.TOO_LATE),
        (PartMissing, Event.PART_MISSING),
        (PartMismatch, Event.PART_MISSING),
        (SessionNotFound, Event.SESSION_UNKNOWN),
    ):
        if isinstance(error, kind):
            return Result(event, error.as_dict())
    return result_of_error(error)


async def _resend_parts(context: WorkerContext, session: Session, named: tuple[int, ...]) -> None:
    """Mark the named parts as not stored, so that they are sent again; all parts if the answer names none of ours."""
    known = [part.ordinal_number for part in await context.store.packages.parts(session.id)]
    for ordinal_number in [number for number in named if number in known] or known:
        await context.store.dispatch.part_missing(session, ordinal_number, now=context.clock())


async def _spec(client: KsefClient, session: Session, parts: list[Part], key: bytes) -> BatchSpec:
    if session.package_bytes is None or session.package_sha256 is None or session.iv is None:
        raise RuntimeError(f"{session.public_id} is packed without a package")
    form = FORMS[session.form_code]
    wrapped = await client.keys.wrap_key(key)
    return BatchSpec(
        form_code=FormCode(form.code, form.schema_version, form.value),
        package_size=session.package_bytes,
        package_sha256=session.package_sha256,
        compression_type=CompressionType.TAR_GZ if session.compression == "targz" else CompressionType.ZIP,
        parts=tuple(PartSpec(part.ordinal_number, part.size, part.sha256) for part in parts),
        encrypted_symmetric_key=wrapped.ciphertext,
        initialization_vector=session.iv,
        public_key_id=wrapped.public_key_id,
        offline_mode=session.offline_mode,
    )
