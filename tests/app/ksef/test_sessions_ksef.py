"""Opening, closing and asking about sessions, through the client that a worker holds."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from app.ksef.batch import BatchSpec, CompressionType, FormCode, PartSpec
from app.ksef.client import KsefClient
from app.ksef.errors import (
    ContinuationRefused,
    KeyUnknown,
    KsefError,
    Outcome,
    PartMissing,
    PermissionMissing,
    ServerFailed,
    SessionNotFound,
    StateForbids,
    Unauthenticated,
    Unreadable,
)
from app.ksef.keys import PublicKeys
from app.ksef.login.auth import Authenticator
from app.ksef.login.certificates import SigningIdentity
from app.ksef.login.login import AuthContext, XadesCredentials
from app.ksef.models import SessionInvoice
from app.ksef.storage import StorageClient
from tests.app.ksef.fake_ksef import FakeKsef, json_answer

REF = "20261122-SB-0123456789-ABCDEF0123-AA"
HASH = base64.b64encode(bytes(range(32))).decode()


@pytest.fixture
def client(ksef: FakeKsef, seal: SigningIdentity) -> KsefClient:
    ksef.allow_login()
    keys = PublicKeys(ksef.transport, now=ksef.clock.now)
    tenant = Authenticator(
        ksef.transport,
        keys,
        AuthContext("5265877635"),
        XadesCredentials(seal),
        now=ksef.clock.now,
        sleep=ksef.clock.sleep,
    )
    return KsefClient(transport=ksef.transport, storage=StorageClient(ksef.http), authenticator=tenant, keys=keys)


def spec(**changes: Any) -> BatchSpec:
    known: dict[str, Any] = {
        "form_code": FormCode("FA (3)", "1-0E", "FA"),
        "package_size": 1000,
        "package_sha256": b"p" * 32,
        "compression_type": CompressionType.TAR_GZ,
        "parts": (PartSpec(1, 512, b"1" * 32), PartSpec(2, 528, b"2" * 32)),
        "encrypted_symmetric_key": b"e" * 256,
        "initialization_vector": b"i" * 16,
        "public_key_id": "k" * 44,
        "offline_mode": True,
        "feature": "subject-identifier-validation",
    }
    return BatchSpec(**(known | changes))


def link(number: int) -> dict[str, Any]:
    return {
        "ordinalNumber": number,
        "method": "put",
        "url": f"https://ksef.example/storage/{number}?sig=secret&se=2026-11-22T10%3A40%3A00Z",
        "headers": {"x-ms-blob-type": "BlockBlob", "x-nothing": None},
        "fromTheFuture": {},
    }


async def test_a_session_is_announced_as_the_contract_says(ksef: FakeKsef, client: KsefClient) -> None:
    opened = {"referenceNumber": REF, "partUploadRequests": [link(2), link(1)], "more": 1}
    ksef.on("POST", "/sessions/batch", json_answer(201, opened))
    session = await client.open_batch_session(spec())
    (post,) = ksef.calls("/sessions/batch")
    assert post.headers["content-type"] == "application/json"
    assert post.headers["x-ksef-feature"] == "subject-identifier-validation"
    assert post.headers["authorization"] == "Bearer access-1"
    assert json.loads(post.content) == {
        "formCode": {"systemCode": "FA (3)", "schemaVersion": "1-0E", "value": "FA"},
        "batchFile": {
            "fileSize": 1000,
            "fileHash": base64.b64encode(b"p" * 32).decode(),
            "compressionType": "TarGz",
            "fileParts": [
                {"ordinalNumber": 1, "fileSize": 512, "fileHash": base64.b64encode(b"1" * 32).decode()},
                {"ordinalNumber": 2, "fileSize": 528, "fileHash": base64.b64encode(b"2" * 32).decode()},
            ],
        },
        "encryption": {
            "encryptedSymmetricKey": base64.b64encode(b"e" * 256).decode(),
            "initializationVector": base64.b64encode(b"i" * 16).decode(),
            "publicKeyId": "k" * 44,
        },
        "offlineMode": True,
    }
    assert session.reference_number == REF
    assert [upload.ordinal_number for upload in session.part_uploads] == [1, 2]
    first = session.part_uploads[0]
    assert first.method == "PUT"
    assert first.headers == {"x-ms-blob-type": "BlockBlob"}
    assert first.expires_at == datetime(2026, 11, 22, 10, 40, tzinfo=UTC)
    assert "secret" not in repr(session)


@pytest.mark.parametrize(
    "changes",
    [
        {"initialization_vector": b"i" * 12},
        {"parts": ()},
        {"parts": (PartSpec(2, 1, b"1" * 32),)},
        {"parts": tuple(PartSpec(n, 1, b"1" * 32) for n in range(1, 52))},
        {"parts": (PartSpec(1, 0, b"1" * 32),)},
        {"package_sha256": b"p" * 31},
        {"package_size": 0},
    ],
)
def test_what_ksef_could_only_refuse_is_not_announced(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"has|have|numbered|empty"):
        spec(**changes)


async def test_a_session_without_a_link_for_each_part_is_not_usable(ksef: FakeKsef, client: KsefClient) -> None:
    opened = {"referenceNumber": REF, "partUploadRequests": [link(1)]}
    ksef.on("POST", "/sessions/batch", json_answer(201, opened))
    with pytest.raises(Unreadable, match=r"\[2\]"):
        await client.open_batch_session(spec())


def refusal(code: int) -> httpx.Response:
    return json_answer(400, {"title": "Bad Request", "status": 400, "errors": [{"code": code, "description": "x"}]})


async def test_an_unknown_key_is_for_the_caller_to_replace(ksef: FakeKsef, client: KsefClient) -> None:
    ksef.on("POST", "/sessions/batch", refusal(21470))
    with pytest.raises(KeyUnknown):
        await client.open_batch_session(spec())
    assert len(ksef.calls("/sessions/batch")) == 1


CLOSE = f"/sessions/batch/{REF}/close"


async def test_a_close_has_no_body_and_says_nothing_on_success(ksef: FakeKsef, client: KsefClient) -> None:
    ksef.on("POST", CLOSE, httpx.Response(204))
    await client.close_batch_session(REF)
    (post,) = ksef.calls(CLOSE)
    assert post.headers["content-length"] == "0"
    assert "content-type" not in post.headers


@pytest.mark.parametrize(
    ("reply", "kind", "outcome"),
    [
        (refusal(21180), StateForbids, Outcome.REFUSED),
        (refusal(21205), PartMissing, Outcome.REFUSED),
        (refusal(21173), SessionNotFound, Outcome.REFUSED),
        (httpx.Response(502, html="<html></html>"), ServerFailed, Outcome.UNKNOWN),
        (httpx.Response(200, html="<html></html>"), Unreadable, Outcome.UNKNOWN),
        (httpx.Response(200, json={}), Unreadable, Outcome.UNKNOWN),
    ],
)
async def test_a_close_is_made_once_whatever_the_answer(
    ksef: FakeKsef, client: KsefClient, reply: httpx.Response, kind: type[KsefError], outcome: Outcome
) -> None:
    ksef.on("POST", CLOSE, reply)
    with pytest.raises(KsefError) as caught:
        await client.close_batch_session(REF)
    assert type(caught.value) is kind
    assert caught.value.outcome is outcome
    assert len(ksef.calls(CLOSE)) == 1


async def test_a_401_leads_to_one_more_attempt_with_another_token(ksef: FakeKsef, client: KsefClient) -> None:
    ksef.on("POST", CLOSE, httpx.Response(401), httpx.Response(204))
    await client.close_batch_session(REF)
    assert [post.headers["authorization"] for post in ksef.calls(CLOSE)] == ["Bearer access-1", "Bearer access-2"]
    assert [r.attempt for r in ksef.records if r.path_template.endswith("close")] == [1, 2]


async def test_a_second_401_is_an_error_and_the_next_call_logs_in_anew(ksef: FakeKsef, client: KsefClient) -> None:
    ksef.on("POST", CLOSE, httpx.Response(401), httpx.Response(401), httpx.Response(204))
    with pytest.raises(Unauthenticated) as caught:
        await client.close_batch_session(REF)
    assert caught.value.outcome is Outcome.TRY_AGAIN
    await client.close_batch_session(REF)
    assert len(ksef.calls("/auth/challenge")) == 2


async def test_a_status_is_read_with_all_that_reality_adds_and_leaves_out(ksef: FakeKsef, client: KsefClient) -> None:
    page = {
        "referenceNumber": "20261122-EU-1",
        "downloadUrl": "https://ksef.example/storage/upo?sig=secret",
        "downloadUrlExpirationDate": "2026-11-25T10:00:00.1234567",
    }
    status = {
        "status": {"code": 200, "description": "OK", "details": None, "new": 1},
        "dateCreated": "2026-11-22T10:00:00.1234567+00:00",
        "dateUpdated": "2026-11-22T11:00:00.9999999+01:00",
        "upo": {"pages": [page]},
        "invoiceCount": 3,
        "successfulInvoiceCount": 3,
        "failedInvoiceCount": None,
        "timings": {},
    }
    ksef.on("GET", f"/sessions/{REF}", json_answer(200, status))
    read = await client.session_status(REF)
    assert (read.code, read.is_final) == (200, True)
    assert read.date_created == datetime(2026, 11, 22, 10, 0, 0, 123456, tzinfo=UTC)
    assert read.date_updated == datetime(2026, 11, 22, 10, 0, 0, 999999, tzinfo=UTC)
    assert (read.invoice_count, read.successful_invoice_count, read.failed_invoice_count) == (3, 3, None)
    (upo,) = read.upo_pages
    assert upo.download_url_expiration_date == datetime(2026, 11, 25, 10, 0, 0, 123456, tzinfo=UTC)
    assert upo.download_url.get_secret_value().endswith("sig=secret")
    assert "secret" not in repr(read)


@pytest.mark.parametrize(
    "document",
    [
        {"status": {"code": 150}},
        {"status": {"code": "150", "description": None}, "dateCreated": "soon", "upo": None, "invoiceCount": "many"},
        {"status": {"code": 150, "description": "x"}, "upo": {"pages": None}},
        {"status": {"code": 150, "description": "x"}, "upo": "later"},
    ],
)
async def test_a_status_needs_only_its_code(ksef: FakeKsef, client: KsefClient, document: dict[str, Any]) -> None:
    ksef.on("GET", f"/sessions/{REF}", json_answer(200, document))
    read = await client.session_status(REF)
    assert (read.code, read.is_final, read.upo_pages, read.invoice_count) == (150, False, (), None)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"status": {}}', b'{"status": {"code": "geheim-7"}}', b"\xff"])
async def test_a_status_without_a_code_is_unreadable_and_not_quoted(
    ksef: FakeKsef, client: KsefClient, body: bytes
) -> None:
    ksef.on("GET", f"/sessions/{REF}", httpx.Response(200, content=body))
    with pytest.raises(Unreadable) as caught:
        await client.session_status(REF)
    assert caught.value.outcome is Outcome.UNKNOWN
    assert "geheim" not in str(caught.value)


def row(number: int, **more: Any) -> dict[str, Any]:
    return {
        "ordinalNumber": number,
        "referenceNumber": f"20261122-EE-{number}",
        "invoiceHash": HASH,
        "invoicingDate": "2026-11-22T10:00:00Z",
        "status": {"code": 450, "description": "Błąd", "details": ["P_2"]},
        **more,
    }


def paged(pages: list[list[dict[str, Any]]], name: str = "invoices") -> Callable[[httpx.Request], httpx.Response]:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.params["pageSize"] == "1000"
        assert "token" not in str(request.url)
        token = request.headers.get("x-continuation-token")
        number = 0 if token is None else int(token.removeprefix("token-"))
        following = f"token-{number + 1}" if number + 1 < len(pages) else ""
        return json_answer(200, {name: pages[number], "continuationToken": following or None})

    return answer


async def test_refused_invoices_are_read_page_after_page(ksef: FakeKsef, client: KsefClient) -> None:
    pages = [[row(n) for n in range(1, 251)], [], [row(251)]]
    ksef.on("GET", f"/sessions/{REF}/invoices/failed", paged(pages))
    numbers = [invoice.ordinal_number async for invoice in client.failed_invoices(REF)]
    assert numbers == list(range(1, 252))
    assert len(ksef.calls(f"/sessions/{REF}/invoices/failed")) == 3


async def test_a_token_that_does_not_move_on_ends_the_list(ksef: FakeKsef, client: KsefClient) -> None:
    page = json_answer(200, {"invoices": [row(1)], "continuationToken": "same"})
    ksef.on("GET", f"/sessions/{REF}/invoices", page)
    assert len([invoice async for invoice in client.session_invoices(REF)]) == 2


async def test_a_refused_token_says_so(ksef: FakeKsef, client: KsefClient) -> None:
    ksef.on("GET", f"/sessions/{REF}/invoices/failed", refusal(21418))
    with pytest.raises(ContinuationRefused):
        await client.session_invoices_page(REF, failed_only=True, continuation_token="old")


@pytest.mark.parametrize("document", [{}, {"invoices": None}, {"invoices": [{}]}, {"invoices": ["x"]}, []])
async def test_a_list_that_is_none_is_unreadable(ksef: FakeKsef, client: KsefClient, document: Any) -> None:
    ksef.on("GET", f"/sessions/{REF}/invoices", json_answer(200, document))
    with pytest.raises(Unreadable):
        _ = [invoice async for invoice in client.session_invoices(REF)]


async def test_an_invoice_is_read_with_its_duplicate_and_its_mode(ksef: FakeKsef, client: KsefClient) -> None:
    extensions = {"originalKsefNumber": "5265877635-20250826-0100001AF629-AF", "originalSessionReferenceNumber": REF}
    status = {"code": 440, "description": "Duplikat", "extensions": extensions}
    ksef.on("GET", f"/sessions/{REF}/invoices", json_answer(200, {"invoices": [row(1, status=status)]}))
    [read] = [invoice async for invoice in client.session_invoices(REF)]
    assert read.invoice_hash == bytes(range(32))
    assert read.original_ksef_number == extensions["originalKsefNumber"]
    assert read.original_session_reference_number == REF
    assert read.invoicing_mode is None


@pytest.mark.parametrize(
    ("member", "value", "name", "read"),
    [
        ("invoicingMode", "Offline", "invoicing_mode", "Offline"),
        ("invoicingMode", "Telepathic", "invoicing_mode", None),
        ("invoiceHash", "short", "invoice_hash", None),
        ("invoiceHash", None, "invoice_hash", None),
        ("ordinalNumber", None, "ordinal_number", None),
        ("acquisitionDate", "", "acquisition_date", None),
    ],
)
def test_odd_optional_members_of_an_invoice_become_nothing(member: str, value: Any, name: str, read: Any) -> None:
    assert getattr(SessionInvoice.model_validate(row(1, **{member: value})), name) == read


async def test_a_receipt_can_be_had_by_the_api_after_a_401(ksef: FakeKsef, client: KsefClient) -> None:
    xml = httpx.Response(200, content=b"<Potwierdzenie/>", headers={"Content-Type": "application/xml"})
    path = f"/sessions/{REF}/upo/20261122-EU-1"
    ksef.on("GET", path, httpx.Response(401), xml)
    got: list[bytes] = []

    async def sink(chunk: bytes) -> None:
        got.append(chunk)

    done = await client.upo_by_api(REF, "20261122-EU-1", sink)
    assert (b"".join(got), done.size, done.hash_verified) == (b"<Potwierdzenie/>", 16, False)
    assert ksef.calls(path)[1].headers["authorization"] == "Bearer access-2"


async def test_limits_are_read_from_ksef(ksef: FakeKsef, client: KsefClient) -> None:
    batch = {"maxInvoices": 10000, "maxInvoiceSizeInMB": 1, "maxInvoiceWithAttachmentSizeInMB": None}
    ksef.on("GET", "/limits/context", json_answer(200, {"batchSession": batch, "new": {}}))
    limits = await client.context_limits()
    assert (limits.max_invoices, limits.max_invoice_bytes) == (10000, 1_000_000)
    assert limits.max_invoice_with_attachment_bytes is None


async def test_rate_limits_know_unlimited_unknown_and_older_groups(ksef: FakeKsef, client: KsefClient) -> None:
    def group(second: int, minute: int, hour: int) -> dict[str, int]:
        return {"perSecond": second, "perMinute": minute, "perHour": hour}

    now = {"batchSession": group(10, 20, 60), "batchSessionClose": group(20, 40, -1), "fromTheFuture": group(1, 1, 1)}
    older = {"batchSession": group(10, 20, 60)}
    ksef.on("GET", "/rate-limits", json_answer(200, now), json_answer(200, older))
    new = await client.rate_limits()
    assert new.counter_of("batchSessionClose") == "batchSessionClose"
    assert new.limit_of("batchSessionClose").per_minute == 40
    assert new.limit_of("batchSessionClose").per_hour is None
    assert new.limit_of("sessionMisc").per_hour == 1200, "documented, when KSeF does not say"
    assert new.limit_of("storage").per_second is None
    old = await client.rate_limits()
    assert old.counter_of("batchSessionClose") == "batchSession"
    assert old.limit_of("batchSessionClose").per_hour == 60


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"isAttachmentAllowed": True}, (True, None)),
        (
            {"isAttachmentAllowed": True, "revokedDate": "2026-12-31T23:00:00.1234567+00:00", "new": 1},
            (True, datetime(2026, 12, 31, 23, 0, 0, 123456, tzinfo=UTC)),
        ),
        ({"isAttachmentAllowed": False, "revokedDate": None}, (False, None)),
        ({"isAttachmentAllowed": "yes", "revokedDate": "soon"}, (None, None)),
        ({}, (None, None)),
    ],
)
async def test_the_consent_to_attachments_is_read_leniently(
    ksef: FakeKsef, client: KsefClient, answer: dict[str, Any], expected: tuple[bool | None, datetime | None]
) -> None:
    ksef.on("GET", "/permissions/attachments/status", json_answer(200, answer))
    consent = await client.attachment_consent()
    assert (consent.allowed, consent.ends_at) == expected


async def test_a_login_that_may_not_ask_for_permissions_is_told_so(ksef: FakeKsef, client: KsefClient) -> None:
    problem = {"title": "Forbidden", "status": 403, "reasonCode": "missing-permissions", "detail": "Brak uprawnień."}
    ksef.on("GET", "/permissions/attachments/status", json_answer(403, problem))
    with pytest.raises(PermissionMissing):
        await client.attachment_consent()
