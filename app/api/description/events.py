"""Describes the events as OpenAPI's `webhooks`: what the service sends, and how a receiver should answer."""

from typing import Any, Final

from pydantic.json_schema import models_json_schema

from app.webhooks.event_schemas import MODELS, Event

_HEADERS: Final = {
    "webhook-id": ("The id of the event, the same in every attempt.", "evt_0190f5a2c4e17b6b8a0d2c9e4f1a7b35"),
    "webhook-timestamp": ("When this attempt was made, in seconds since 1970.", "1795341600"),
    "webhook-signature": (
        "Signatures of id, timestamp and body (Standard Webhooks), separated by spaces.",
        "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
    ),
}


def event_components() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the schemas of all events with the parts that they share, and the headers of a delivery."""
    models = [(model, "serialization") for model in MODELS.values()]
    _, found = models_json_schema(models, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    parameters = {
        name: {
            "name": name,
            "in": "header",
            "required": True,
            "description": text,
            "schema": {"type": "string"},
            "example": example,
        }
        for name, (text, example) in _HEADERS.items()
    }
    return found["$defs"], parameters


def event_webhooks() -> dict[str, Any]:
    """Return one webhook for each type of event."""
    return {event_type: {"post": _operation(event_type, model)} for event_type, model in MODELS.items()}


def _operation(event_type: str, model: type[Event]) -> dict[str, Any]:
    text = (model.__doc__ or "").strip()
    return {
        "operationId": f"on{model.__name__}",
        "tags": ["events"],
        "summary": event_type,
        "description": f"{text}\n\nIts JSON Schema: `/schemas/events/{event_type}.json`.",
        # The receiver verifies the signature; no credentials are sent.
        "security": [],
        "parameters": [{"$ref": f"#/components/parameters/{name}"} for name in _HEADERS],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}},
        },
        "responses": {
            "2XX": {"description": "The event arrived. Answer before you process it."},
            "410": {"description": "The receiver is gone: the webhook is disabled."},
            "default": {"description": "The delivery failed, and is tried again."},
        },
    }
