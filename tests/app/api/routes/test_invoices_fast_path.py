"""A plain post takes the fast path, one with parameters does not, and both get the same answer to every fault."""

from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Cookie, Depends, Header
from fastapi.routing import APIRoute
from starlette.types import Receive, Scope, Send

from app.api.dependencies import current_state, current_tenant
from app.api.http.parameters import dependants
from app.api.routes.invoices_fast_path import InvoicesFastPath, invoices_route, parameter_headers
from tests.app.api.conftest import Caller

XML = {"content-type": "application/xml"}
DOCUMENT = b"<Faktura/>"

POSTS: dict[str, tuple[dict[str, str], bytes]] = {
    "taken": (XML, DOCUMENT),
    "another key": (XML | {"authorization": "Bearer ksefd_nobody"}, DOCUMENT),
    "no key": (XML | {"authorization": ""}, DOCUMENT),
    "another scheme": (XML | {"authorization": "Basic eDp5"}, DOCUMENT),
    "two words": (XML | {"authorization": "Bearer a b"}, DOCUMENT),
    "another type": ({"content-type": "application/zip"}, DOCUMENT),
    "no type": ({}, DOCUMENT),
    "empty": (XML, b""),
    "too large": (XML, b"<a>" + b"x" * 3_100_000 + b"</a>"),
    "another hash": (XML | {"content-digest": "sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:"}, DOCUMENT),
    "a coding": (XML | {"content-encoding": "br"}, DOCUMENT),
}


@pytest.mark.parametrize("post", POSTS)
async def test_a_plain_post_is_answered_like_one_with_a_parameter(alpha: Caller, post: str) -> None:
    headers, document = POSTS[post]
    plain = await alpha.http.post("/v1/invoices", headers=headers, content=document)
    named = await alpha.http.post("/v1/invoices", params={"offline": "false"}, headers=headers, content=document)
    assert plain.status_code == named.status_code
    assert shape(plain.json()) == shape(named.json())
    kept = {"content-type", "location", "retry-after", "www-authenticate", "accept-encoding", "x-content-type-options"}
    assert kept & set(plain.headers) == kept & set(named.headers)
    assert plain.headers["content-type"] == named.headers["content-type"]
    assert (post == "taken") == (plain.status_code == 202)


def shape(document: dict[str, Any]) -> dict[str, Any]:
    """Return an answer without the members that differ from one invoice or request to the next."""
    return {
        name: None if name in {"id", "links", "instance", "request_id"} else value for name, value in document.items()
    }


def scope(**changes: Any) -> dict[str, Any]:
    headers = [(b"authorization", b"Bearer key"), (b"content-type", b"application/xml")]
    made = {"type": "http", "method": "POST", "path": "/v1/invoices", "query_string": b"", "headers": headers}
    return made | changes


async def forwarded(scope: Scope, receive: Receive, send: Send) -> None:
    """Take the place of FastAPI; the tests below only ask which requests would get there."""


@pytest.mark.parametrize(
    "other",
    [
        scope(type="lifespan"),
        scope(method="GET"),
        scope(path="/v1/uploads"),
        scope(query_string=b"name=a.xml"),
        scope(headers=[(b"authorization", b"Bearer key"), (b"prefer", b"handling=strict")]),
        scope(headers=[(b"authorization", b"Bearer key"), (b"idempotency-key", b"1")]),
        scope(headers=[(b"authorization", b"Bearer key"), (b"authorization", b"Bearer other")]),
        scope(headers=[]),
    ],
)
def test_a_request_with_parameters_or_of_another_kind_does_not_take_the_fast_path(other: dict[str, Any]) -> None:
    fast_path = InvoicesFastPath(forwarded, invoices_route())
    assert fast_path.is_plain(scope())
    assert not fast_path.is_plain(other)


@pytest.mark.parametrize("name", sorted(parameter_headers(invoices_route())))
def test_each_header_that_the_route_reads_keeps_a_request_off_the_fast_path(name: bytes) -> None:
    headers = [(b"authorization", b"Bearer key"), (name, b"1")]
    assert not InvoicesFastPath(forwarded, invoices_route()).is_plain(scope(headers=headers))


def test_the_headers_of_the_route_are_those_that_openapi_lists() -> None:
    assert parameter_headers(invoices_route()) == {
        b"prefer",
        b"idempotency-key",
        b"content-digest",
        b"content-encoding",
    }


def route_of(endpoint: Any) -> APIRoute:
    router = APIRouter()
    router.post("/v1/invoices")(endpoint)
    [route] = router.routes
    assert isinstance(route, APIRoute)
    return route


def test_a_header_that_is_added_to_the_route_or_a_dependency_is_noticed() -> None:
    async def dependency(deep: Annotated[str | None, Header(alias="X-Deep")] = None) -> None: ...

    async def endpoint(
        more: Annotated[None, Depends(dependency)],
        due_date: Annotated[str | None, Header()] = None,
        crumb: Annotated[str | None, Cookie()] = None,
    ) -> None: ...

    route = route_of(endpoint)
    assert parameter_headers(route) == {b"due-date", b"x-deep", b"cookie"}
    fast_path = InvoicesFastPath(forwarded, route)
    assert fast_path.is_plain(scope())
    for name in (b"due-date", b"x-deep", b"cookie"):
        assert not fast_path.is_plain(scope(headers=[(b"authorization", b"Bearer key"), (name, b"1")]))


def test_the_route_has_no_dependency_that_the_fast_path_leaves_out() -> None:
    calls = {found.call for found in invoices_route().dependant.dependencies}
    assert calls == {current_state, current_tenant}
    assert not [found for found in dependants(invoices_route().dependant) if found.path_params or found.body_params]
