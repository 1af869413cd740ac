"""Holds requests to KSeF and its answers against the official OpenAPI document, where that is at hand."""

import base64
import binascii
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import httpx
import jsonschema_rs

CONTRACT = Path(__file__).resolve().parents[2].parent / "shared" / "ksef" / "open-api-2.9.0.json"
_PARAMETER = re.compile(r"\{([^}]*)\}")
_BARE_REFUSALS = frozenset({404, 411, 413, 415})
"""Answers that come from in front of the API: no body, and no word of them in the contract."""
_UNKNOWN = "unknown query parameter"
_TAKEN_ALTHOUGH_WRONG = ("POST /auth/ksef-token body: encryptedToken: ", _UNKNOWN)
"""What KSeF takes in spite of its own document. A token that is no Base64 fails later, as status 450 of the login, whose
details have a text for just that (ksef-docs, uwierzytelnianie.md, status 450). Query parameters that nobody reads are
ignored; only those who are held to every word must not send them."""
_JSON_TYPES = frozenset({"application/json", "application/problem+json"})


def _is_date_time(value: object) -> bool:
    """RFC 3339, and without an offset as KSeF writes the time of an exception."""
    if not isinstance(value, str):
        return True
    try:
        return "T" in value and datetime.fromisoformat(value) is not None
    except ValueError:
        return False


def _is_base64(value: object) -> bool:
    if not isinstance(value, str):
        return True
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _whole_number(bits: int) -> Any:
    return lambda value: not isinstance(value, int) or -(2 ** (bits - 1)) <= value < 2 ** (bits - 1)


_FORMATS = {"date-time": _is_date_time, "byte": _is_base64, "int32": _whole_number(32), "int64": _whole_number(64)}


@dataclass(frozen=True)
class Operation:
    """One operation of the contract, ready to judge."""

    method: str
    template: str
    pattern: re.Pattern[str]
    definition: dict[str, Any]


class KsefContract:
    """The contract. What deviates from it comes back as sentences; an empty list is what everybody wants."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._components = {
            "schemas": {name: _closed(schema) for name, schema in document["components"]["schemas"].items()}
        }
        self._validators: dict[str, jsonschema_rs.Draft202012Validator] = {}
        self._operations = [
            Operation(method.upper(), path, re.compile(_PARAMETER.sub(r"(?P<\1>[^/]+)", path)), operation)
            for path, item in document["paths"].items()
            for method, operation in item.items()
        ]
        # Literal paths win over those with parameters.
        self._operations.sort(key=lambda operation: operation.template.count("{"))

    def operation(self, method: str, path: str) -> Operation | None:
        """The operation that a path below `/v2` means."""
        inside = path.removeprefix("/v2")
        for operation in self._operations:
            if operation.method == method and operation.pattern.fullmatch(inside):
                return operation
        return None

    def check(self, response: httpx.Response) -> None:
        """Check one answer of the API, raising AssertionError; answers of storage and control are not the contract's."""
        request = response.request
        if not request.url.path.startswith("/v2/"):
            return
        content = response.read()
        operation = self.operation(request.method, request.url.path)
        if operation is None:
            assert response.status_code == 404, f"{request.method} {request.url.path} is not in the contract"
            return
        media = _media(response.headers)
        body = json.loads(content) if media in _JSON_TYPES else None
        faults = self.answer_faults(operation, response.status_code, dict(response.headers), len(content), body)
        assert not faults, (faults, response.text[:2000])

    def answer_faults(
        self, operation: Operation, status: int, headers: dict[str, str], size: int, body: Any
    ) -> list[str]:
        """What is wrong with an answer: status, media type, members. A body of None was not kept and is not judged."""
        if status in _BARE_REFUSALS:
            return [] if size == 0 else [f"{status} with a body"]
        described = operation.definition["responses"].get(str(status))
        if described is None:
            return [f"undocumented status {status}"]
        content = described.get("content")
        if not content:
            return [] if size == 0 else [f"{status} should have no body"]
        media = _media(headers)
        if media not in content:
            return [f"media type {media!r} is none of {sorted(content)}"]
        faults = []
        if status == 429 and not headers.get("retry-after", "").isdigit():
            faults.append("429 without Retry-After in seconds")
        if "x-ms-meta-hash" in described.get("headers", {}) and "x-ms-meta-hash" not in headers:
            faults.append("x-ms-meta-hash is missing")
        if media in _JSON_TYPES and body is not None:
            key = f"{operation.method} {operation.template} {status} {media}"
            faults += self._schema_faults(key, content[media]["schema"], body)
        return faults

    def request_faults(
        self, operation: Operation, path: str, query: str, headers: dict[str, str], size: int, body: Any
    ) -> list[str]:
        """What is wrong with a request: path, query, headers, media type, members. A body of None is not judged."""
        definition = operation.definition
        faults = []
        match = operation.pattern.fullmatch(path.removeprefix("/v2"))
        given = {("path", name): [value] for name, value in (match.groupdict() if match else {}).items()}
        for name, value in parse_qsl(query, keep_blank_values=True):
            given.setdefault(("query", name), []).append(value)
        known = {(item["in"], item["name"]): item for item in definition.get("parameters", ())}
        faults += [f"{_UNKNOWN} {name}" for place, name in given if (place, name) not in known]
        for (place, name), item in known.items():
            values = given.get((place, name), [])
            if place == "header" and name.lower() in headers:
                values = [headers[name.lower()]]
            if not values and item.get("required"):
                faults.append(f"{place} parameter {name} is missing")
            if values:
                value = _typed(values, item["schema"])
                faults += self._schema_faults(
                    f"{operation.method} {operation.template} {place} {name}", item["schema"], value
                )
        if definition.get("security") and not headers.get("authorization", "").startswith("Bearer "):
            faults.append("no bearer token")
        expected = definition.get("requestBody")
        if expected is None:
            return faults + (["a body where none belongs"] if size else [])
        media = _media(headers)
        if not media and not size and not expected.get("required"):
            return faults
        if media not in expected["content"]:
            return [*faults, f"media type {media!r} is none of {sorted(expected['content'])}"]
        if media in _JSON_TYPES and body is not None:
            key = f"{operation.method} {operation.template} body"
            faults += self._schema_faults(key, expected["content"][media]["schema"], body)
        return faults

    def _schema_faults(self, key: str, schema: Any, value: Any) -> list[str]:
        validator = self._validators.get(key)
        if validator is None:
            closed = {**_closed(schema), "components": self._components}
            validator = jsonschema_rs.Draft202012Validator(closed, formats=_FORMATS, validate_formats=True)
            self._validators[key] = validator
        return [
            f"{key}: {_place(error.instance_path)}: {error.message[:300]}" for error in validator.iter_errors(value)
        ]


def _place(path: list[str | int]) -> str:
    return ".".join(map(str, path)) or "."


def _media(headers: Any) -> str:
    return str(headers.get("content-type", "")).partition(";")[0].strip().lower()


def _typed(values: list[str], schema: dict[str, Any]) -> Any:
    """A parameter as its schema's type; left as text when it is not of that type, so that the schema complains."""
    if schema.get("type") == "array":
        return [_typed([value], schema.get("items", {})) for value in values]
    if len(values) > 1:
        return values
    [text] = values
    if schema.get("type") == "integer" and re.fullmatch(r"-?\d+", text):
        return int(text)
    if schema.get("type") == "boolean" and text in {"true", "false"}:
        return text == "true"
    return text


def load_contract() -> KsefContract | None:
    """The contract, None where the shared documents are absent."""
    if not CONTRACT.is_file():
        return None
    return KsefContract(json.loads(CONTRACT.read_text(encoding="utf-8")))


def _closed(schema: Any) -> Any:
    """OpenAPI 3.0 as JSON Schema: nullable becomes a type, and objects with members take no others."""
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: _closed(value) for key, value in schema.items() if key not in {"nullable", "example"}}
    if isinstance(result.get("properties"), dict) and "additionalProperties" not in result:
        result["additionalProperties"] = False
    if schema.get("nullable"):
        return {"anyOf": [result, {"type": "null"}]}
    return result


def anonymous(path: str) -> str:
    """A path with its parameters' names taken out."""
    return re.sub(r"\{[^}]*\}", "{}", path)


def members(schema: dict[str, Any], known: dict[str, Any], place: str = "") -> set[str]:
    """Every member with its place, a star behind those that must be there, a question mark behind those that may be null."""
    required: set[str] = set()
    while True:
        required |= set(schema.get("required", ()))
        if "$ref" in schema:
            schema = known[schema["$ref"].rpartition("/")[2]]
        elif len(schema.get("allOf", ())) == 1:
            schema = schema["allOf"][0]
        elif "anyOf" in schema:
            schema = next(item for item in schema["anyOf"] if item.get("type") != "null")
        else:
            break
    if schema.get("type") == "array":
        return members(schema["items"], known, f"{place}[]")
    found: set[str] = set()
    for name, member in schema.get("properties", {}).items():
        null = member.get("nullable") or {"type": "null"} in member.get("anyOf", ())
        mark = ("*" if name in required else "") + ("?" if null else "")
        found |= {f"{place}.{name}{mark}"} | members(member, known, f"{place}.{name}")
    return found


@dataclass(frozen=True)
class Exchange:
    """One recorded line: a request to a sandbox and its answer (see `sandbox.recorder`)."""

    line: dict[str, Any]

    def __str__(self) -> str:
        line = self.line
        agent = line["headers"].get("user-agent", "?").partition("/")[0]
        return f"{line['method']} {line['path']} by {agent} -> {line['status']}"

    @property
    def is_held_to_every_word(self) -> bool:
        """Whether its sender never has a reason to break the contract: the product and the third-party SDK.

        Others are tests that break it on purpose; of them it is demanded that what is wrong is refused.
        """
        agent: str = self.line["headers"].get("user-agent", "")
        return agent.startswith(("ksef-dispatch", "ksef-client/"))


def read_exchanges(folder: Path) -> Iterator[Exchange]:
    """Every complete line of every file of a folder; a killed sandbox may leave the last one unfinished."""
    for path in sorted(folder.glob("*.ndjson")):
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                if line.endswith("\n"):
                    yield Exchange(json.loads(line))


def deviations(contract: KsefContract, exchange: Exchange) -> list[str]:
    """What deviates from the contract in one exchange, as sentences.

    An answer that a fault rule made or changed is not judged: it is wrong on purpose, the request is not.
    """
    line = exchange.line
    if line["path"].startswith("/storage/"):
        return _storage_deviations(exchange)
    operation = contract.operation(line["method"], line["path"]) if line["path"].startswith("/v2/") else None
    status = line["status"]
    if operation is None:
        lost = exchange.is_held_to_every_word or (status not in {404, None} and not line["fault"])
        return [f"{exchange}: no such operation"] if lost else []
    asked = contract.request_faults(operation, line["path"], line["query"], line["headers"], line["size"], line["body"])
    found = []
    if asked and exchange.is_held_to_every_word:
        found += [f"{exchange}: request: {fault}" for fault in asked]
    elif asked and status is not None and status < 400 and not line["fault"]:
        wrong = [fault for fault in asked if not fault.startswith(_TAKEN_ALTHOUGH_WRONG)]
        found += [f"{exchange}: taken in spite of: {fault}" for fault in wrong]
    if status is not None and not line["fault"]:
        answered = contract.answer_faults(
            operation, status, line["answer_headers"], line["answer_size"], line["answer"]
        )
        found += [f"{exchange}: answer: {fault}" for fault in answered]
    return found


def _storage_deviations(exchange: Exchange) -> list[str]:
    """Storage is Azure's, not the contract's: links are used as given, and no token belongs there."""
    line = exchange.line
    headers = line["headers"]
    faults = ["a token was sent to storage"] if "authorization" in headers else []
    if line["method"] == "PUT":
        if headers.get("x-ms-blob-type") != "BlockBlob":
            faults.append("no x-ms-blob-type")
        if "content-length" not in headers:
            faults.append("no Content-Length")
    elif line["size"]:
        faults.append("a body where none belongs")
    taken = line["status"] is not None and line["status"] < 400 and not line["fault"]
    if exchange.is_held_to_every_word or taken:
        return [f"{exchange}: {fault}" for fault in faults]
    return []
