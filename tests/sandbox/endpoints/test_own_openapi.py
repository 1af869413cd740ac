"""The sandbox's own OpenAPI document: true to the official one where that is at hand, and kept by what is served."""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from sandbox.app import CONTROL_ROUTES, ENDPOINTS, PREFIX
from sandbox.endpoints.openapi import body_of, openapi_document
from sandbox.options import ApiVersion
from tests.support.ksef_by_hand import HandClient
from tests.support.ksef_contract import CONTRACT, anonymous, members
from tests.support.sandbox_process import SandboxHandle, running_sandbox

DOCUMENT = openapi_document(ENDPOINTS, PREFIX, ApiVersion.V2_9, CONTROL_ROUTES)
OPERATIONS = [
    (method, path) for path, item in DOCUMENT["paths"].items() if path.startswith(f"{PREFIX}/") for method in item
]
EXAMPLES = 6
"""A kind of request (good or bad) and operation: enough to meet each member, few enough for half a minute in all."""
PROMISES = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
]


@pytest.fixture(scope="module")
def own() -> Iterator[SandboxHandle]:
    """A sandbox of its own: these requests delete and change what others may need."""
    with running_sandbox(validate="off") as handle:
        yield handle


@pytest.fixture(scope="module")
def token(own: SandboxHandle) -> Iterator[str]:
    client = HandClient(own.base_url).login()
    yield client.access_token
    client.close()


def test_the_document_is_served(own: SandboxHandle) -> None:
    served = httpx.get(f"{own.control_url}/openapi.json").json()
    assert served == json.loads(json.dumps(DOCUMENT))


@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=lambda text: text)
def test_an_operation_keeps_what_the_document_promises(own: SandboxHandle, token: str, method: str, path: str) -> None:
    operation = schemathesis.openapi.from_dict(DOCUMENT)[path][method]
    described = DOCUMENT["paths"][path][method]
    # Where nothing can be said, nothing can be said wrong.
    bad = [GenerationMode.NEGATIVE] if described["parameters"] or "requestBody" in described else []
    for mode in [GenerationMode.POSITIVE, *bad]:
        origin = own.base_url.removesuffix(PREFIX)

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def ask(case: Case[Any]) -> None:
            headers = {"Authorization": f"Bearer {token}", "User-Agent": "schemathesis"}
            case.call_and_validate(base_url=origin, headers=headers, checks=PROMISES)  # noqa: B023 - called at once

        ask()


# --- against the official document


def official() -> dict[tuple[str, str], dict[str, Any]]:
    document = json.loads(CONTRACT.read_text(encoding="utf-8"))
    return {
        (method.upper(), anonymous(path)): {**operation, "known": document["components"]["schemas"]}
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }


DEPENDS_ON_THE_VERSION = {".collectiveIdentifier?"}
"""Demanded by 2.9 and unknown to 2.7: one model reads both, and the handler looks at the version."""
PAIRS = ENDPOINTS if CONTRACT.is_file() else ()


@pytest.mark.parametrize("endpoint", PAIRS, ids=lambda item: f"{item.method} {item.path}")
def test_an_operation_takes_what_the_official_one_takes(endpoint: Any) -> None:
    theirs = official()[endpoint.method, anonymous(endpoint.path)]
    ours = DOCUMENT["paths"][PREFIX + endpoint.path][endpoint.method.lower()]
    places = [
        {
            (item["in"], item["name"].lower(), bool(item.get("required")))
            for item in side["parameters"]
            if item["in"] != "path"
        }
        for side in (ours, {"parameters": theirs.get("parameters", [])})
    ]
    assert places[0] == places[1]
    wanted = theirs.get("requestBody", {}).get("content", {})
    assert set(wanted) == set(ours.get("requestBody", {}).get("content", {}))
    if "application/json" in wanted:
        body = ours["requestBody"]["content"]["application/json"]["schema"]
        expected = members(wanted["application/json"]["schema"], theirs["known"])
        found = members(body, DOCUMENT["components"]["schemas"])
        assert {f"{name.rstrip('?')}*" if name in DEPENDS_ON_THE_VERSION else name for name in found} == expected


def test_every_control_request_with_a_body_is_described() -> None:
    for route in CONTROL_ROUTES:
        described = DOCUMENT["paths"][re.sub(r":\w+}", "}", route.path)]
        for method in (route.methods or set()) - {"HEAD"}:
            reads = body_of(route.endpoint) is not None and method in {"POST", "PUT"}
            assert ("requestBody" in described[method.lower()]) == reads
    assert "requestBody" in DOCUMENT["paths"]["/_sandbox/faults"]["post"]
