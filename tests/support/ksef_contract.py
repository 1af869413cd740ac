"""Holds every answer of the sandbox against the official OpenAPI document, where that is at hand."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
from jsonschema import Draft202012Validator

_CONTRACT = Path(__file__).resolve().parents[2].parent / "shared" / "ksef" / "open-api-2.9.0.json"
_PARAMETER = re.compile(r"\{[^}]*\}")


class KsefContract:
    """The contract; `check` raises AssertionError when an answer has a status, type, header or member too many."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._schemas = {name: _closed(schema) for name, schema in document["components"]["schemas"].items()}
        self._operations = [
            (method.upper(), path, re.compile(_PARAMETER.sub("[^/]+", path)), operation)
            for path, item in document["paths"].items()
            for method, operation in item.items()
        ]
        # Literal paths win over those with parameters.
        self._operations.sort(key=lambda entry: entry[1].count("{"))
        self.checked: set[tuple[str, str, int]] = set()

    def check(self, response: httpx.Response) -> None:
        """Check one answer of the API; answers of storage and control are not the contract's."""
        path = response.request.url.path
        if not path.startswith("/v2/"):
            return
        response.read()
        for method, template, pattern, operation in self._operations:
            if method == response.request.method and pattern.fullmatch(path.removeprefix("/v2")):
                self._check(response, operation)
                self.checked.add((method, template, response.status_code))
                return
        assert response.status_code == 404, f"{response.request.method} {path} is not in the contract"

    def _check(self, response: httpx.Response, operation: dict[str, Any]) -> None:
        if response.status_code in {413, 415}:
            assert not response.content
            return
        described = operation["responses"].get(str(response.status_code))
        assert described is not None, f"undocumented status {response.status_code}: {response.text}"
        content = described.get("content")
        if not content:
            assert not response.content
            return
        media = response.headers["content-type"].partition(";")[0]
        assert media in content, media
        if media == "application/xml":
            return
        schema = {**_closed(content[media]["schema"]), "components": {"schemas": self._schemas}}
        errors = [
            f"{error.json_path}: {error.message}" for error in Draft202012Validator(schema).iter_errors(response.json())
        ]
        assert not errors, (errors, response.json())


def load_contract() -> KsefContract | None:
    """The contract, None where the shared documents are absent."""
    if not _CONTRACT.is_file():
        return None
    return KsefContract(json.loads(_CONTRACT.read_text(encoding="utf-8")))


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
