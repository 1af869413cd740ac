"""Content-Encoding and digests: what is sent is verified as it is sent, and an invoice is what comes out."""

import base64
import gzip
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.http.content_coding import inflate_whole, read_digests
from app.api.http.errors import ContentCodingDamaged
from app.errors import BodyTooLarge, DigestMismatch
from app.store.store import Store
from tests.app.api.conftest import Caller, blobs_of

XML = {"Content-Type": "application/xml"}
GZIP = {"Content-Encoding": "gzip"}
DOCUMENT = b"<Faktura/>"


def field(algorithm: str, body: bytes) -> str:
    digest = hashlib.new(algorithm.replace("-", ""), body).digest()
    return f"{algorithm}=:{base64.b64encode(digest).decode()}:"


TYPES = ["application/xml", "application/x-ndjson", "application/x-tar", "multipart/form-data; boundary=B"]


async def test_a_coded_upload_is_kept_as_it_was_sent(alpha: Caller, store: Store) -> None:
    body = gzip.compress(DOCUMENT)
    for content_type in TYPES:
        for coding in ("gzip", "x-gzip", "GZIP", "identity, gzip"):
            headers = {
                "Content-Type": content_type,
                "Content-Encoding": coding,
                "Content-Digest": field("sha-256", body),
            }
            answer = await alpha.http.post("/v1/uploads", content=body, headers=headers)
            assert answer.status_code == 202
            assert (answer.json()["bytes"], answer.json()["sha256"]) == (len(body), hashlib.sha256(body).hexdigest())
    rows = await store.database.fetch_all("SELECT content_encoding AS coding, blob_key FROM uploads")
    assert [row["coding"] for row in rows] == ["gzip"] * 16
    assert {row["blob_key"] for row in rows} == await blobs_of(store, "uploads")
    assert await store.blobs.read(rows[0]["blob_key"]) == body


REFUSED = [
    ("/v1/uploads", "application/zip", "gzip", "identity"),
    ("/v1/uploads", "application/gzip", "gzip", "identity"),
    ("/v1/uploads", "application/xml", "br", "gzip"),
    ("/v1/uploads", "application/xml", "deflate", "gzip"),
    ("/v1/uploads", "application/x-tar", "gzip, gzip", "gzip"),
    ("/v1/invoices", "application/xml", "zstd", "gzip"),
    ("/v1/validate", "application/xml", "gzip, br", "gzip"),
]


async def test_another_coding_is_refused_with_the_one_that_is_taken(alpha: Caller, store: Store) -> None:
    for path, content_type, coding, accepted in REFUSED:
        headers = {"Content-Type": content_type, "Content-Encoding": coding}
        answer = await alpha.http.post(path, content=b"x", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported-content-coding")
        assert answer.headers["accept-encoding"] == accepted
    assert await blobs_of(store, "") == set()


async def test_a_coding_is_part_of_what_an_idempotency_key_stands_for(alpha: Caller) -> None:
    body = gzip.compress(DOCUMENT)
    headers = XML | {"Idempotency-Key": "k"}
    assert (await alpha.http.post("/v1/uploads", content=body, headers=headers | GZIP)).status_code == 202
    assert (await alpha.http.post("/v1/uploads", content=body, headers=headers | GZIP)).status_code == 202
    assert (await alpha.http.post("/v1/uploads", content=body, headers=headers)).status_code == 422


async def test_a_coded_invoice_is_what_comes_out(alpha: Caller, store: Store) -> None:
    coded = gzip.compress(DOCUMENT)
    headers = XML | GZIP | {"Content-Digest": field("sha-256", coded)}
    answer = await alpha.http.post("/v1/invoices", content=coded, headers=headers)
    assert answer.status_code == 202
    assert answer.json()["sha256"] == hashlib.sha256(DOCUMENT).hexdigest()
    shown = await alpha.http.get(answer.json()["links"]["self"])
    assert (shown.json()["size"], shown.json()["sha256"]) == (len(DOCUMENT), hashlib.sha256(DOCUMENT).hexdigest())


async def test_a_coded_document_is_checked_like_the_document(alpha: Caller) -> None:
    plain = await alpha.http.post("/v1/validate", content=DOCUMENT, headers=XML)
    coded = await alpha.http.post("/v1/validate", content=gzip.compress(DOCUMENT), headers=XML | GZIP)
    assert plain.json()["findings"]
    assert coded.json() == plain.json()


BAD_BODIES = [
    (gzip.compress(b"<" + b" " * 3_000_000), 413, "body-too-large"),
    (gzip.compress(bytes(100_000_000), 1), 413, "body-too-large"),
    (gzip.compress(DOCUMENT)[:-3], 400, "content-coding-damaged"),
    (gzip.compress(DOCUMENT) + b"more" * 10, 400, "content-coding-damaged"),
    (gzip.compress(b"") * 100, 400, "content-coding-damaged"),
    (DOCUMENT, 400, "content-coding-damaged"),
    (gzip.compress(b""), 400, "empty-body"),
]


@pytest.mark.parametrize("path", ["/v1/invoices", "/v1/validate"])
async def test_a_coded_document_has_the_bounds_of_a_document(alpha: Caller, path: str) -> None:
    for body, status, code in BAD_BODIES:
        answer = await alpha.http.post(path, content=body, headers=XML | GZIP)
        assert (answer.status_code, answer.json()["code"]) == (status, code)


DIGESTS = [
    (field("sha-512", DOCUMENT), True),
    (f"{field('sha-512', DOCUMENT)}, {field('sha-256', DOCUMENT)}", True),
    (f"{field('sha-512', b'x')}, {field('sha-256', DOCUMENT)}", False),
    (field("sha-512", b"x"), False),
    (field("sha-256", b"x"), False),
    ("sha-512=:AAAA:", False),
    ("md5=:AAAA:, unixsum=:AAAA:", True),
    (f"{field('sha-256', DOCUMENT)};of=document", True),
]


@pytest.mark.parametrize("path", ["/v1/uploads", "/v1/invoices", "/v1/validate"])
async def test_a_digest_is_verified_or_passed_over(alpha: Caller, path: str) -> None:
    for header in ("Content-Digest", "Repr-Digest"):
        for value, passes in DIGESTS:
            answer = await alpha.http.post(path, content=DOCUMENT, headers=XML | {header: value})
            assert answer.status_code in ({202, 200} if passes else {400}), value
            assert passes or answer.json()["code"] == "digest-mismatch"


@given(st.text(max_size=200))
def test_any_digest_header_is_read_or_refused(text: str) -> None:
    try:
        assert all(len(digest) in {32, 64} for _, digest in read_digests(text, "content-digest"))
    except DigestMismatch:
        assert "sha-" in text.lower()


@given(st.lists(st.binary(min_size=1, max_size=500), min_size=1, max_size=5), st.integers(0, 2_000))
async def test_members_are_joined_up_to_the_bound(pieces: list[bytes], limit: int) -> None:
    coded = b"".join(gzip.compress(piece) for piece in pieces)
    whole = b"".join(pieces)
    if len(whole) > limit:
        with pytest.raises(BodyTooLarge):
            await inflate_whole(coded, limit)
    else:
        assert await inflate_whole(coded, limit) == whole


@given(st.binary(min_size=1, max_size=300))
async def test_noise_is_not_gzip(noise: bytes) -> None:
    with pytest.raises(ContentCodingDamaged):
        await inflate_whole(b"\x1f\x8b" + noise, 1_000)
