"""`/livez`, `/readyz` and `/metrics`: for probes and monitoring, without an API key."""

import contextlib
from typing import Any

import anyio.to_thread
from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client.registry import Collector

from app import __version__
from app.api.dependencies import CurrentState
from app.api.http.errors import NotReady
from app.api.http.problems import declare, gives
from app.api.responses.schemas import Liveness
from app.api.state import ApiState
from app.errors import TryLater
from app.observability import metrics
from app.store.disk import Reserve

router = APIRouter(tags=["health"])


@router.get("/livez", response_model=Liveness)
async def get_liveness() -> dict[str, Any]:
    """Answer that the process runs, without using the database."""
    return {"status": "alive", "version": __version__}


@router.get("/readyz", response_model=Liveness, responses=declare(NotReady))
async def get_readiness(state: CurrentState) -> dict[str, Any]:
    """Answer 200 when the database has the right schema and blobs can be written and read, so that requests can be served."""
    faults = await state.readiness.faults()
    if faults:
        raise NotReady(
            ", ".join(part for part, _ in faults) + " cannot be used",
            errors=[{"part": part, "message": reason} for part, reason in faults],
        )
    return {"status": "ready", "version": __version__, "warnings": await _warnings(state)}


async def _warnings(state: ApiState) -> list[dict[str, str]]:
    """Return the warnings of /readyz: the disk is nearly full, so uploads get 503. Reads work, so the service is ready."""
    space = await state.store.disk.space()
    if space is None or not space.lacks(Reserve.UPLOADS):
        return []
    message = f"{space.free} bytes are free, and {space.reserved} are reserved; uploads get 503 until more are free"
    return [{"part": "disk", "message": message}]


@router.get(
    "/metrics",
    response_class=Response,
    responses=gives("Prometheus's text format.", "text/plain"),
)
async def get_metrics(state: CurrentState) -> Response:
    """Return the metrics of all processes of this machine. Without the database its gauges are missing."""
    more: tuple[Collector, ...] = ()
    with contextlib.suppress(TryLater):
        more = (await state.gauges.collect(),)
    # Reads the files of all processes, so it runs in a thread.
    page = await anyio.to_thread.run_sync(metrics.exposition, *more)
    return Response(page, media_type=metrics.CONTENT_TYPE)
