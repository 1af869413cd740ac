"""The OpenAPI description: ids that read, open values, named enumerations, true examples, and the events as webhooks."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from app.api.description.examples import ANSWERS, REQUESTS
from app.api.description.headers import IMMUTABLE, OF_ANSWERS
from app.api.description.operations import without_null
from app.api.openapi import openapi_text
from app.webhooks.event_schemas import MODELS, json_schema

DOCUMENT: dict[str, Any] = json.loads(openapi_text())
OPERATIONS = {
    operation["operationId"]: (method, path, operation)
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
}
SCHEMAS = DOCUMENT["components"]["schemas"]


def walk(part: Any, place: str = "", seen: frozenset[str] = frozenset()) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every schema below a part with its place, references followed."""
    if isinstance(part, list):
        for number, item in enumerate(part):
            yield from walk(item, f"{place}/{number}", seen)
    elif isinstance(part, dict):
        reference = part.get("$ref")
        if isinstance(reference, str) and reference not in seen:
            yield from walk(SCHEMAS.get(reference.rpartition("/")[2], {}), f"{place}>{reference}", seen | {reference})
        yield place, part
        for name, item in part.items():
            if name not in {"example", "examples", "x-extensible-enum"}:
                yield from walk(item, f"{place}/{name}", seen)


def test_an_operation_id_reads_and_is_unique() -> None:
    names = [operation["operationId"] for item in DOCUMENT["paths"].values() for operation in item.values()]
    names += [item["post"]["operationId"] for item in DOCUMENT["webhooks"].values()]
    assert len(names) == len(set(names))
    assert [name for name in names if not re.fullmatch(r"[a-z]+([A-Z][a-z0-9]+)+", name)] == []
    assert {"createUpload", "listInvoices", "createWebhook", "getSessionUpo", "createResumableUpload"} <= set(names)


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_answer_has_no_closed_list_of_values(name: str) -> None:
    for status, response in OPERATIONS[name][2]["responses"].items():
        for place, schema in walk(response.get("content", {}), status):
            assert not {"enum", "const"} & set(schema), place
            if "x-extensible-enum" in schema:
                assert "xpect others" in schema["description"], place


def test_an_event_has_no_closed_list_of_values_but_its_own_type() -> None:
    for event_type, item in DOCUMENT["webhooks"].items():
        closed = [
            (place, schema.get("const"))
            for place, schema in walk(item["post"]["requestBody"])
            if {"enum", "const"} & set(schema)
        ]
        assert [value for _, value in closed] == [event_type], closed


def test_a_closed_list_of_values_is_a_named_component() -> None:
    text = {**DOCUMENT, "components": {**DOCUMENT["components"], "schemas": {}}}
    assert [place for place, schema in walk(text, seen=frozenset()) if "enum" in schema and ">" not in place] == []
    named = {name for name, schema in SCHEMAS.items() if "enum" in schema}
    assert {"InvoiceState", "SessionState", "DeliveryState", "EventType", "Signing", "Ordering"} <= named
    for name, schema in SCHEMAS.items():
        assert [
            place for place, part in walk(schema.get("properties", {})) if "enum" in part and ">" not in place
        ] == [], name


def test_a_parameter_is_never_null_and_a_header_is_a_text() -> None:
    for name, (_, _, operation) in OPERATIONS.items():
        for parameter in operation.get("parameters", ()):
            assert {"type": "null"} not in parameter["schema"].get("anyOf", ()), (name, parameter["name"])
            assert parameter["in"] != "header" or parameter["schema"]["type"] != "array", (name, parameter["name"])
            assert parameter["in"] == "path" or parameter.get("description"), (name, parameter["name"])


def test_a_parameter_of_two_types_keeps_both() -> None:
    two = {"anyOf": [{"type": "integer"}, {"type": "string"}, {"type": "null"}], "title": "T"}
    assert without_null(two) == {"title": "T", "anyOf": [{"type": "integer"}, {"type": "string"}]}
    assert without_null({"type": "string"}) == {"type": "string"}


def test_every_operation_has_a_described_tag_and_says_whether_it_needs_a_key() -> None:
    described = {tag["name"]: tag["description"] for tag in DOCUMENT["tags"]}
    used = {tag for _, _, operation in OPERATIONS.values() for tag in operation["tags"]}
    assert used == set(described)
    assert all(described.values())
    assert all("security" in operation for _, _, operation in OPERATIONS.values())
    assert all(response["description"] != "Successful Response" for _, _, operation in OPERATIONS.values()
               for response in operation["responses"].values())  # fmt: skip
    assert DOCUMENT["servers"]
    assert DOCUMENT["info"]["license"]["identifier"] == "Apache-2.0"


def test_the_first_body_of_an_upload_is_a_form_of_files() -> None:
    content = OPERATIONS["createUpload"][2]["requestBody"]["content"]
    first = next(iter(content))
    files = content[first]["schema"]["properties"]["file"]
    assert (first, files["items"]) == ("multipart/form-data", {"type": "string", "format": "binary"})
    assert set(content) == {
        "multipart/form-data", "application/zip", "application/gzip", "application/x-tar", "application/x-ndjson", "application/xml",
    }  # fmt: skip


def test_a_member_of_a_request_that_may_be_absent_has_no_default_that_a_generator_would_demand() -> None:
    for name in ("NewWebhook", "NewReplay", "WebhookChanges", "NewKind"):
        assert [member for member in SCHEMAS[name]["properties"].values() if "default" in member] == []
    assert SCHEMAS["NewWebhook"]["properties"]["max_concurrency"]["description"].endswith("Default: `10`.")
    assert SCHEMAS["NewWebhook"]["required"] == ["url"]


def test_xml_is_the_first_type_of_an_answer_that_has_it() -> None:
    content = OPERATIONS["getSessionUpo"][2]["responses"]["200"]["content"]
    assert list(content) == ["application/xml", "application/json"]


def test_every_component_is_used() -> None:
    text = json.dumps(DOCUMENT)
    for kind in ("schemas", "examples", "parameters"):
        unused = [name for name in DOCUMENT["components"][kind] if f'"#/components/{kind}/{name}"' not in text]
        assert unused == [], kind


@pytest.mark.parametrize("name", sorted({*REQUESTS, *ANSWERS}))
def test_an_example_is_of_its_schema(name: str) -> None:
    operation = OPERATIONS[name][2]
    shown = []
    if name in REQUESTS:
        shown.append(operation["requestBody"]["content"]["application/json"])
    if name in ANSWERS:
        shown.append(operation["responses"][ANSWERS[name][0]]["content"]["application/json"])
    for media in shown:
        validator = Draft202012Validator({**media["schema"], "components": DOCUMENT["components"]})
        assert [error.message for error in validator.iter_errors(media["example"])] == []
        # An example shows every member.
        known = SCHEMAS[media["schema"].get("$ref", "").rpartition("/")[2]] if "$ref" in media["schema"] else {}
        assert set(known.get("required", ())) <= set(media["example"])


def test_every_event_is_a_webhook_with_the_schema_of_its_file() -> None:
    assert set(DOCUMENT["webhooks"]) == set(MODELS)
    for event_type, item in DOCUMENT["webhooks"].items():
        schema = item["post"]["requestBody"]["content"]["application/json"]["schema"]
        written = json.loads(json_schema(event_type).replace("#/$defs/", "#/components/schemas/"))
        shared = written.pop("$defs", {})
        written.pop("$schema")
        assert SCHEMAS[schema["$ref"].rpartition("/")[2]] == written
        assert {name: SCHEMAS[name] for name in shared} == shared


def test_headers_of_answers_are_described_for_operations_that_exist() -> None:
    assert set(OF_ANSWERS) | IMMUTABLE <= set(OPERATIONS)
    described = OPERATIONS["createUpload"][2]["responses"]["202"]["headers"]
    assert {"Location", "Idempotency-Replayed", "RateLimit"} <= set(described)
    assert "304" in OPERATIONS["getInvoiceXml"][2]["responses"]
