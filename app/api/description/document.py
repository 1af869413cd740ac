"""Assembles the OpenAPI 3.1 description: FastAPI's own, completed, with the events as webhooks."""

import re
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from app.api.description.events import event_components, event_webhooks
from app.api.description.examples import add_examples
from app.api.description.headers import add_headers
from app.api.description.operations import complete_operation
from app.api.http.problems import Problem, problem_examples

TITLE: Final = "ksef-dispatch"

DESCRIPTION: Final = """\
Accepts invoices for KSeF, Poland's national e-invoice system, and reports the verdict on each.

- Send an API key as `Authorization: Bearer <key>`.
- Errors are answered with problem details (RFC 9457) that have a stable `code`.
- Lists have `items` and `next`; send `next` as `cursor` to get the next page.
- Times are UTC, ISO 8601.
- Answers and events may get new members, and new values where `x-extensible-enum` lists the present ones: ignore what you do not know.
"""

_SUMMARY: Final = "Asynchronous batch dispatcher for KSeF."
_LICENSE: Final = {"name": "Apache License 2.0", "identifier": "Apache-2.0"}
_SERVERS: Final = (
    {"url": "/", "description": "The installation that serves this document."},
    {"url": "http://127.0.0.1:8080", "description": "`ksefd serve` on this machine."},
)
_TAGS: Final = {
    "uploads": "Bodies with many invoices (archives, lines of JSON, forms), their progress, and the verdict on each invoice.",
    "resumable uploads": "Large bodies in pieces, continued after a broken connection (tus 1.0.0).",
    "invoices": "Single invoices: sending, state, history, XML, receipt and QR code; decisions about late ones.",
    "validation": "A check of one invoice that stores nothing.",
    "sessions": "Sessions with KSeF, and their official receipts (UPO).",
    "account": "The tenant of the API key: its limits, its quota with KSeF, its waiting invoices.",
    "webhooks": "Addresses to which events are sent, the deliveries to them, retries and replays.",
    "events": "The events that webhooks deliver: to pull, to wait for and to stream. Their schemas are under `webhooks`.",
    "health": "Probes and metrics. No key is needed.",
    "documents": "This description, the schemas of the events and the list of problems. No key is needed.",
}


def operation_id(route: APIRoute) -> str:
    """Return the id of a route's operation: the name of its function in camel case."""
    first, *others = route.name.split("_")
    return first + "".join(word.capitalize() for word in others)


def describe_api(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI 3.1 description of an application. It is made once."""
    if app.openapi_schema is None:
        description = get_openapi(
            title=app.title,
            version=app.version,
            summary=_SUMMARY,
            description=app.description,
            routes=app.routes,
            tags=[{"name": name, "description": text} for name, text in _TAGS.items()],
            servers=[dict(server) for server in _SERVERS],
            license_info=dict(_LICENSE),
        )
        components = description.setdefault("components", {})
        schemas: dict[str, Any] = components.setdefault("schemas", {})
        schemas["Problem"] = Problem.model_json_schema()
        events, parameters = event_components()
        schemas |= events
        components["parameters"] = parameters
        components["examples"] = problem_examples()
        for path, item in description["paths"].items():
            for method, operation in item.items():
                complete_operation(path, method, operation, schemas)
        description["webhooks"] = event_webhooks()
        add_examples(description)
        add_headers(description)
        _remove_unused(description, "schemas", "examples", "headers")
        app.openapi_schema = description
    return app.openapi_schema


def _remove_unused(description: dict[str, Any], *kinds: str) -> None:
    """Remove the components that nothing refers to, directly or through others."""
    components = description["components"]
    used: set[str] = set()
    found = _references({name: part for name, part in description.items() if name != "components"})
    while found:
        used |= found
        parts = [components[kind][name] for kind, name in (reference.split("/") for reference in found)]
        found = _references(parts) - used
    for kind in kinds:
        # Sorted, since FastAPI gathers the models in no fixed order.
        components[kind] = {name: part for name, part in sorted(components[kind].items()) if f"{kind}/{name}" in used}


def _references(part: Any) -> set[str]:
    return set(re.findall(r"'#/components/([A-Za-z]+/[A-Za-z0-9._-]+)'", str(part)))
