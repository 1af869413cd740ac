"""Completes the description of each operation: what FastAPI says wrongly, or does not say."""

import json
from typing import Any, Final

from app.api.http.errors import InvalidRequest
from app.api.http.problems import MEDIA_TYPE, PROBLEMS, problem_response
from app.errors import BodyTooLarge, DispatchError

# FastAPI describes its own answer 422 for wrong parameters; this API answers them with a problem and status 400.
_FASTAPI_ERROR: Final = "HTTPValidationError"

_FASTAPI_SUCCESS: Final = "Successful Response"
_REFERENCE: Final = "#/components/schemas/"
_BY_CODE: Final = {kind.code: kind for kind in PROBLEMS}


def complete_operation(path: str, method: str, operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Complete one operation in place."""
    # Without this member an operation would inherit what the document may demand of all.
    operation.setdefault("security", [])
    for parameter in operation.get("parameters", ()):
        parameter["schema"] = without_null(parameter["schema"])
        if parameter["in"] == "header":
            parameter["schema"] = _as_text(parameter["schema"])
        # FastAPI repeats the text of a parameter in its schema.
        if parameter["schema"].get("description") == parameter.get("description"):
            parameter["schema"].pop("description", None)
    responses = operation["responses"]
    if _is_fastapi_error(responses.get("422", {})):
        del responses["422"]
    if path.startswith("/v1/") and method != "options":
        _add_problem(responses, InvalidRequest)
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if body is not None:
        _add_problem(responses, BodyTooLarge)
        for variant in (body["schema"], *body["schema"].get("anyOf", ())):
            _tell_defaults(schemas.get(_name(variant), {}))
    for status, response in responses.items():
        _put_xml_first(response)
        if response["description"] == _FASTAPI_SUCCESS:
            response["description"] = _description(status, response, schemas)
    operation["responses"] = dict(sorted(responses.items()))


def without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a parameter without null: a parameter that is absent has no value, and cannot be null."""
    variants = [variant for variant in schema.get("anyOf", ()) if variant != {"type": "null"}]
    if len(variants) == len(schema.get("anyOf", ())):
        return schema
    rest = {name: value for name, value in schema.items() if name != "anyOf"}
    return variants[0] | rest if len(variants) == 1 else rest | {"anyOf": variants}


def _as_text(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a header as a text: its values are separated by commas, and some generators know no lists there."""
    if schema.get("type") != "array":
        return schema
    return {name: value for name, value in schema.items() if name != "items"} | {"type": "string"}


def _add_problem(responses: dict[str, Any], kind: type[DispatchError]) -> None:
    status = str(kind.status)
    known = responses.get(status, {}).get("content", {}).get(MEDIA_TYPE, {}).get("examples", {})
    if kind.code not in known:
        responses[status] = problem_response([*(_BY_CODE[code] for code in known), kind])


def _tell_defaults(body: dict[str, Any]) -> None:
    """Move the defaults of a body's members into their descriptions: some generators demand members that have a default."""
    for member in body.get("properties", {}).values():
        if "default" not in member:
            continue
        default = member.pop("default")
        # Null, false and empty need no word: they mean "none".
        if default:
            member["description"] = f"{member.get('description', '')} Default: `{json.dumps(default)}`.".strip()


def _name(schema: dict[str, Any]) -> str:
    return str(schema.get("$ref", "")).removeprefix(_REFERENCE)


def _put_xml_first(response: dict[str, Any]) -> None:
    """Put XML before JSON. A generated client that knows one type of an answer takes the first, and XML parsed as JSON fails."""
    content = response.get("content", {})
    if "application/xml" in content:
        response["content"] = {"application/xml": content["application/xml"]} | content


def _is_fastapi_error(response: dict[str, Any]) -> bool:
    schema = response.get("content", {}).get("application/json", {}).get("schema", {})
    return str(schema.get("$ref", "")).endswith(_FASTAPI_ERROR)


def _description(status: str, response: dict[str, Any], schemas: dict[str, Any]) -> str:
    """Return what the schema of an answer says about itself."""
    schema = response.get("content", {}).get("application/json", {}).get("schema", {})
    told = str(schemas.get(_name(schema), {}).get("description", ""))
    return (
        told.splitlines()[0] if told else {"201": "Created.", "202": "Accepted.", "204": "Done."}.get(status, "Done.")
    )
