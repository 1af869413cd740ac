"""Assembles the ASGI application, and opens and closes its parts with it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from app import __version__
from app.api.authentication import Authenticator
from app.api.database_gauges import DatabaseGauges
from app.api.description.document import DESCRIPTION, TITLE, describe_api, operation_id
from app.api.event_watcher import EventWatcher
from app.api.http.middleware import RequestContext, SmallBodies
from app.api.http.problems import answer_error, answer_http, answer_invalid
from app.api.http.route_table import Methods, RouteTable
from app.api.http.stopping import BodyStop
from app.api.intake.admission import Admission
from app.api.intake.group_commit import SinglesGrouping
from app.api.intake.request_body import Receiver
from app.api.intake.validation_pool import ValidationPool
from app.api.readiness import Readiness
from app.api.routes import (
    account,
    deliveries,
    documents,
    duplicates,
    events,
    health,
    invoices,
    resumable,
    sessions,
    uploads,
    webhooks,
)
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
                    "body_stop": BodyStop(),
                    "api": ApiState(
                        store=store,
                        settings=settings,
                        clock=clock,
                        authenticator=Authenticator(store.tenants, clock, tasks),
                        admission=admission,
                        receiver=Receiver(store, settings, admission),
                        singles=SinglesGrouping(store, clock, tasks),
                        checking=checking,
                        gauges=DatabaseGauges(store, settings.ksef_base_url, clock, admission.limits()),
                        watcher=watcher,
                        readiness=Readiness(partial(store_faults, store), tasks),
                    ),
                }
            finally:
                ended.set()
                watcher.end()
                with anyio.move_on_after(10, shield=True):
                    await checking.close()

    app = FastAPI(
        title=TITLE,
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        # `routes.documents` serves them: the description as it is packaged, and a page that loads nothing from elsewhere.
        openapi_url=None,
        generate_unique_id_function=operation_id,
        redirect_slashes=False,
    )
    routers = (
        # Before the router that reads any name below /v1/uploads as an id.
        resumable.router,
        uploads.router,
        invoices.router,
        duplicates.router,
        sessions.router,
        account.router,
        webhooks.router,
        deliveries.router,
        links.router,
        events.router,
        health.router,
        documents.router,
    )
    # The last one added is the outermost.
    app.add_middleware(InvoicesFastPath, route=invoices_route())
    app.add_middleware(
        SmallBodies,
        except_paths=frozenset({"/v1/uploads", "/v1/invoices", "/v1/validate"}),
        except_below=resumable.PREFIX,
    )
    app.add_middleware(
        Methods, routes=RouteTable(route for one in routers for route in one.routes if isinstance(route, APIRoute))
    )
    app.add_middleware(RequestContext, trusted=TrustedProxies(read_networks(settings.trusted_proxies)))
    app.add_exception_handler(DispatchError, answer_error)
    app.add_exception_handler(RequestValidationError, answer_invalid)
    app.add_exception_handler(HTTPException, answer_http)
    for router in routers:
        app.include_router(router)
    app.openapi = lambda: describe_api(app)  # type: ignore[method-assign]  # the extension point that FastAPI documents
    return app
