"""Logging in both ways, staying logged in, and what happens when either does not work."""

import base64
import hashlib
import json
from datetime import timedelta
from typing import Any

import anyio
import httpx
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from app.ksef.errors import AuthFailed, KsefError, Outcome, RateLimited, ServerFailed
from app.ksef.keys import PublicKeys
from app.ksef.login.auth import Authenticator
from app.ksef.login.certificates import SigningIdentity
from app.ksef.login.login import AuthContext, TokenCredentials, XadesCredentials
from app.ksef.login.tokens import MemoryTokenStore, permissions_in
from app.ksef.login.xades import ContextType
from tests.app.ksef.fake_ksef import START, FakeKsef, auth_status, json_answer, published_key
from tests.app.ksef.signatures import verify_by_hand

OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
KEYS = "/security/public-key-certificates"


def authenticator(ksef: FakeKsef, credentials: Any, store: MemoryTokenStore | None = None) -> Authenticator:
    return Authenticator(
        ksef.transport,
        PublicKeys(ksef.transport, now=ksef.clock.now),
        AuthContext("5265877635"),
        credentials,
        now=ksef.clock.now,
        store=store,
        sleep=ksef.clock.sleep,
    )


async def test_a_signed_login_goes_through_all_steps(ksef: FakeKsef, seal: SigningIdentity) -> None:
    ksef.allow_login()
    ksef.on("GET", "/auth/20261122-AU-1", auth_status(100), auth_status(100), auth_status(200))
    store = MemoryTokenStore()
    tenant = authenticator(ksef, XadesCredentials(seal, verify_certificate_chain=True), store)
    assert await tenant.access_token() == "access-1"

    (post,) = ksef.calls("/auth/xades-signature")
    assert post.headers["content-type"] == "application/xml"
    assert post.url.query == b"verifyCertificateChain=true"
    verify_by_hand(post.content)
    assert b"<xades:SigningTime>2026-11-22T09:59:00Z<" in post.content, "a minute before KSeF's own time"
    (redeem,) = ksef.calls("/auth/token/redeem")
    assert redeem.headers["authorization"] == "Bearer auth"
    assert redeem.headers["content-length"] == "0"
    assert "content-type" not in redeem.headers
    assert all(look.headers["authorization"] == "Bearer auth" for look in ksef.calls("/auth/20261122-AU-1"))
    assert ksef.clock.slept == [0.5, 0.75]
    saved = await store.load()
    assert saved is not None
    assert saved.document_sha256 == hashlib.sha256(post.content).digest()
    assert saved.refresh_valid_until == ksef.clock.now() + timedelta(days=7)


async def test_a_token_login_sends_the_token_encrypted_with_the_time_of_the_challenge(
    ksef: FakeKsef, rsa_key: rsa.RSAPrivateKey
) -> None:
    ksef.allow_login()
    entry = published_key(rsa_key, ["KsefTokenEncryption"], START - timedelta(days=1), START + timedelta(days=1))
    ksef.on("GET", KEYS, json_answer(200, [entry]))
    assert await authenticator(ksef, TokenCredentials("my-token")).access_token() == "access-1"
    (post,) = ksef.calls("/auth/ksef-token")
    body = json.loads(post.content)
    assert body["contextIdentifier"] == {"type": "Nip", "value": "5265877635"}
    assert body["publicKeyId"] == entry["publicKeyId"]
    milliseconds = int(START.timestamp() * 1000) + 7
    assert rsa_key.decrypt(base64.b64decode(body["encryptedToken"]), OAEP) == f"my-token|{milliseconds}".encode()
    assert "my-token" not in repr(TokenCredentials("my-token"))


async def test_a_changed_key_is_fetched_and_used_once(
    ksef: FakeKsef, rsa_key: rsa.RSAPrivateKey, other_rsa_key: rsa.RSAPrivateKey
) -> None:
    ksef.allow_login()
    days = (START - timedelta(days=1), START + timedelta(days=1))
    old, new = (published_key(key, ["KsefTokenEncryption"], *days) for key in (rsa_key, other_rsa_key))
    ksef.on("GET", KEYS, json_answer(200, [old]), json_answer(200, [new]))
    unknown = json_answer(400, {"errors": [{"code": 21470, "description": "x"}], "title": "Bad Request"})
    ksef.on("POST", "/auth/ksef-token", unknown, json_answer(202, _started()))
    assert await authenticator(ksef, TokenCredentials("t")).access_token() == "access-1"
    ids = [json.loads(post.content)["publicKeyId"] for post in ksef.calls("/auth/ksef-token")]
    assert ids == [old["publicKeyId"], new["publicKeyId"]]


def _started() -> dict[str, Any]:
    return {
        "referenceNumber": "20261122-AU-1",
        "authenticationToken": {"token": "auth", "validUntil": "2026-11-22T10:45:00.1234567+00:00"},
    }


async def test_a_token_is_kept_and_renewed_ahead_of_its_end(ksef: FakeKsef, seal: SigningIdentity) -> None:
    ksef.allow_login()
    tenant = authenticator(ksef, XadesCredentials(seal))
    assert await tenant.access_token() == "access-1"
    ksef.clock.move(minutes=12, seconds=50)
    assert await tenant.access_token() == "access-1"
    assert not ksef.calls("/auth/token/refresh")
    ksef.clock.move(seconds=20)
    assert await tenant.access_token() == "access-2"
    (refresh,) = ksef.calls("/auth/token/refresh")
    assert refresh.headers["authorization"] == "Bearer refresh"
    assert refresh.headers["content-length"] == "0"
    assert "content-type" not in refresh.headers
    assert len(ksef.calls("/auth/challenge")) == 1


async def test_a_short_lived_token_is_still_used(ksef: FakeKsef, seal: SigningIdentity) -> None:
    ksef.allow_login(access_minutes=1)
    tenant = authenticator(ksef, XadesCredentials(seal))
    assert [await tenant.access_token() for _ in range(3)] == ["access-1"] * 3
    ksef.clock.move(seconds=41)
    assert await tenant.access_token() == "access-2"


@pytest.mark.parametrize(
    "reply",
    [
        json_answer(400, {"errors": [{"code": 21301, "description": "x"}], "title": "Bad Request"}),
        httpx.Response(401),
        httpx.Response(500),
        httpx.Response(415),
        httpx.ReadTimeout("slow"),
    ],
)
async def test_a_refresh_that_fails_ends_in_a_full_login(ksef: FakeKsef, seal: SigningIdentity, reply: Any) -> None:
    ksef.allow_login()
    tenant = authenticator(ksef, XadesCredentials(seal))
    await tenant.access_token()
    ksef.on("POST", "/auth/token/refresh", reply)
    ksef.clock.move(minutes=20)
    assert await tenant.access_token() == "access-2"
    assert len(ksef.calls("/auth/challenge")) == 2


async def test_an_ended_refresh_token_is_not_even_tried(ksef: FakeKsef, seal: SigningIdentity) -> None:
    ksef.allow_login()
    tenant = authenticator(ksef, XadesCredentials(seal))
    await tenant.access_token()
    ksef.clock.move(days=7)
    assert await tenant.access_token() == "access-2"
    assert not ksef.calls("/auth/token/refresh")


async def test_too_many_requests_at_refresh_do_not_cause_more_of_them(ksef: FakeKsef, seal: SigningIdentity) -> None:
    ksef.allow_login()
    tenant = authenticator(ksef, XadesCredentials(seal))
    await tenant.access_token()
    ksef.on("POST", "/auth/token/refresh", httpx.Response(429, headers={"Retry-After": "5"}))
    ksef.clock.move(minutes=14)
    assert await tenant.access_token() == "access-1", "it still has a minute"
    ksef.clock.move(minutes=1)
    with pytest.raises(RateLimited):
        await tenant.access_token()
    assert len(ksef.calls("/auth/challenge")) == 1


async def test_many_callers_make_one_login(ksef: FakeKsef, seal: SigningIdentity) -> None:
    ksef.allow_login()
    tenant = authenticator(ksef, XadesCredentials(seal))
    got: list[str] = []

    async def ask() -> None:
        got.append(await tenant.access_token())

    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(ask)
    assert got == ["access-1"] * 50
    assert len(ksef.calls("/auth/challenge")) == 1


async def test_many_callers_share_one_failed_login(ksef: FakeKsef, seal: SigningIdentity) -> None:
    ksef.allow_login()
    ksef.on("GET", "/auth/20261122-AU-1", auth_status(480))
    tenant = authenticator(ksef, XadesCredentials(seal))
    failures: list[AuthFailed] = []

    async def ask() -> None:
        try:
            await tenant.access_token()
        except AuthFailed as error:
            failures.append(error)

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(ask)
    assert [error.auth_status for error in failures] == [480] * 20
    assert len(ksef.calls("/auth/challenge")) == 1
    with pytest.raises(AuthFailed):
        await tenant.access_token()
    assert len(ksef.calls("/auth/challenge")) == 2, "later callers try again"


@pytest.mark.parametrize(
    ("code", "outcome"),
    [(code, Outcome.REFUSED) for code in (415, 450, 460, 470, 480, 499)]
    + [(code, Outcome.TRY_AGAIN) for code in (425, 500, 550)],
)
async def test_a_failed_login_says_what_ksef_said(
    ksef: FakeKsef, seal: SigningIdentity, code: int, outcome: Outcome
) -> None:
    ksef.allow_login()
    ksef.on("GET", "/auth/20261122-AU-1", auth_status(code))
    with pytest.raises(AuthFailed, match="because") as caught:
        await authenticator(ksef, XadesCredentials(seal)).access_token()
    assert caught.value.auth_status == code
    assert caught.value.outcome is outcome


async def test_a_login_that_never_ends_is_given_up_after_two_minutes(ksef: FakeKsef, seal: SigningIdentity) -> None:
    ksef.allow_login()
    ksef.on("GET", "/auth/20261122-AU-1", auth_status(100))
    with pytest.raises(AuthFailed) as caught:
        await authenticator(ksef, XadesCredentials(seal)).access_token()
    assert caught.value.outcome is Outcome.TRY_AGAIN
    assert 120 <= sum(ksef.clock.slept) < 123
    assert max(ksef.clock.slept) == 2.0


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/auth/challenge"),
        ("POST", "/auth/xades-signature"),
        ("GET", "/auth/20261122-AU-1"),
        ("POST", "/auth/token/redeem"),
    ],
)
@pytest.mark.parametrize("reply", [httpx.Response(502), httpx.ReadTimeout("slow"), httpx.Response(200, content=b"{}")])
async def test_no_trouble_at_login_reads_as_if_the_real_call_might_have_been_made(
    ksef: FakeKsef, seal: SigningIdentity, method: str, path: str, reply: Any
) -> None:
    ksef.allow_login()
    ksef.on(method, path, reply)
    with pytest.raises(KsefError) as caught:
        await authenticator(ksef, XadesCredentials(seal)).access_token()
    assert caught.value.outcome is Outcome.TRY_AGAIN
    assert caught.value.operation is not None


async def test_a_token_that_was_refused_is_not_used_again(ksef: FakeKsef, seal: SigningIdentity) -> None:
    ksef.allow_login()
    tenant = authenticator(ksef, XadesCredentials(seal))
    tenant.invalidate(await tenant.access_token())
    second = await tenant.access_token()
    assert second == "access-2"
    assert len(ksef.calls("/auth/token/refresh")) == 1
    tenant.invalidate(second, drop_login=True)
    assert await tenant.access_token() == "access-3"
    assert len(ksef.calls("/auth/challenge")) == 2


async def test_processes_share_a_login_through_the_store(ksef: FakeKsef, seal: SigningIdentity) -> None:
    ksef.allow_login()
    store = MemoryTokenStore()
    one, two = (authenticator(ksef, XadesCredentials(seal), store) for _ in range(2))
    assert await one.access_token() == await two.access_token() == "access-1"
    ksef.clock.move(minutes=14)
    assert await one.access_token() == await two.access_token() == "access-2"
    assert len(ksef.calls("/auth/challenge")) == len(ksef.calls("/auth/token/refresh")) == 1


async def test_a_check_tells_as_whom_and_until_when(ksef: FakeKsef, seal: SigningIdentity) -> None:
    ksef.allow_login()
    tenant = authenticator(ksef, XadesCredentials(seal))
    await tenant.access_token()
    info = await tenant.login()
    assert (info.reference_number, info.method) == ("20261122-AU-1", "Seal")
    assert (info.context_type, info.context_value) == ("Nip", "5265877635")
    assert info.refresh_valid_until == START + timedelta(days=7)
    assert info.permissions == ()
    assert len(ksef.calls("/auth/challenge")) == 2
    ksef.on("POST", "/auth/challenge", httpx.Response(503))
    with pytest.raises(ServerFailed):
        await tenant.login()


@pytest.mark.parametrize(
    ("claims", "permissions"),
    [
        ({"per": ["InvoiceWrite", "InvoiceRead"]}, ("InvoiceWrite", "InvoiceRead")),
        ({"per": '["InvoiceWrite"]'}, ("InvoiceWrite",)),
        ({"per": "InvoiceWrite,InvoiceRead"}, ("InvoiceWrite", "InvoiceRead")),
        ({"per": 7}, ()),
        ({}, ()),
        ([], ()),
    ],
)
def test_permissions_are_read_from_the_token_for_diagnostics(claims: Any, permissions: tuple[str, ...]) -> None:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    assert permissions_in(f"head.{payload}.sign") == permissions


@pytest.mark.parametrize("token", ["", "a.b", "a.!!!.c", "a.e30.c", "a.W1tb.c"])
def test_a_token_that_is_no_jwt_has_no_permissions(token: str) -> None:
    assert permissions_in(token) == ()


def test_a_context_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="Nip"):
        AuthContext("123")
    with pytest.raises(ValueError, match="PeppolId"):
        AuthContext("5265877635", ContextType.PEPPOL_ID)
