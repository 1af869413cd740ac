"""What the sandbox holds its own answers against, and that it does: a wrong one never leaves as a good one."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter
from starlette.responses import JSONResponse, Response

from sandbox.answers.table import ANSWERS, checked_answer, expected_answer
from sandbox.app import ENDPOINTS
from sandbox.options import ApiVersion
from tests.support.ksef_contract import CONTRACT, anonymous, members


@pytest.fixture
def heard(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Hear the sandbox's own logger, whatever other tests of the run did to logging at large."""
    logger = logging.getLogger("sandbox")
    disabled, logger.disabled = logger.disabled, False
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)
    logger.disabled = disabled


@pytest.mark.parametrize("contract", [CONTRACT] if CONTRACT.is_file() else [], ids=lambda path: path.name)
@pytest.mark.parametrize("operation", ANSWERS, ids=" ".join)
def test_an_answer_is_described_with_the_status_and_the_members_of_the_contract(
    operation: tuple[str, str], contract: Path
) -> None:
    document = json.loads(contract.read_text(encoding="utf-8"))
    method, path = operation
    [official] = [
        item[method.lower()]
        for name, item in document["paths"].items()
        if anonymous(name) == path and method.lower() in item
    ]
    status, shape = ANSWERS[operation]
    answer = official["responses"][str(status)]
    if shape is None:
        assert "content" not in answer
    elif shape == "xml":
        assert set(answer["content"]) == {"application/xml"}
    else:
        ours = TypeAdapter(shape).json_schema()
        theirs = answer["content"]["application/json"]["schema"]
        assert members(ours, ours.get("$defs", {})) == members(theirs, document["components"]["schemas"])


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda item: f"{item.method} {item.path}")
def test_every_endpoint_has_a_described_answer(endpoint: Any) -> None:
    for version in ApiVersion:
        assert 200 <= expected_answer(endpoint.method, endpoint.path, version).status < 300


def challenge(**changes: object) -> dict[str, object]:
    good = {"challenge": "x" * 36, "timestamp": "2026-01-01T00:00:00+00:00", "timestampMs": 1, "clientIp": "127.0.0.1"}
    return good | changes


@pytest.mark.parametrize(
    "body",
    [
        challenge(surplus=1),
        challenge(timestampMs="soon"),
        challenge(timestamp="2026-01-01T00:00:00"),
        challenge(challenge="x"),
    ],
)
def test_an_answer_that_breaks_the_contract_leaves_as_500(
    body: dict[str, object], heard: pytest.LogCaptureFixture
) -> None:
    expected = expected_answer("POST", "/auth/challenge", ApiVersion.V2_9)
    good = JSONResponse(challenge())
    assert checked_answer(good, expected) is good
    assert checked_answer(JSONResponse(body), expected).status_code == 500
    assert checked_answer(JSONResponse(challenge(), status_code=201), expected).status_code == 500
    assert "breaks the contract" in heard.text


def test_a_body_where_none_belongs_is_noticed(heard: pytest.LogCaptureFixture) -> None:
    expected = expected_answer("POST", "/sessions/batch/{reference}/close", ApiVersion.V2_9)
    assert checked_answer(Response(status_code=204), expected).status_code == 204
    assert checked_answer(Response("x", status_code=204), expected).status_code == 500
    assert "breaks the contract" in heard.text


def test_a_refusal_is_no_concern_of_the_answers() -> None:
    expected = expected_answer("POST", "/auth/challenge", ApiVersion.V2_9)
    refusal = JSONResponse({"exception": {}}, status_code=400)
    assert checked_answer(refusal, expected) is refusal


def test_the_older_contract_knows_fewer_limits() -> None:
    older = expected_answer("GET", "/limits/context", ApiVersion.V2_7)
    limits = {"maxInvoices": 1, "maxInvoiceSizeInMB": 1, "maxInvoiceWithAttachmentSizeInMB": 3}
    body = JSONResponse({"onlineSession": limits, "batchSession": limits})
    assert checked_answer(body, older).status_code == 200
    assert checked_answer(body, expected_answer("GET", "/limits/context", ApiVersion.V2_9)).status_code == 500
