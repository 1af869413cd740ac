"""A plain post goes a shorter way than one with parameters, and is answered alike whatever is wrong with it."""

from typing import Any

import pytest

from app.api.routes.invoices_fast_path import _is_plain
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
    """What an answer says, without what differs from one invoice or request to the next."""
    return {
        name: None if name in {"id", "links", "instance", "request_id"} else value for name, value in document.items()
    }


def scope(**changes: Any) -> dict[str, Any]:
    headers = [(b"authorization", b"Bearer key"), (b"content-type", b"application/xml")]
    made = {"type": "http", "method": "POST", "path": "/v1/invoices", "query_string": b"", "headers": headers}
    return made | changes


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
def test_whatever_has_parameters_or_is_no_post_goes_the_long_way(other: dict[str, Any]) -> None:
    assert _is_plain(scope())
    assert not _is_plain(other)
