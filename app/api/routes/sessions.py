"""`/v1/sessions`: batch sessions with KSeF, their history, and their receipts."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response

from app.api.dependencies import CurrentStore, CurrentTenant, Now
from app.api.http.errors import BadCursor, UpoNotAvailable
from app.api.http.paging import Cursor, Limit, one_page, read_cursor
from app.api.http.problems import declare, gives
from app.api.responses.history import session_history
from app.api.responses.schemas import SessionDetail, SessionPage, UpoPages
from app.api.responses.upo import find_upo_page, upo_answer
from app.domain.ids import parse_public_id
from app.domain.session_times import close_by, upload_by
from app.domain.states import SessionState
from app.domain.timestamps import iso_utc
from app.errors import NotFound, Unauthorized
from app.store.blob_errors import BlobMissing, BlobStoreUnavailable
from app.store.sessions.session import Session
from app.store.sessions.session_json import session_json
from app.store.store import Store

router = APIRouter(prefix="/v1/sessions", tags=["sessions"])


@router.get("", response_model=SessionPage, responses=declare(BadCursor, Unauthorized))
async def list_sessions(
    store: CurrentStore,
    tenant: CurrentTenant,
    state: Annotated[SessionState | None, Query(description="Only sessions in this state.")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> dict[str, Any]:
    """List sessions, newest first."""
    rows = await store.sessions.page(
        tenant.id, before=read_cursor(cursor), state=state.value if state else None, limit=limit + 1
    )
    kept, following = one_page(rows, limit, lambda session: session.id)
    return {"items": await _shapes(store, tenant.id, kept), "next": following}


@router.get("/{session_id}", response_model=SessionDetail, responses=declare(Unauthorized, NotFound))
async def get_session(session_id: str, store: CurrentStore, tenant: CurrentTenant, now: Now) -> dict[str, Any]:
    """Show one session with its history."""
    session = await store.sessions.get(tenant.id, parse_public_id("ses", session_id))
    address = f"/v1/sessions/{session.public_id}"
    (shape,) = await _shapes(store, tenant.id, [session])
    return shape | {
        **_times(session, shape["parts"], now),
        "history": session_history(await store.sessions.history(tenant.id, session.id)),
        "links": {"self": address, "upo": f"{address}/upo", "invoices": f"/v1/invoices?session={session.public_id}"},
    }


@router.get(
    "/{session_id}/upo",
    response_model=UpoPages,
    responses=gives("The UPO, or the list of its pages.", "application/xml")
    | declare(Unauthorized, NotFound, UpoNotAvailable, BlobStoreUnavailable, BlobMissing),
)
async def get_session_upo(request: Request, session_id: str, store: CurrentStore, tenant: CurrentTenant) -> Any:
    """Return the session's UPO: the XML itself when it has one page, the list of its pages as JSON when it has more."""
    session = await store.sessions.get(tenant.id, parse_public_id("ses", session_id))
    pages = await store.sessions.upo_pages(tenant.id, session.id)
    if not pages:
        raise UpoNotAvailable(f"the session is {session.state.value}; its UPO exists once KSeF has processed it")
    if len(pages) == 1:
        return await upo_answer(request, store, pages[0])
    return {"items": session_json(session, parts=0, upo_pages=pages)["upo"]}


@router.get(
    "/{session_id}/upo/{page}",
    response_class=Response,
    responses=gives("The page, as KSeF signed it.", "application/xml")
    | declare(Unauthorized, NotFound, UpoNotAvailable, BlobStoreUnavailable, BlobMissing),
)
async def get_session_upo_page(
    request: Request,
    session_id: str,
    page: Annotated[int, Path(ge=1, le=10_000, description="Number of the page, from 1.")],
    store: CurrentStore,
    tenant: CurrentTenant,
) -> Response:
    """Return one page of the session's UPO, pages counted from 1."""
    session = await store.sessions.get(tenant.id, parse_public_id("ses", session_id))
    answer = await find_upo_page(request, store, tenant.id, session.id, page)
    if answer is None:
        raise UpoNotAvailable(f"the session is {session.state.value} and its UPO has no page {page}")
    return answer


def _times(session: Session, parts: int, now: datetime) -> dict[str, Any]:
    """Return the age of a session and, until its end, the times by which its parts must be sent and it must be closed."""
    opened_at = session.ksef_created_at or session.opened_at
    if opened_at is None:
        return {"upload_by": None, "close_by": None, "age_seconds": None}
    is_over = session.state.is_final
    return {
        "upload_by": None if is_over else iso_utc(upload_by(opened_at, parts)),
        "close_by": None if is_over else iso_utc(close_by(opened_at)),
        "age_seconds": max(0, int(((session.completed_at or now) - opened_at).total_seconds())),
    }


async def _shapes(store: Store, tenant_id: int, sessions: Sequence[Session]) -> list[dict[str, Any]]:
    """Return sessions with their parts and receipts, by two queries for all of them."""
    ids = [session.id for session in sessions]
    parts = await store.sessions.part_counts(tenant_id, ids)
    pages = await store.sessions.upo_pages_of(tenant_id, ids)
    return [
        session_json(session, parts=parts.get(session.id, 0), upo_pages=pages.get(session.id, []))
        for session in sessions
    ]
