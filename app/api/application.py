"""Assembles the ASGI application, and opens and closes its parts with it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import anyio
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException

from app import __version__
from app.api.authentication import Authenticator
from app.api.database_gauges import DatabaseGauges
from app.api.event_watcher import EventWatcher
from app.api.http.middleware import RequestContext, SmallBodies
from app.api.http.problems import Problem, answer_error, answer_http, answer_invalid
from app.api.intake.admission import Admission
from app.api.intake.group_commit import SinglesGrouping
from app.api.intake.request_body import Receiver
from app.api.intake.validation_pool import ValidationPool
from app.api.readiness import Readiness
from app.api.routes import account, deliveries, events, health, invoices, resumable, sessions, uploads, webhooks
from app.api.routes import upo_links as links
from app.api.routes.invoices_fast_path import InvoicesFastPath, invoices_route
from app.api.state import ApiState
from app.client_addresses import TrustedProxies, read_networks
from app.clock import Clock, utc_now
from app.errors import DispatchError
from app.observability import metrics
from app.process.heartbeat import send_heartbeats
from app.process.memory import freeze_startup_objects
from app.settings import Settings
from app.store.health import store_faults
from app.store.store import open_store

_DESCRIPTION: Final = """\
Accepts invoices for KSeF, Poland's national e-invoice system, and reports the verdict on each.

Send an API key as `Authorization: Bearer <key>`. Errors are answered with problem details (RFC 9457) that have a stable `code`.
Lists have `items` and `next`; send `next` as `cursor` to get the next page. Times are UTC, ISO 8601.
"""

# FastAPI describes its own answer 422 for wrong parameters; this API answers them with a problem and status 400.
_FASTAPI_ERRORS: Final = ("HTTPValidationError", "ValidationError")


def create_app(settings: Settings, *, clock: Clock = utc_now) -> FastAPI:
    """Return the application. It opens the store when it starts, and closes all its parts when it ends."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
        metrics.start_at_zero()
        checking = ValidationPool(settings)
        async with open_store(settings, max_connections=16) as store, anyio.create_task_group() as tasks:
            ended = asyncio.Event()
            tasks.start_soon(send_heartbeats, ended, name="heartbeat")
            admission = Admission(store, settings, tasks)
            watcher = EventWatcher(store.feed)
            tasks.start_soon(watcher.run)
            freeze_startup_objects()
            try:
                yield {
                    "api": ApiState(
                        store=store,
                        settings=settings,
                        clock=clock,
                        authenticator=Authenticator(store.tenants, clock),
                        admission=admission,
                        receiver=Receiver(store, settings, admission),
                        singles=SinglesGrouping(store, clock, tasks),
                        checking=checking,
                        gauges=DatabaseGauges(store, settings.ksef_base_url, clock, admission.limits()),
                        watcher=watcher,
                        readiness=Readiness(partial(store_faults, store), tasks),
                    )
                }
            finally:
                ended.set()
                watcher.end()
                with anyio.move_on_after(10, shield=True):
                    await checking.close()

    app = FastAPI(
        title="ksef-dispatch",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        redoc_url=None,
        redirect_slashes=False,
    )
    # The last one added is the outermost.
    app.add_middleware(InvoicesFastPath, route=invoices_route())
    app.add_middleware(
        SmallBodies,
        except_paths=frozenset({"/v1/uploads", "/v1/invoices", "/v1/validate"}),
        except_below=resumable.PREFIX,
    )
    app.add_middleware(RequestContext, trusted=TrustedProxies(read_networks(settings.trusted_proxies)))
    app.add_exception_handler(DispatchError, answer_error)
    app.add_exception_handler(RequestValidationError, answer_invalid)
    app.add_exception_handler(HTTPException, answer_http)
    for router in (
        # Before the router that reads any name below /v1/uploads as an id.
        resumable.router,
        uploads.router,
        invoices.router,
        sessions.router,
        account.router,
        webhooks.router,
        deliveries.router,
        links.router,
        events.router,
        health.router,
    ):
        app.include_router(router)
    app.openapi = lambda: openapi_description(app)  # type: ignore[method-assign]  # the extension point that FastAPI documents
    return app


def openapi_description(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI 3.1 description, with problems instead of FastAPI's own errors. It is made once."""
    if app.openapi_schema is None:
        description = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes, tags=app.openapi_tags
        )
        schemas = description.setdefault("components", {}).setdefault("schemas", {})
        for path in description["paths"].values():
            for operation in path.values():
                _replace_validation_error(operation)
        for name in _FASTAPI_ERRORS:
            schemas.pop(name, None)
        schemas["Problem"] = Problem.model_json_schema()
        app.openapi_schema = description
    return app.openapi_schema


def _replace_validation_error(operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    own = responses.get("422", {}).get("content", {}).get("application/json", {}).get("schema", {}).get("$ref", "")
    if not own.endswith(_FASTAPI_ERRORS[0]):
        if operation.get("parameters") or operation.get("requestBody"):
            _add_invalid_request(responses)
        return
    del responses["422"]
    _add_invalid_request(responses)


def _add_invalid_request(responses: dict[str, Any]) -> None:
    text = "`invalid-request`: A parameter or the body does not have the form that the endpoint takes."
    known = responses.get("400")
    if known is None:
        schema = {"schema": {"$ref": "#/components/schemas/Problem"}}
        responses["400"] = {"description": text, "content": {"application/problem+json": schema}}
    elif "`invalid-request`" not in known["description"]:
        known["description"] = f"{known['description']}; {text}"
