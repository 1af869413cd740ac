"""`/openapi.json`, `/docs`, `/schemas/events` and the page of problems: the API about itself, without an API key.

The page at `/docs` loads nothing from another host; its content security policy forbids that.
"""

import importlib.resources
import importlib.util
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import APIRouter
from fastapi import Path as InPath
from fastapi.responses import FileResponse, HTMLResponse, Response

from app.api.http.problems import declare, problems_page
from app.errors import ConfigurationError, NotFound
from app.store.events.outbox import EventType

router: Final = APIRouter(tags=["documents"])

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE_HEADERS: Final = {"Content-Security-Policy": _POLICY, "Referrer-Policy": "no-referrer"}
_CACHED: Final = {"Cache-Control": "public, max-age=3600"}

# Only these files of the package are used, and nothing of it is imported.
_PACKAGE: Final = "fastapi_offline"
_ASSETS: Final = frozenset({"swagger-ui-bundle.js", "swagger-ui.css"})
_START: Final = "start.js"

# The addresses are relative, so that the page also works behind a proxy that adds a prefix.
_PAGE: Final = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>ksef-dispatch API</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,"><link rel="stylesheet" href="docs/assets/swagger-ui.css">
<script src="docs/assets/swagger-ui-bundle.js" defer></script><script src="docs/assets/start.js" defer></script>
</head><body><div id="api"></div><noscript>The description itself: <a href="openapi.json">openapi.json</a></noscript></body></html>
"""
# Without `validatorUrl: null` the page would send the address of the description to a public validator.
_SCRIPT: Final = """\
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#api",
  deepLinking: true,
  displayOperationId: true,
  filter: true,
  validatorUrl: null,
});
"""
_SCHEMA: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The schema.", "content": {"application/schema+json": {"schema": {"type": "object"}}}}
}


@router.get(
    "/openapi.json",
    response_class=Response,
    responses={200: {"description": "This document.", "content": {"application/json": {"schema": {"type": "object"}}}}},
)
def get_openapi_document() -> Response:
    """Return the OpenAPI description of this version."""
    return Response(_packaged("openapi.json"), media_type="application/json", headers=_CACHED)


@router.get("/schemas/events/{event_type}.json", response_class=Response, responses=_SCHEMA | declare(NotFound))
def get_event_schema(
    event_type: Annotated[str, InPath(description="A type of event.", examples=[EventType.INVOICES_ACCEPTED.value])],
) -> Response:
    """Return the JSON Schema (draft 2020-12) of one type of event."""
    if event_type not in {known.value for known in EventType}:
        raise NotFound(f"there are no events of this type; there are {', '.join(known.value for known in EventType)}")
    schema = _packaged(f"events/{event_type}.json")
    return Response(schema, media_type="application/schema+json", headers=_CACHED)


@router.get("/docs", response_class=HTMLResponse, include_in_schema=False)
async def show_api() -> HTMLResponse:
    """Return the page that shows the description."""
    return HTMLResponse(_PAGE, headers=_PAGE_HEADERS)


@router.get("/docs/assets/{name}", response_class=Response, include_in_schema=False)
def get_asset(name: str) -> Response:
    """Return a script or style of the page."""
    if name == _START:
        return Response(_SCRIPT, media_type="text/javascript", headers=_CACHED)
    if name not in _ASSETS:
        raise NotFound("there is nothing at this address")
    return FileResponse(_assets() / name, headers=_CACHED)


@router.get("/docs/problems", response_class=HTMLResponse, include_in_schema=False)
async def show_problems() -> HTMLResponse:
    """Return the page that the `type` of every problem points to."""
    return HTMLResponse(problems_page("html"), headers=_PAGE_HEADERS)


@cache
def _packaged(name: str) -> bytes:
    return importlib.resources.files("schemas").joinpath(name).read_bytes()


def _assets() -> Path:
    # find_spec of a top-level name imports nothing.
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigurationError(f"the package {_PACKAGE} is not installed; it has the scripts of /docs")
    return Path(spec.submodule_search_locations[0], "static")
