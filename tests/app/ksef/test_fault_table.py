"""Each call to KSeF with each fault: which error it raises, and that the error never claims what is not so.

This is the fault matrix of `tests/workers` at the level of the client, without a database: the stages act on nothing
but the class and the outcome of an error, and there every pair of a call and a class runs to its last verdict.
"""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from app.clock import utc_now
from app.ksef import errors
from app.ksef.batch import BatchSpec, CompressionType, FormCode, OpenedSession, PartSpec, PartUpload
from app.ksef.client import KsefClient
from app.ksef.errors import KsefError, Outcome
from app.ksef.keys import KeyUsage, PublicKeys
from app.ksef.login.auth import Authenticator
from app.ksef.login.certificates import SigningIdentity
from app.ksef.login.login import AuthContext, XadesCredentials
from app.ksef.login.tokens import MemoryTokenStore, StoredTokens
from app.ksef.storage import StorageClient
from app.ksef.transport import KsefTransport, make_http_client
from tests.support.ksef_by_hand import HandClient, Package, invoice, zip_package
from tests.support.ksef_faults import CALLS, FAULTS
from tests.support.sandbox_process import SandboxHandle, running_sandbox

SEAL_NIP = "5265877635"

LOGIN_CALLS = frozenset({"challenge", "signature", "login status", "redeem"})
"""A login is never UNKNOWN: whatever became of it, the request that needs it was not sent."""

Verdict = tuple[type[KsefError], Outcome] | None
TABLE: dict[str, Verdict] = {
    "answers 500": (errors.ServerFailed, Outcome.UNKNOWN),
    "is done and answers 500": (errors.ServerFailed, Outcome.UNKNOWN),
    "is done and answers a 502 page": (errors.ServerFailed, Outcome.UNKNOWN),
    "is cut before": (errors.TransportFailed, Outcome.UNKNOWN),
    "is cut after": (errors.TransportFailed, Outcome.UNKNOWN),
    "is cut within": (errors.TransportFailed, Outcome.UNKNOWN),
    "answers half a body": (errors.Unreadable, Outcome.UNKNOWN),
    "answers a web page": (errors.Unreadable, Outcome.UNKNOWN),
    "is blocked": (errors.FrontLayerBlocked, Outcome.BLOCKED),
    "is called too often": (errors.RateLimited, Outcome.TRY_AGAIN),
    "answers 401": (errors.Unauthenticated, Outcome.TRY_AGAIN),
}
OTHERWISE: dict[tuple[str, str], Verdict] = {
    # Their answer has no body: there is nothing to cut or to halve.
    ("part", "is cut within"): None,
    ("part", "answers half a body"): None,
    ("close", "is cut within"): None,
    ("close", "answers half a body"): None,
    # The storage takes links and no tokens.
    ("part", "answers a web page"): (errors.PartNotStored, Outcome.UNKNOWN),
    ("part", "answers 401"): (errors.LinkRefused, Outcome.REFUSED),
    ("receipt", "answers 401"): (errors.LinkRefused, Outcome.REFUSED),
    # The client helps itself with a new token.
    ("open", "answers 401"): None,
    ("close", "answers 401"): None,
    ("status", "answers 401"): None,
    ("refused list", "answers 401"): None,
}
"""Where a call differs from the table; None: no error."""


@dataclass
class World:
    """A tenant that is logged in, a session that has ended, and packages that are ready to be sent."""

    hand: HandClient
    sandbox: SandboxHandle
    package: Package
    ended: str
    receipt: str

    @property
    def body(self) -> bytes:
        (part,) = self.package.encrypted_parts()
        return part

    def fault(self, **rule: Any) -> None:
        httpx.post(f"{self.sandbox.control_url}/faults", json=rule).raise_for_status()

    def opened(self) -> dict[str, Any]:
        return self.hand.open(self.hand.open_body(self.package))

    def is_closed(self, reference: str) -> bool:
        return int(self.hand.status(reference)["status"]["code"]) != 100


@pytest.fixture(scope="module")
def world(seal: SigningIdentity) -> Iterator[World]:
    with running_sandbox(processing_delay=0) as sandbox:
        hand = HandClient(sandbox.base_url, SEAL_NIP).login()
        package = Package(zip_package({"a.xml": invoice("A", hand.nip), "b.xml": b"<no-invoice/>"}))
        reference, status = hand.send(package)
        yield World(hand, sandbox, package, reference, status["upo"]["pages"][0]["downloadUrl"])
        hand.close()


@asynccontextmanager
async def _client(world: World, seal: SigningIdentity) -> AsyncIterator[KsefClient]:
    tokens = MemoryTokenStore()
    now = utc_now()
    await tokens.save(
        StoredTokens(
            access_token=world.hand.access_token,
            access_valid_until=now + timedelta(minutes=10),
            obtained_at=now,
            refresh_token=world.hand.refresh_token,
            refresh_valid_until=now + timedelta(days=1),
            reference_number="x",
        )
    )
    async with make_http_client(max_connections=2) as http:
        transport = KsefTransport(world.sandbox.base_url, http)
        keys = PublicKeys(transport, now=utc_now)
        login = Authenticator(transport, keys, AuthContext(SEAL_NIP), XadesCredentials(seal), now=utc_now, store=tokens)
        yield KsefClient(transport=transport, storage=StorageClient(http), authenticator=login, keys=keys)


async def _open(world: World, client: KsefClient) -> OpenedSession:
    body = world.hand.open_body(world.package)
    key = await client.keys.wrap_key(world.package.key)
    (part,) = body["batchFile"]["fileParts"]
    return await client.open_batch_session(
        BatchSpec(
            form_code=FormCode("FA (3)", "1-0E", "FA"),
            package_size=len(world.package.plain),
            package_sha256=hashlib.sha256(world.package.plain).digest(),
            compression_type=CompressionType.ZIP,
            parts=(PartSpec(1, part["fileSize"], hashlib.sha256(world.body).digest()),),
            encrypted_symmetric_key=key.ciphertext,
            initialization_vector=world.package.iv,
            public_key_id=key.public_key_id,
        )
    )


async def _send_part(world: World, client: KsefClient) -> None:
    (link,) = world.opened()["partUploadRequests"]
    upload = PartUpload(1, link["method"], SecretStr(link["url"]), link["headers"])
    await client.upload_part(upload, _pieces(world.body), len(world.body))


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    yield body


async def _close(world: World, client: KsefClient) -> None:
    opened = world.opened()
    world.hand.upload(opened, world.package)
    reference = opened["referenceNumber"]
    raised: KsefError | None = None
    try:
        await client.close_batch_session(reference)
    except KsefError as error:
        raised = error
    assert world.is_closed(reference) is (raised is None) or (raised and raised.outcome is Outcome.UNKNOWN)
    if raised is not None:
        raise raised


async def _receipt(world: World, client: KsefClient) -> None:
    async def nowhere(_: bytes) -> None:
        return

    await client.download_upo(SecretStr(world.receipt), nowhere)


async def _login(_: World, client: KsefClient) -> None:
    await client.login()


async def _status(world: World, client: KsefClient) -> None:
    assert (await client.session_status(world.ended)).is_final


async def _refused_list(world: World, client: KsefClient) -> None:
    page = await client.session_invoices_page(world.ended, failed_only=True)
    assert len(page.invoices) == 1


async def _keys(_: World, client: KsefClient) -> None:
    await client.keys.key_for(KeyUsage.SYMMETRIC_KEY)


MAKE: dict[str, Callable[[World, KsefClient], Awaitable[Any]]] = {
    "keys": _keys,
    "challenge": _login,
    "signature": _login,
    "login status": _login,
    "redeem": _login,
    "open": _open,
    "part": _send_part,
    "close": _close,
    "status": _status,
    "refused list": _refused_list,
    "receipt": _receipt,
}


def expected(call: str, fault: str) -> Verdict:
    verdict = OTHERWISE.get((call, fault), TABLE[fault])
    if verdict is not None and call in LOGIN_CALLS and verdict[1] is Outcome.UNKNOWN:
        return verdict[0], Outcome.TRY_AGAIN
    return verdict


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("call", CALLS)
async def test_a_call_with_a_fault_raises_the_error_that_the_stages_act_on(
    world: World, seal: SigningIdentity, call: str, fault: str
) -> None:
    world.fault(**CALLS[call], **FAULTS[fault], times=1)
    found: Verdict = None
    async with _client(world, seal) as client:
        try:
            await MAKE[call](world, client)
        except KsefError as error:
            found = type(error), error.outcome
    assert found == expected(call, fault)
    (rule,) = httpx.get(f"{world.sandbox.control_url}/faults").json()["items"]
    assert rule["applied"] == 1
    httpx.delete(f"{world.sandbox.control_url}/faults").raise_for_status()
    async with _client(world, seal) as client:
        await MAKE[call](world, client)
