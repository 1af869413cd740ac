"""The API against the last release's: nothing that a client sends or reads was taken away."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tools.openapi_compatibility import WIDER_PATTERNS, breaks, main

_ROOT = Path(__file__).resolve().parents[2]
RELEASE = _ROOT / "tests" / "data" / "d433c5d" / "openapi.json"
PRESENT = _ROOT / "schemas" / "openapi.json"

DOCUMENT: dict[str, Any] = {
    "paths": {
        "/things": {
            "get": {
                "parameters": [
                    {"in": "query", "name": "state", "schema": {"$ref": "#/components/schemas/State"}},
                    {"in": "query", "name": "limit", "schema": {"type": "integer", "minimum": 1, "maximum": 1000}},
                    {"in": "query", "name": "name", "schema": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
                    {"in": "header", "name": "prefer", "schema": {"type": "array", "items": {"type": "string"}}},
                ],
                "responses": {
                    "200": {
                        "headers": {"Link": {"schema": {"type": "string"}}},
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}},
                    },
                    "404": {"content": {"application/json": {"schema": {"type": "object"}}}},
                },
            },
            "post": {
                "requestBody": {
                    "content": {
                        "application/json": {"schema": {"$ref": "#/components/schemas/NewThing"}},
                        "application/xml": {"schema": {"type": "string"}},
                        "multipart/form-data": {"schema": {"type": "string", "format": "binary"}},
                    }
                },
                "responses": {"202": {"description": "taken"}},
            },
        }
    },
    "components": {
        "schemas": {
            "State": {"type": "string", "enum": ["new", "old"]},
            "EventType": {"type": "string", "enum": ["a", "b"]},
            "NewThing": {
                "type": "object",
                "required": ["name"],
                "properties": {
                    "name": {"type": "string", "maxLength": 10},
                    "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                },
            },
            "Thing": {
                "type": "object",
                "required": ["id", "size"],
                "properties": {
                    "id": {"type": "string", "format": "uuid"},
                    "size": {"type": "integer"},
                    "state": {"$ref": "#/components/schemas/State"},
                    "event": {"$ref": "#/components/schemas/EventType"},
                    "counts": {"type": "object", "additionalProperties": {"type": "integer"}},
                    "parts": {"type": "array", "items": {"$ref": "#/components/schemas/Thing"}},
                },
            },
        }
    },
}
SCHEMAS = "components.schemas."
GET = "paths./things.get."
POST = "paths./things.post."
BODY = POST + "requestBody."
FORM = BODY + "content.multipart/form-data.schema"
OPEN_STATE = {"type": "string", "x-extensible-enum": ["new", "old"]}
DROP = object()


def changed(place: str, value: Any) -> dict[str, Any]:
    """Give the document with one place set, or dropped."""
    document = copy.deepcopy(DOCUMENT)
    at: Any = document
    *way, last = place.split(".")
    for step in way:
        at = at[int(step)] if isinstance(at, list) else at[step]
    if value is DROP:
        del at[int(last) if isinstance(at, list) else last]
    elif isinstance(at, list):
        at.append(value)
    else:
        at[last] = value
    return document


CORRECTIONS = [
    f"PATCH /v1/webhooks/{{webhook_id}}: body: application/json.{name}: another type: was null, is {kind}"
    for name, kind in (
        ("description", "string"), ("disabled", "boolean"), ("headers", "object"), ("max_concurrency", "integer"),
        ("ordering", "string"), ("url", "string"),
    )
]  # fmt: skip
"""What the last release described and refused: these members could be absent and never null."""


def test_the_api_still_serves_clients_of_the_last_release() -> None:
    found = breaks(json.loads(RELEASE.read_text("utf-8")), json.loads(PRESENT.read_text("utf-8")))
    assert found == CORRECTIONS


@pytest.mark.parametrize(("narrow", "wide"), WIDER_PATTERNS)
def test_a_wider_pattern_matches_all_that_the_narrow_one_does(narrow: str, wide: str) -> None:
    texts = [chr(code) for code in range(0x250)]
    assert {text for text in texts if re.fullmatch(narrow, text)} < {text for text in texts if re.fullmatch(wide, text)}


def as_answer(schema: dict[str, Any]) -> dict[str, Any]:
    """Give the schema of an event as a document in which that event is an answer."""
    content = {"application/json": {"schema": {key: value for key, value in schema.items() if key != "$defs"}}}
    operation = {"responses": {"200": {"content": content}}}
    return {"paths": {"/event": {"get": operation}}, "components": {"schemas": schema.get("$defs", {})}}


@pytest.mark.parametrize("path", sorted(RELEASE.parent.glob("events/*.json")), ids=lambda path: path.stem)
def test_events_still_serve_receivers_of_the_last_release(path: Path) -> None:
    old, new = (
        json.loads((folder / path.name).read_text("utf-8")) for folder in (path.parent, _ROOT / "schemas/events")
    )
    assert breaks(as_answer(old), as_answer(new)) == []


@pytest.mark.parametrize(
    ("place", "value", "found"),
    [
        ("paths./things", {}, "the operation was removed"),
        (GET + "parameters.0", DROP, "query parameter state: removed"),
        (GET + "parameters.+", {"in": "query", "name": "x", "required": True}, "query parameter x: new and required"),
        (GET + "parameters.0.required", True, "query parameter state: required, was optional"),
        (GET + "parameters.1.schema.maximum", 100, "query parameter limit: maximum: 100"),
        (GET + "parameters.1.schema.minimum", 5, "query parameter limit: minimum: 5"),
        (GET + "parameters.1.schema.type", "string", "query parameter limit: another type: was integer, is string"),
        (GET + "security", [{"key": []}], "credentials are now required"),
        (GET + "responses.200", DROP, "answer 200: removed"),
        (GET + "responses.200.headers", {}, "header Link: removed"),
        (GET + "responses.200.content", {}, "application/json: removed"),
        (BODY + "content.application/xml", DROP, "body: application/xml: removed"),
        (BODY + "required", True, "a body is required, was optional"),
        (POST + "requestBody", DROP, "the body was removed"),
        (SCHEMAS + "State.enum", ["new"], "query parameter state: no longer taken: old"),
        (SCHEMAS + "State.enum", ["new", "old", "odd"], "application/json.state: new in answers: odd"),
        (SCHEMAS + "Thing.properties.state", {"type": "string"}, "application/json.state: new in answers: any value"),
        (SCHEMAS + "Thing.properties.state", OPEN_STATE | {"x-extensible-enum": ["new", "odd"]}, "new in answers: odd"),
        (GET + "parameters.0.schema", OPEN_STATE | {"enum": ["new"]}, "query parameter state: no longer taken: old"),
        (GET + "parameters.2.schema", {"type": "integer"}, "query parameter name: another type: was string"),
        (GET + "parameters.3.schema", {"type": "integer"}, "header parameter prefer: another type"),
        (FORM, {"type": "object", "required": ["file"]}, "body: multipart/form-data: another type"),
        (FORM, {"type": "object", "additionalProperties": False}, "body: multipart/form-data: another type"),
        (SCHEMAS + "NewThing.required", ["name", "note"], "application/json.note: required, was optional"),
        (SCHEMAS + "NewThing.properties.note", DROP, "application/json.note: removed"),
        (SCHEMAS + "NewThing.properties.note", {"type": "string"}, "application/json.note: another type"),
        (SCHEMAS + "NewThing.properties.name.maxLength", 9, "application/json.name: maxLength: 9"),
        (SCHEMAS + "NewThing.properties.name.pattern", "^a", "application/json.name: pattern: ^a"),
        (SCHEMAS + "NewThing.additionalProperties", False, "application/json: other members: were free, are refused"),
        (SCHEMAS + "Thing.properties.size", DROP, "application/json.size: removed"),
        (SCHEMAS + "Thing.properties.size.type", "number", "application/json.size: another type: was integer, is number"),
        (SCHEMAS + "Thing.properties.size.type", ["integer", "null"], "application/json.size: another type"),
        (SCHEMAS + "Thing.properties.id.format", DROP, "application/json.id: format: uuid"),
        (SCHEMAS + "Thing.required", ["id"], "application/json.size: optional, was always there"),
        (SCHEMAS + "Thing.properties.counts.additionalProperties", {"type": "string"}, "application/json.counts.*"),
        (SCHEMAS + "Thing.properties.counts.additionalProperties", True, "application/json.counts: other members"),
        (SCHEMAS + "Thing.properties.parts.items", {"type": "string"}, "application/json.parts[]: another type"),
        (SCHEMAS + "Thing.properties.parts.items", {}, "application/json.parts[]: another type"),
    ],
)  # fmt: skip
def test_a_break_is_found(place: str, value: Any, found: str) -> None:
    lines = breaks(DOCUMENT, changed(place, value))
    assert [line for line in lines if found in line], lines


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("paths./others", {"get": {"responses": {}}}),
        (GET + "parameters.+", {"in": "query", "name": "x", "schema": {"type": "string"}}),
        (GET + "parameters.1.schema.maximum", 5000),
        (GET + "parameters.1.schema", {"anyOf": [{"type": "integer"}, {"type": "string"}]}),
        (GET + "responses.404", DROP),
        (GET + "responses.409", {"description": "not now"}),
        (GET + "responses.206", {"description": "a piece, for those who ask for one"}),
        (BODY + "content.text/plain", {"schema": {"type": "string"}}),
        (SCHEMAS + "EventType.enum", ["a", "b", "c"]),
        (SCHEMAS + "Thing.properties.state", OPEN_STATE),
        (GET + "parameters.2.schema", {"type": "string"}),
        (GET + "parameters.3.schema", {"type": "string"}),
        (FORM, {"type": "object", "properties": {"file": {"type": "array"}}}),
        (SCHEMAS + "NewThing.required", []),
        (SCHEMAS + "NewThing.properties.more", {"type": "string"}),
        (SCHEMAS + "NewThing.properties.name.maxLength", 11),
        (SCHEMAS + "Thing.properties.more", {"type": "string"}),
        (SCHEMAS + "Thing.required", ["id", "size", "state"]),
        (SCHEMAS + "Thing.properties.size.minimum", 0),
        (SCHEMAS + "Thing.properties.size.description", "in bytes"),
    ],
)
def test_what_clients_do_not_notice_is_no_break(place: str, value: Any) -> None:
    assert breaks(DOCUMENT, changed(place, value)) == []


def test_the_command_prints_the_breaks_and_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    old.write_text(json.dumps(DOCUMENT), "utf-8")
    new.write_text(json.dumps(changed(GET + "parameters.0", DROP)), "utf-8")
    assert main(old, new) == 1
    assert capsys.readouterr().out == "GET /things: query parameter state: removed\n"
    assert main(old, old) == 0
    assert capsys.readouterr().out == "no break\n"
