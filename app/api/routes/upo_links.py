"""`/v1/upo`: pages of UPOs by the signed link in an event, which needs no API key and works for a few days."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from app.api.dependencies import CurrentStore, Now
from app.api.http.parameters import known_parameters_only
from app.api.http.problems import declare, gives
from app.api.responses.upo import find_upo_page
from app.errors import NotFound
from app.store.blob_errors import BlobMissing, BlobStoreUnavailable
from app.store.sessions.upo_links import LinkInvalid

router: Final = APIRouter(prefix="/v1", tags=["sessions"])


@router.get(
    "/upo",
    response_class=Response,
    dependencies=[Depends(known_parameters_only)],
    responses=gives("The page, as KSeF signed it.", "application/xml")
    | declare(LinkInvalid, BlobStoreUnavailable, BlobMissing),
)
async def get_upo_by_link(
    token: Annotated[str, Query(max_length=200, description="As in the `link` of an event.")],
    request: Request,
    store: CurrentStore,
    now: Now,
) -> Response:
    """Return one page of a UPO by the `link` of an event, which works for four days and needs no API key."""
    place = store.upo_links.read(token, now=now)
    try:
        tenant = await store.tenants.get(place.tenant_id)
    except NotFound as error:
        raise LinkInvalid from error
    answer = None
    if tenant.disabled_at is None:
        # The link counts as a key: its connection is not closed to make room.
        request.scope.setdefault("ksefd", {})["tenant"] = tenant.public_id
        answer = await find_upo_page(request, store, place.tenant_id, place.session_id, place.page)
    if answer is None:
        raise LinkInvalid
    return answer
