"""The ASGI application: guarded endpoints, storage and control API, with the fault middleware around them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from sandbox.clock import MovableClock
from sandbox.control import endpoints as control
from sandbox.control import forced_outcomes
from sandbox.control.fault_middleware import FaultMiddleware
from sandbox.control.input import EXCEPTION_HANDLERS
from sandbox.endpoints import (
    auth_sessions,
    batch,
    certificates,
    certificates_enrollment,
    ksef_tokens,
    login,
    metadata,
    online,
    receipts,
    reference_data,
    results,
    storage,
    testdata,
    testdata_limits,
)
from sandbox.endpoints.openapi import openapi_document, serving
from sandbox.guard import Endpoint, guarded
from sandbox.options import SandboxOptions
from sandbox.processing.batch import resume_batch
from sandbox.processing.online import resume_online
from sandbox.service import Sandbox

PREFIX = "/v2"
ENDPOINTS: tuple[Endpoint, ...] = (
    *login.ENDPOINTS,
    *auth_sessions.ENDPOINTS,
    *reference_data.ENDPOINTS,
    *ksef_tokens.ENDPOINTS,
    *certificates_enrollment.ENDPOINTS,
    *certificates.ENDPOINTS,
    *batch.ENDPOINTS,
    *online.ENDPOINTS,
    *results.ENDPOINTS,
    *receipts.ENDPOINTS,
    *metadata.ENDPOINTS,
    *testdata.ENDPOINTS,
    *testdata_limits.ENDPOINTS,
)
"""The endpoints in the order of matching: literal paths before paths with parameters."""
CONTROL_ROUTES: tuple[Route, ...] = (*control.ROUTES, *forced_outcomes.ROUTES)
_STORAGE = "/storage/01/{reference}"


def create_app(options: SandboxOptions, clock: MovableClock | None = None) -> Starlette:
    """Create the application; its `state.sandbox` is the running sandbox."""
    sandbox = Sandbox(options, clock)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        sandbox.start()
        resume_batch(sandbox)
        resume_online(sandbox)
        try:
            yield
        finally:
            await sandbox.stop()

    routes: list[BaseRoute] = [
        Route(PREFIX + endpoint.path, guarded(endpoint, sandbox), methods=[endpoint.method]) for endpoint in ENDPOINTS
    ]
    routes += [
        Route(f"{_STORAGE}/batch-parts/{{ordinal:int}}", storage.put_part, methods=["PUT"]),
        Route(f"{_STORAGE}/session-upo/{{name}}", storage.get_session_upo, methods=["GET"]),
        Route(f"{_STORAGE}/invoice-upo/{{name}}", storage.get_invoice_upo, methods=["GET"]),
        *CONTROL_ROUTES,
        serving(openapi_document(ENDPOINTS, PREFIX, options.api, CONTROL_ROUTES)),
    ]
    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers={404: _not_found, 405: _not_found, **EXCEPTION_HANDLERS},
    )
    app.state.sandbox = sandbox
    app.router.redirect_slashes = False
    app.add_middleware(FaultMiddleware, sandbox=sandbox, prefix=PREFIX, endpoints=ENDPOINTS)
    return app


async def _not_found(_request: Request, _error: Exception) -> Response:
    """Answer unknown paths and methods with 404 and an empty body."""
    return Response(status_code=404)
