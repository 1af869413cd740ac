"""Dispatch: open a session, store its parts, close it. Every step is written before and after the call it depends on.

What no answer means: after `open` at worst an empty session is left behind that nobody can fill or close; after a part, send
it again; after `close`, ask for the status, and never give the invoices to another session meanwhile.
"""

import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Final
from uuid import UUID

import anyio
import structlog
from pydantic import SecretStr

from app import metrics
from app.domain.states import InvoiceState, SessionState
from app.ksef.batch import FA_3, BatchSpec, CompressionType, PartSpec, PartUpload
from app.ksef.client import KsefClient
from app.ksef.errors import (
    DeadlineExceeded,
    KeyUnknown,
    KsefError,
    LinkRefused,
    Outcome,
    PartMismatch,
    PartMissing,
    RateLimited,
    StateForbids,
)
from app.store.jobs import Task
from app.store.sessions import Part, Session
from workers.context import RetryLater, WorkerContext
from workers.verdicts import give_up_session

log = structlog.get_logger(__name__)

_PART_TRIES: Final = 3
_PART_PAUSE_SECONDS: Final = 1.0
_PATIENT_SECONDS: Final = 30.0
"""Between tries when KSeF is away or busy."""
_REFUSED_SECONDS: Final = 900.0
"""After a refusal that only people can cure (permissions, certificate, a fault of ours): the invoices are kept."""
_BLOCKED_SECONDS: Final = 1800.0
_FIRST_LOOK: Final = timedelta(seconds=1)
_OURS_TO_HOLD_SECONDS: Final = 30.0


async def dispatch_session(context: WorkerContext, session_id: UUID) -> None:
    """Bring a packed session to KSeF, from wherever an earlier run left it. Safe to run again at any time."""
    async with context.exclusively(session_id) as mine:
        if not mine:
            raise RetryLater("another worker holds the session", seconds=_OURS_TO_HOLD_SECONDS)
        session = await context.store.sessions.get_for_job(session_id)
        if session.state in {SessionState.PACKED, SessionState.OPENING}:
            await _open(context, session)
            session = await context.store.sessions.get_for_job(session_id)
        if session.state is SessionState.CLOSING and await _took_effect(context, session):
            return
        if session.state in {SessionState.OPEN, SessionState.CLOSING}:
            if not await _store_parts(context, session):
                return
            await _close(context, session)


async def _open(context: WorkerContext, session: Session) -> None:
    client = await context.ksef.of(session.tenant_id)
    started = time.perf_counter()
    outcome = "asking" if session.state is SessionState.PACKED else "asking-again"
    await context.store.sessions.move(
        session, SessionState.OPENING, action="open", outcome=outcome, now=context.clock()
    )
    parts = await context.store.sessions.parts(session.id)
    key = await context.store.sessions.encryption_key(session.id)
    try:
        try:
            opened = await client.open_batch_session(await _spec(client, session, parts, key))
        except KeyUnknown as error:
            # The public key was changed: the same AES key is wrapped again, the parts stay as they are.
            await _note(context, session, "open", "key-unknown", error)
            await client.keys.refresh()
            opened = await client.open_batch_session(await _spec(client, session, parts, key))
    except KsefError as error:
        await _note(context, session, "open", error.outcome.value, error)
        raise _later(error) from error
    await context.store.sessions.opened(
        session.id,
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
    metrics.STAGE_SECONDS.labels(stage="open").observe(time.perf_counter() - started)
    log.info("session opened", session=session.public_id, reference_number=opened.reference_number)


async def _spec(client: KsefClient, session: Session, parts: list[Part], key: bytes) -> BatchSpec:
    if session.package_bytes is None or session.package_sha256 is None or session.iv is None:
        raise RuntimeError(f"{session.public_id} is packed without a package")
    wrapped = await client.keys.wrap_key(key)
    return BatchSpec(
        form_code=FA_3,
        package_size=session.package_bytes,
        package_sha256=session.package_sha256,
        compression_type=CompressionType.TAR_GZ if session.compression == "targz" else CompressionType.ZIP,
        parts=tuple(PartSpec(part.ordinal_number, part.size, part.sha256) for part in parts),
        encrypted_symmetric_key=wrapped.ciphertext,
        initialization_vector=session.iv,
        public_key_id=wrapped.public_key_id,
        offline_mode=session.offline_mode,
    )


async def _store_parts(context: WorkerContext, session: Session) -> bool:
    """Send the parts that are not stored yet; False when their links have died and with them the session."""
    client = await context.ksef.of(session.tenant_id)
    targets = await context.store.sessions.upload_targets(session.id)
    failures: list[KsefError] = []
    async with anyio.create_task_group() as tasks:
        for part in await context.store.sessions.parts(session.id):
            if not part.uploaded:
                target = targets[part.ordinal_number]
                upload = PartUpload(part.ordinal_number, target["method"], SecretStr(target["url"]), target["headers"])
                tasks.start_soon(_store_part, context, session, client, part, upload, failures)
    if not failures:
        return True
    expired = next((failure for failure in failures if isinstance(failure, LinkRefused)), None)
    if expired is not None and session.state is SessionState.OPEN:
        # We never asked to close this session, so KSeF cannot have processed anything of it, and now it never will.
        await give_up_session(
            context,
            session,
            reason="upload-links-dead",
            old=InvoiceState.PACKED,
            detail=expired.as_dict(),
        )
        return False
    raise _later(failures[0])


async def _store_part(
    context: WorkerContext,
    session: Session,
    client: KsefClient,
    part: Part,
    upload: PartUpload,
    failures: list[KsefError],
) -> None:
    for attempt in range(1, _PART_TRIES + 1):
        try:
            async with context.part_uploads:
                started = time.perf_counter()
                await client.upload_part(upload, _bytes_of(context, part), part.size)
        except KsefError as error:
            await _note(context, session, "put-part", error.outcome.value, error, ordinal_number=part.ordinal_number)
            if attempt == _PART_TRIES or isinstance(error, LinkRefused) or error.outcome is Outcome.BLOCKED:
                failures.append(error)
                return
            await anyio.sleep(_PART_PAUSE_SECONDS * attempt)
        else:
            await context.store.sessions.part_uploaded(session.id, part.ordinal_number, now=context.clock())
            metrics.STAGE_SECONDS.labels(stage="put_part").observe(time.perf_counter() - started)
            metrics.PART_BYTES.inc(part.size)
            return


async def _bytes_of(context: WorkerContext, part: Part) -> AsyncIterator[bytes]:
    async for piece in context.store.blobs.stream(part.blob_key):
        yield piece


async def _took_effect(context: WorkerContext, session: Session) -> bool:
    """Ask whether an earlier close that got no clear answer took effect after all."""
    client = await context.ksef.of(session.tenant_id)
    try:
        status = await client.session_status(_reference(session))
    except KsefError as error:
        await _note(context, session, "status", error.outcome.value, error)
        raise _later(error) from error
    await context.store.sessions.note(
        session.id, "status", str(status.code), now=context.clock(), detail={"why": "close got no clear answer"}
    )
    if status.code < 150:
        return False
    await _closed(context, session, f"status-{status.code}")
    return True


async def _close(context: WorkerContext, session: Session) -> None:
    client = await context.ksef.of(session.tenant_id)
    started = time.perf_counter()
    await context.store.sessions.move(
        session, SessionState.CLOSING, action="close", outcome="asking", now=context.clock()
    )
    session = await context.store.sessions.get_for_job(session.id)
    try:
        await client.close_batch_session(_reference(session))
    except (StateForbids, DeadlineExceeded) as error:
        # It is closed already, or dead: the status says which, and tracking acts on it.
        await _note(context, session, "close", "state-forbids", error)
    except (PartMissing, PartMismatch) as error:
        await _note(context, session, "close", "part-missing", error)
        for part in await context.store.sessions.parts(session.id):
            await context.store.sessions.part_missing(session.id, part.ordinal_number, now=context.clock())
        raise RetryLater("KSeF misses a part", seconds=2) from error
    except KsefError as error:
        await _note(context, session, "close", error.outcome.value, error)
        raise _later(error) from error
    metrics.STAGE_SECONDS.labels(stage="close").observe(time.perf_counter() - started)
    await _closed(context, session, "closed")


async def _closed(context: WorkerContext, session: Session, outcome: str) -> None:
    async with context.store.database.transaction() as connection:
        moved = await context.store.sessions.move(
            session,
            SessionState.PROCESSING,
            action="close",
            outcome=outcome,
            now=context.clock(),
            connection=connection,
        )
        if not moved:
            return
        await context.store.sessions.mark_sent(connection, session.id)
        await context.store.jobs.defer(
            Task.TRACK_SESSION,
            connection=connection,
            at=context.clock() + _FIRST_LOOK,
            session_id=str(session.id),
        )
    log.info("session closed", session=session.public_id, outcome=outcome)


def _reference(session: Session) -> str:
    if session.reference_number is None:
        raise RuntimeError(f"{session.public_id} is open without a reference number")
    return session.reference_number


async def _note(
    context: WorkerContext, session: Session, action: str, outcome: str, error: KsefError, **more: object
) -> None:
    await context.store.sessions.note(
        session.id, action, outcome, now=context.clock(), detail=error.as_dict() | dict(more)
    )


def _later(error: KsefError) -> RetryLater:
    """Decide how long to wait after an error; the same session is taken up again where it is."""
    if isinstance(error, RateLimited):
        return RetryLater(error.detail, seconds=float(error.retry_after_seconds or _PATIENT_SECONDS))
    if error.outcome is Outcome.BLOCKED:
        return RetryLater(error.detail, seconds=_BLOCKED_SECONDS)
    if error.outcome is Outcome.REFUSED:
        log.error("KSeF refuses; the invoices are kept", **error.as_dict())
        return RetryLater(error.detail, seconds=_REFUSED_SECONDS)
    if error.retry_after_seconds:
        return RetryLater(error.detail, seconds=float(error.retry_after_seconds))
    return RetryLater(error.detail, seconds=2.0, growing=True)
