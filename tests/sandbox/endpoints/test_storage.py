"""Pre-signed links: what they take and what they refuse."""

import socket
from urllib.parse import parse_qs, quote, unquote, urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.clock import MovableClock
from sandbox.presigned_links import link_fault, sign_link
from tests.support.ksef_by_hand import HandClient, Package, invoice, zip_package

BLOB = {"x-ms-blob-type": "BlockBlob"}


@pytest.fixture
def upload(client: HandClient) -> tuple[str, bytes]:
    """The link of a part, and the part."""
    package = Package(zip_package({"a.xml": invoice("A", client.nip)}))
    (request,) = client.open(client.open_body(package))["partUploadRequests"]
    assert request["headers"] == BLOB
    return request["url"], package.encrypted_parts()[0]


def test_a_stored_part_is_answered_with_201(upload: tuple[str, bytes]) -> None:
    url, part = upload
    assert httpx.put(url, content=part, headers=BLOB).status_code == 201


def test_the_blob_type_must_be_given(upload: tuple[str, bytes]) -> None:
    url, part = upload
    assert httpx.put(url, content=part).status_code == 400
    assert httpx.put(url, content=part, headers={"x-ms-blob-type": "PageBlob"}).status_code == 400


def test_a_token_is_refused_where_the_link_is_the_right(client: HandClient, upload: tuple[str, bytes]) -> None:
    url, part = upload
    headers = {**BLOB, "Authorization": f"Bearer {client.access_token}"}
    assert httpx.put(url, content=part, headers=headers).status_code == 401


def test_a_body_without_a_length_is_refused(upload: tuple[str, bytes]) -> None:
    url, part = upload
    assert httpx.put(url, content=iter([part]), headers=BLOB).status_code == 411


def test_a_body_that_breaks_off_is_not_stored(client: HandClient, upload: tuple[str, bytes]) -> None:
    url, part = upload
    split = urlsplit(url)
    head = (
        f"PUT {split.path}?{split.query} HTTP/1.1\r\nHost: {split.netloc}\r\nx-ms-blob-type: BlockBlob\r\n"
        f"Content-Length: {len(part)}\r\n\r\n"
    )
    with socket.create_connection((split.hostname, split.port)) as connection:
        connection.sendall(head.encode() + part[:100])
    reference = split.path.split("/")[3].upper()
    answer = client.close_session(reference)
    assert answer.json()["exception"]["exceptionDetailList"][0]["exceptionCode"] == 21205


def test_an_altered_link_is_refused(upload: tuple[str, bytes]) -> None:
    url, part = upload
    path, _, query = url.partition("?")
    fields = parse_qs(query)
    later = query.replace(quote(fields["se"][0], safe=""), quote("2099-01-01T00:00:00Z", safe=""))
    for altered in (
        later,
        query.replace("sp=w", "sp=r"),
        query[:-1],
        query + "&more=1",
        unquote(query),
        "&".join(sorted(query.split("&"))),
        "",
    ):
        assert httpx.put(f"{path}?{altered}", content=part, headers=BLOB).status_code == 403, altered
    assert httpx.put(f"{path}2?{query}", content=part, headers=BLOB).status_code == 403


def test_a_link_to_write_does_not_read(upload: tuple[str, bytes]) -> None:
    assert httpx.get(upload[0]).status_code == 404


def test_a_part_cannot_be_changed_after_the_close(client: HandClient) -> None:
    package = Package(zip_package({"a.xml": invoice("A", client.nip)}))
    opened = client.open(client.open_body(package))
    client.upload(opened, package)
    client.close_session(opened["referenceNumber"])
    answer = client.put(opened["partUploadRequests"][0], package.encrypted_parts()[0])
    assert answer.status_code == 409


def test_a_receipt_link_is_refused_with_a_token_or_altered(client: HandClient) -> None:
    _, final = client.send_documents({"a.xml": invoice("A", client.nip)})
    url = final["upo"]["pages"][0]["downloadUrl"]
    assert httpx.get(url, headers={"Authorization": "Bearer x"}).status_code == 401
    assert httpx.get(url[:-2]).status_code == 403
    assert httpx.get(url.split("?")[0]).status_code == 403


@given(path=st.text(min_size=1, max_size=40), minutes=st.integers(min_value=0, max_value=10_000))
def test_a_link_is_good_exactly_until_it_expires(path: str, minutes: int) -> None:
    clock = MovableClock()
    start = clock.now().replace(microsecond=0)
    from datetime import timedelta

    end = start + timedelta(minutes=minutes)
    query = sign_link(path, "w", start, end, b"secret")[len(path) + 1 :]
    assert link_fault(path, query, "w", end, b"secret") is None
    assert link_fault(path, query, "w", end + timedelta(seconds=1), b"secret")
    assert link_fault(path, query, "r", end, b"secret")
    assert link_fault(path + "x", query, "w", end, b"secret")
    assert link_fault(path, query, "w", end, b"other")
