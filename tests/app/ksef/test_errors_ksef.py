"""Every class of answer, in both of KSeF's formats and in those of the layers in front of it."""

import copy
import json
import pickle
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.ksef.answers import Answer, SystemWarning, read_error_body
from app.ksef.error_classification import classify, classify_transport, part_numbers_hint
from app.ksef.errors import (
    ContinuationRefused,
    DeadlineExceeded,
    FrontLayerBlocked,
    KeyUnknown,
    KsefError,
    OperationExpired,
    Outcome,
    PartMismatch,
    PartMissing,
    PermissionMissing,
    RateLimited,
    RequestRefused,
    ServerFailed,
    SessionNotFound,
    SessionUnavailable,
    StateForbids,
    Unauthenticated,
    Unreadable,
)

HTML = b"<html><head><script src='/_Incapsula_Resource?x=1'></script></head></html>"


def answer(status: int, body: Any = b"", **headers: str) -> Answer:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer("POST /x", status, {name.replace("_", "-"): value for name, value in headers.items()}, content)


def older(code: int, *details: str) -> dict[str, Any]:
    item = {"exceptionCode": code, "exceptionDescription": "Opis.", "details": list(details)}
    return {"exception": {"exceptionDetailList": [item], "serviceCode": "00-abc-00"}}


def problem(code: int, *details: str) -> dict[str, Any]:
    item = {"code": code, "description": "Opis.", "details": list(details)}
    return {"title": "Bad Request", "status": 400, "errors": [item], "traceId": "00-abc-00"}


@pytest.mark.parametrize("body", [older, problem])
@pytest.mark.parametrize(
    ("code", "kind", "outcome"),
    [
        (21157, PartMismatch, Outcome.REFUSED),
        (21173, SessionNotFound, Outcome.REFUSED),
        (21180, StateForbids, Outcome.REFUSED),
        (21184, SessionUnavailable, Outcome.TRY_AGAIN),
        (21205, PartMissing, Outcome.REFUSED),
        (21208, DeadlineExceeded, Outcome.REFUSED),
        (21418, ContinuationRefused, Outcome.REFUSED),
        (21470, KeyUnknown, Outcome.REFUSED),
        (21405, RequestRefused, Outcome.REFUSED),
        (99999, RequestRefused, Outcome.REFUSED),
    ],
)
def test_a_code_means_the_same_in_both_formats(body: Any, code: int, kind: type[KsefError], outcome: Outcome) -> None:
    error = classify(answer(400, body(code, "szczegół"), x_azure_ref="ref-1"))
    assert type(error) is kind
    assert error.outcome is outcome
    assert error.codes == (code,)
    assert error.descriptions == ("Opis.",)
    assert error.details == ("szczegół",)
    assert error.trace_id == "00-abc-00"
    assert error.azure_ref == "ref-1"
    assert error.http_status == 400


WAF = {"title": "Request blocked", "status": 403, "security": {"incidentId": "i-7", "clientIp": "192.0.2.1"}}
MISSING = {
    "title": "Forbidden",
    "status": 403,
    "reasonCode": "missing-permissions",
    "security": {"requiredAnyOfPermissions": ["InvoiceWrite"], "presentPermissions": []},
}


@pytest.mark.parametrize(
    ("status", "body", "kind", "outcome"),
    [
        (401, {"title": "Unauthorized", "status": 401}, Unauthenticated, Outcome.TRY_AGAIN),
        (401, b"", Unauthenticated, Outcome.TRY_AGAIN),
        (403, MISSING, PermissionMissing, Outcome.REFUSED),
        (403, {"title": "x", "reasonCode": "something-new"}, PermissionMissing, Outcome.REFUSED),
        (403, WAF, FrontLayerBlocked, Outcome.BLOCKED),
        (403, b"", FrontLayerBlocked, Outcome.BLOCKED),
        (403, HTML, FrontLayerBlocked, Outcome.BLOCKED),
        (403, {"title": "x", "reasonCode": "security-service-blocked"}, FrontLayerBlocked, Outcome.BLOCKED),
        (404, b"", Unreadable, Outcome.UNKNOWN),
        (400, HTML, Unreadable, Outcome.UNKNOWN),
        (400, b"{", Unreadable, Outcome.UNKNOWN),
        (200, HTML, Unreadable, Outcome.UNKNOWN),
        (204, b"", Unreadable, Outcome.UNKNOWN),
        (302, b"", Unreadable, Outcome.UNKNOWN),
        (410, {"title": "Gone", "status": 410}, OperationExpired, Outcome.REFUSED),
        (415, b"", RequestRefused, Outcome.REFUSED),
        (415, HTML, Unreadable, Outcome.UNKNOWN),
        (500, older(500), ServerFailed, Outcome.UNKNOWN),
        (502, HTML, ServerFailed, Outcome.UNKNOWN),
        (504, b"", ServerFailed, Outcome.UNKNOWN),
    ],
)
def test_each_answer_has_its_class(status: int, body: Any, kind: type[KsefError], outcome: Outcome) -> None:
    error = classify(answer(status, body))
    assert type(error) is kind
    assert error.outcome is outcome


def test_what_support_and_the_operator_need_is_kept() -> None:
    assert classify(answer(403, WAF)).incident_id == "i-7"
    missing = classify(answer(403, MISSING))
    assert missing.reason_code == "missing-permissions"
    assert missing.permissions == ("InvoiceWrite",)


@pytest.mark.parametrize(
    ("body", "headers", "seconds"),
    [
        ({"title": "Too Many Requests", "status": 429, "detail": "x"}, {"retry_after": "30"}, 30),
        ({"status": {"code": 429, "description": "x", "details": ["za 31 sekund"]}}, {"retry_after": "30"}, 31),
        ({"status": {"code": 429, "description": "Too many", "details": ["try in 29 seconds"]}}, {}, 29),
        (b"", {"retry_after": "2.5"}, 3),
        (b"", {"retry_after": "nonsense"}, 60),
        (HTML, {}, 60),
        (
            b"",
            {"retry_after": "Sun, 22 Nov 2026 10:01:00 GMT", "date": "Sun, 22 Nov 2026 10:00:15 GMT"},
            45,
        ),
        (b"", {"retry_after": "Sun, 22 Nov 2026 10:01:00 GMT"}, 60),
    ],
)
def test_too_many_requests_always_says_how_long_to_wait(body: Any, headers: dict[str, str], seconds: int) -> None:
    error = classify(answer(429, body, **headers))
    assert isinstance(error, RateLimited)
    assert error.outcome is Outcome.TRY_AGAIN
    assert error.retry_after_seconds == seconds


@pytest.mark.parametrize(
    "error",
    [
        httpx.ConnectError("refused"),
        httpx.ConnectTimeout("slow"),
        httpx.PoolTimeout("full"),
        httpx.ProxyError("502"),
        httpx.UnsupportedProtocol("ftp"),
    ],
)
def test_what_never_reached_a_connection_was_not_done(error: Exception) -> None:
    assert classify_transport(error, "POST /x").outcome is Outcome.TRY_AGAIN


@pytest.mark.parametrize(
    "error",
    [
        httpx.ReadTimeout("slow"),
        httpx.WriteTimeout("slow"),
        httpx.ReadError("reset"),
        httpx.WriteError("reset"),
        httpx.CloseError("reset"),
        httpx.RemoteProtocolError("gone"),
        httpx.LocalProtocolError("odd"),
        httpx.DecodingError("bad gzip"),
    ],
)
def test_what_may_have_arrived_is_unknown(error: Exception) -> None:
    assert classify_transport(error, "POST /x").outcome is Outcome.UNKNOWN


_NAMES = st.sampled_from(
    [
        "exception",
        "exceptionDetailList",
        "exceptionCode",
        "details",
        "status",
        "errors",
        "code",
        "title",
        "security",
        "reasonCode",
        "description",
        "incidentId",
        "detail",
        "serviceCode",
    ]
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=5),
    max_leaves=20,
)


@given(status=st.integers(100, 599), body=_JSON.map(lambda v: json.dumps(v).encode()) | st.binary(max_size=200))
def test_every_answer_gets_an_error_and_none_reads_as_fine(status: int, body: bytes) -> None:
    error = classify(answer(status, body, content_type="application/json"))
    assert isinstance(error, KsefError)
    assert error.outcome in Outcome
    if status >= 500 or status < 400:
        assert error.outcome is Outcome.UNKNOWN
    assert all(isinstance(code, int) for code in error.codes)
    json.dumps(error.as_dict())


@pytest.mark.parametrize("travel", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_an_error_survives_being_copied_and_pickled(travel: Any) -> None:
    error = classify(answer(429, problem(1), retry_after="9"))
    other = travel(error)
    assert type(other) is RateLimited
    assert other.as_dict() == error.as_dict()
    assert str(other) == str(error)


def test_several_errors_come_as_several_codes() -> None:
    body = {"errors": [{"code": 1}, {"code": "2"}, {"code": None}, 3], "title": "Bad"}
    assert read_error_body(json.dumps(body).encode()).codes == (1, 2)


def test_hints_are_taken_from_polish_texts_but_never_required() -> None:
    missing = classify(answer(400, problem(21205, "Nie przesłano zadeklarowanej '3' części pliku.")))
    assert part_numbers_hint(missing) == (3,)
    size = classify(answer(400, problem(21157, "Zadeklarowany rozmiar części '12' nie zgadza się z rzeczywistym.")))
    assert part_numbers_hint(size) == (12,)
    assert part_numbers_hint(classify(answer(400, problem(21205, "Something else")))) == ()


def test_system_warnings_are_taken_apart() -> None:
    text = "[sig-001]: Podpis niezgodny | [xml-002]: Znak w 5265877635-20250826-0100001AF629-AF"
    assert answer(200, x_system_warning=text).warnings == (
        SystemWarning("sig-001", "Podpis niezgodny"),
        SystemWarning("xml-002", "Znak w 5265877635-20250826-0100001AF629-AF"),
    )
    assert answer(200, x_system_warning="free text").warnings == (SystemWarning("", "free text"),)
    assert answer(200).warnings == ()


@pytest.mark.parametrize("start", [b"<!DOCTYPE html><p>", b"\n  <HTML>", b"\xef\xbb\xbf<html>", HTML])
def test_a_web_page_is_known_even_when_it_calls_itself_json(start: bytes) -> None:
    assert answer(200, start, content_type="application/json").is_html
    assert not answer(200, b'{"a": "<html>"}', content_type="application/json").is_html
