"""One attempt to deliver, over real connections to receivers that behave and misbehave."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from standardwebhooks import Webhook

from app.webhooks.addresses import AddressRules
from app.webhooks.delivery import (
    DEADLINE_SECONDS,
    MAX_ANSWER_BYTES,
    Attempt,
    Message,
    Outcome,
    Sender,
    event_body,
    outcome_of_status,
    readable,
    retry_after,
)
from app.webhooks.network import open_pool
from app.webhooks.signing import SigningSecret
from tests.app.webhooks.receiver import Receiver, answer, running_receiver, tls_contexts

OPEN = AddressRules(allow_http=True, allow_private=True)
SECRET = SigningSecret(b"k" * 32)
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MESSAGE = Message("evt_" + "a" * 32, b'{"id":"evt_","data":{}}')


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with running_receiver() as running:
        yield running


@asynccontextmanager
async def sender(rules: AddressRules = OPEN, *, seconds: float = 5, **options: Any) -> AsyncIterator[Sender]:
    async with open_pool(rules, **options) as pool:
        yield Sender(pool, rules, deadline_seconds=seconds)


async def _send(url: str, *, rules: AddressRules = OPEN, seconds: float = 5, **options: Any) -> Attempt:
    async with sender(rules, seconds=seconds, **options) as sending:
        return await sending.send(url, MESSAGE, [SECRET], now=NOW)


async def test_a_delivery_carries_the_body_and_headers_that_the_reference_library_verifies(receiver: Receiver) -> None:
    body = event_body({"id": "evt_1", "type": "webhook.test", "timestamp": "t", "tenant": "ten_1", "data": '{"ż": 1}'})
    async with sender() as sending:
        attempt = await sending.send(receiver.url("/hook?x=1"), Message("evt_1", body), [SECRET], now=datetime.now(UTC))
    assert attempt.outcome is Outcome.DELIVERED
    request = receiver.requests[0]
    assert request.path == "/hook?x=1"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert request.headers["webhook-id"] == "evt_1"
    seen = Webhook(SECRET.text).verify(request.body, request.headers)
    assert seen == {"id": "evt_1", "type": "webhook.test", "timestamp": "t", "tenant": "ten_1", "data": {"ż": 1}}
    assert request.body == body


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Outcome.DELIVERED),
        (202, Outcome.DELIVERED),
        (204, Outcome.DELIVERED),
        (299, Outcome.DELIVERED),
        (300, Outcome.REFUSED),
        (400, Outcome.REFUSED),
        (404, Outcome.REFUSED),
        (410, Outcome.GONE),
        (429, Outcome.REFUSED),
        (500, Outcome.REFUSED),
        (599, Outcome.REFUSED),
    ],
)
def test_only_2xx_is_success(status: int, outcome: Outcome) -> None:
    assert outcome_of_status(status) is outcome


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_not_followed(receiver: Receiver, status: int) -> None:
    async with running_receiver() as target:
        receiver.answers = [answer(status, location=target.url())]
        attempt = await _send(receiver.url())
        assert target.connections == 0
    assert (attempt.outcome, attempt.status) == (Outcome.REFUSED, status)


async def test_the_beginning_of_the_answer_is_kept_and_the_rest_is_not_read(receiver: Receiver) -> None:
    async def endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 500 Oops\r\n\r\n")
        while True:
            writer.write(b"\x00\xffno" * 10_000)
            await writer.drain()

    receiver.answers = [endless]
    attempt = await _send(receiver.url())
    assert (attempt.outcome, attempt.status) == (Outcome.REFUSED, 500)
    assert attempt.answer is not None
    assert len(attempt.answer) <= MAX_ANSWER_BYTES
    assert attempt.answer.endswith("no")
    assert "\0" not in attempt.answer


async def test_a_success_whose_body_never_ends_is_a_success(receiver: Receiver) -> None:
    async def stalls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
        await reader.read()

    receiver.answers = [stalls]
    attempt = await _send(receiver.url(), seconds=0.5)
    assert (attempt.outcome, attempt.status, attempt.answer) == (Outcome.DELIVERED, 200, "half")


async def test_a_receiver_that_never_answers_costs_no_more_than_the_deadline(receiver: Receiver) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    receiver.answers = [silent]
    attempt = await _send(receiver.url(), seconds=0.2)
    assert (attempt.outcome, attempt.status) == (Outcome.TIMEOUT, None)
    # Ended by this deadline and not by the usual one, however slow the machine is.
    assert 150 <= attempt.milliseconds < 1000 * DEADLINE_SECONDS


async def test_a_receiver_that_drips_its_head_costs_no_more_than_the_deadline(receiver: Receiver) -> None:
    async def drips(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"x: y\r\n")
            await writer.drain()
            await asyncio.sleep(0.05)

    receiver.answers = [drips]
    assert (await _send(receiver.url(), seconds=0.3)).outcome is Outcome.TIMEOUT


async def test_a_connection_that_breaks_is_a_failed_attempt(receiver: Receiver) -> None:
    async def breaks(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    receiver.answers = [breaks]
    assert (await _send(receiver.url())).outcome is Outcome.UNREACHABLE


@pytest.mark.parametrize("junk", [b"SSH-2.0-OpenSSH_9\r\n\r\n", b"\x00" * 200, b"HTTP/1.1 99999 x\r\n\r\n"])
async def test_an_answer_that_is_not_http_is_a_failed_attempt(receiver: Receiver, junk: bytes) -> None:
    receiver.answers = [junk]
    assert (await _send(receiver.url())).outcome is Outcome.UNREACHABLE


async def test_nobody_listening_is_a_failed_attempt(receiver: Receiver) -> None:
    async with running_receiver() as closed:
        url = closed.url()
    assert (await _send(url)).outcome is Outcome.UNREACHABLE


@pytest.mark.parametrize("rules", [AddressRules(), AddressRules(allow_http=True), AddressRules(allow_private=True)])
async def test_an_address_that_was_allowed_once_is_checked_again_at_each_attempt(
    receiver: Receiver, rules: AddressRules
) -> None:
    attempt = await _send(receiver.url(), rules=rules)
    assert attempt.outcome is Outcome.FORBIDDEN
    assert receiver.connections == 0


async def test_a_name_that_leads_inside_is_not_connected_to(receiver: Receiver) -> None:
    async def leads_here(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    attempt = await _send(receiver.url(host="erp.example.pl"), rules=AddressRules(allow_http=True), resolve=leads_here)
    assert attempt.outcome is Outcome.FORBIDDEN
    assert receiver.connections == 0


async def test_tls_is_verified_against_the_name_although_the_connection_goes_to_an_address(tmp_path: Path) -> None:
    async def leads_here(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    server, client = tls_contexts(tmp_path, "erp.example.pl")
    async with running_receiver(server) as receiver:
        options: dict[str, Any] = {"resolve": leads_here, "ssl_context": client}
        right = await _send(receiver.url(host="erp.example.pl", scheme="https"), **options)
        wrong = await _send(receiver.url(host="other.example.pl", scheme="https"), **options)
    assert right.outcome is Outcome.DELIVERED
    assert wrong.outcome is Outcome.INSECURE
    assert len(receiver.requests) == 1


async def test_an_unknown_certificate_is_refused(tmp_path: Path) -> None:
    server, _ = tls_contexts(tmp_path, "localhost")
    async with running_receiver(server) as receiver:
        attempt = await _send(receiver.url(host="localhost", scheme="https"))
    assert attempt.outcome is Outcome.INSECURE
    assert receiver.requests == []


async def test_proxies_of_the_environment_are_not_used(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_receiver() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url(""))
        assert (await _send(receiver.url())).outcome is Outcome.DELIVERED
        assert proxy.connections == 0


async def test_a_dead_receiver_does_not_delay_another(receiver: Receiver) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with running_receiver() as dead, sender(seconds=3) as sending, asyncio.TaskGroup() as tasks:
        dead.answers = [silent]
        hanging = [tasks.create_task(sending.send(dead.url(), MESSAGE, [SECRET], now=NOW)) for _ in range(15)]
        good = await sending.send(receiver.url(), MESSAGE, [SECRET], now=NOW)
        assert good.outcome is Outcome.DELIVERED
        assert good.milliseconds < 1_000
        assert not any(task.done() for task in hanging)
        for task in hanging:
            task.cancel()


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        (None, None),
        (b"120", timedelta(seconds=120)),
        (b" 7 ", timedelta(seconds=7)),
        (b"0", timedelta(0)),
        (b"-5", None),
        (b"1.5", None),
        (b"9999999999999999999999", None),
        (b"soon", None),
        (b"", None),
        (b"\xff\xb2", None),
        (b"Sun, 22 Nov 2026 12:01:00 GMT", timedelta(seconds=60)),
        (b"Sun, 22 Nov 2026 11:59:00 GMT", None),
        (b"Sun, 99 Nov 2026 11:59:00 GMT", None),
    ],
)
def test_retry_after_is_read_case_by_case(value: bytes | None, wait: timedelta | None) -> None:
    assert retry_after(value, now=NOW) == wait


async def test_the_receivers_wish_is_reported(receiver: Receiver) -> None:
    receiver.answers = [answer(503, b"later", Retry_After="90")]
    attempt = await _send(receiver.url())
    assert (attempt.status, attempt.retry_after, attempt.answer) == (503, timedelta(seconds=90), "later")


def test_an_event_body_is_one_json_object_around_the_stored_text() -> None:
    parts = {
        "id": "evt_1",
        "type": "t",
        "timestamp": "2026-11-22T12:00:00.000Z",
        "tenant": "ten_1",
        "data": '{"a": [1]}',
    }
    assert json.loads(event_body(parts)) == parts | {"data": {"a": [1]}}


def test_bytes_that_are_no_text_become_text_that_a_database_takes() -> None:
    assert readable(b"a\x00\xff\xc5\xbc") == "a\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}ż"


async def test_a_connection_is_kept_for_the_next_delivery(receiver: Receiver) -> None:
    receiver.keeps_connections = True
    async with sender() as sending:
        for _ in range(3):
            assert (await sending.send(receiver.url(), MESSAGE, [SECRET], now=NOW)).outcome is Outcome.DELIVERED
    assert (receiver.connections, len(receiver.requests)) == (1, 3)


async def test_a_kept_connection_that_the_receiver_closes_meanwhile_costs_nothing(receiver: Receiver) -> None:
    """It closes just as the next request arrives, which it has not answered: the request goes again on a new connection."""

    async def closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    receiver.keeps_connections = True
    receiver.answers = [answer(200), closes, answer(200)]
    async with sender() as sending:
        first = await sending.send(receiver.url(), MESSAGE, [SECRET], now=NOW)
        second = await sending.send(receiver.url(), MESSAGE, [SECRET], now=NOW)
    assert (first.outcome, second.outcome) == (Outcome.DELIVERED, Outcome.DELIVERED)
    assert (receiver.connections, len(receiver.requests)) == (2, 3)
    assert receiver.requests[1].headers["webhook-id"] == receiver.requests[2].headers["webhook-id"]


async def test_a_new_connection_that_breaks_is_not_tried_again_at_once(receiver: Receiver) -> None:
    async def closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    receiver.answers = [closes]
    assert (await _send(receiver.url())).outcome is Outcome.UNREACHABLE
    assert len(receiver.requests) == 1


async def test_an_answer_with_an_endless_head_is_cut_off(receiver: Receiver) -> None:
    """The head of an answer is bounded to about a hundred kilobytes, and a failure when it is longer."""
    sent = 0

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while sent < 50_000_000:
            writer.write(b"x-more: " + b"x" * 8_000 + b"\r\n")
            await writer.drain()
            sent += 8_000

    receiver.answers = [endless]
    attempt = await _send(receiver.url())
    assert (attempt.outcome, attempt.status) == (Outcome.UNREACHABLE, None)
    assert sent < 20_000_000


async def test_an_endpoints_own_headers_go_with_the_request_and_replace_none_of_ours(receiver: Receiver) -> None:
    async with sender() as sending:
        own = [("Authorization", "Bearer 7f6c"), ("X-Area", "north")]
        await sending.send(receiver.url(), MESSAGE, [SECRET], now=NOW, own_headers=own)
        await sending.send(receiver.url(), MESSAGE, [SECRET], now=NOW)
    with_own, without = (request.headers for request in receiver.requests)
    assert with_own == without | {"authorization": "Bearer 7f6c", "x-area": "north"}
