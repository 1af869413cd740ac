"""The sandbox's table of endpoints against the official contract: paths, limits and permissions."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from sandbox.app import ENDPOINTS
from sandbox.guard import Endpoint
from sandbox.state.ratelimits import DEFAULT_LIMITS

CONTRACT = Path(__file__).resolve().parents[3].parent / "shared" / "ksef" / "open-api-2.9.0.json"


def operations() -> dict[tuple[str, str], dict[str, Any]]:
    """Every operation, with its path's parameters made anonymous."""
    document = json.loads(CONTRACT.read_text(encoding="utf-8"))
    return {
        (method.upper(), anonymous(path)): operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }


def anonymous(path: str) -> str:
    return re.sub(r"\{[^}]*\}", "{}", path)


@pytest.mark.parametrize("endpoint", ENDPOINTS if CONTRACT.is_file() else [], ids=lambda e: f"{e.method} {e.path}")
def test_an_endpoint_is_where_for_whom_and_as_often_as_the_contract_says(endpoint: Endpoint) -> None:
    operation = operations()[endpoint.method, anonymous(endpoint.path)]
    names = ("perSecond", "perMinute", "perHour")
    assert tuple(operation["x-rate-limits"].get(name, -1) for name in names) == DEFAULT_LIMITS[endpoint.group]
    assert set(operation.get("x-required-permissions", ())) == endpoint.any_of
    assert bool(operation.get("security")) == bool(endpoint.tokens)


def test_no_endpoint_stands_twice_in_the_table() -> None:
    places = [(endpoint.method, anonymous(endpoint.path)) for endpoint in ENDPOINTS]
    assert len(places) == len(set(places))
