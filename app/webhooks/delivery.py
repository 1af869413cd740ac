"""Sends one attempt of a delivery within a deadline, and classifies the receiver's answer."""

import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from time import perf_counter
from typing import Any, Final

import anyio
import httpcore
import httpx

from app.webhooks.addresses import AddressRules, InvalidWebhookUrl, checked_url
from app.webhooks.network import CONNECT_SECONDS, AddressRefused, fresh_connections
from app.webhooks.signing import SigningKey, signed_headers

DEADLINE_SECONDS: Final = 20.0
"""Limit of one attempt, from resolving the name to the end of the answer. A receiver should store the event, answer, and process it later."""

MAX_ANSWER_BYTES: Final = 2_048
"""Bytes of an answer that are read and stored: enough for an error message."""

USER_AGENT: Final = "ksef-dispatch"

_SENDS_AT_MOST: Final = 3
"""Requests of one attempt, if pooled connections turn out to be closed: a restarted receiver closes all of them."""


class Outcome(StrEnum):
    """The outcome of an attempt."""

    STARTED = "started"
    """The request may have left; the process ended before the answer was recorded."""
    DELIVERED = "delivered"
    REFUSED = "refused"
    """An answer other than 2xx; redirects too, which are not followed."""
    GONE = "gone"
    """410: the receiver refuses all further events; its endpoint is disabled."""
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    """No connection, or one that broke."""
    INSECURE = "insecure"
    """TLS failed: an unknown, expired or wrong certificate."""
    FORBIDDEN = "forbidden"
    """The installation does not send to this address."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """The result of one attempt.

    `answer` is the beginning of the receiver's answer, or the reason in our words when there was none.
    """

    outcome: Outcome
    milliseconds: int
    status: int | None = None
    answer: str | None = None
    retry_after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """The event's id and body; both are the same in all attempts, the body byte for byte."""

    event_id: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Sender:
    """Sends messages over a guarded pool."""

    pool: httpcore.AsyncConnectionPool
    rules: AddressRules
    deadline_seconds: float = DEADLINE_SECONDS

    async def send(
        self,
        url: str,
        message: Message,
        keys: Sequence[SigningKey],
        *,
        now: datetime,
        own_headers: Sequence[tuple[str, str]] = (),
    ) -> Attempt:
        """Make one attempt and return its result; no behaviour of the receiver raises an error.

        `own_headers` are the endpoint's, checked by `app.webhooks.headers`. If the receiver closed a pooled connection just when
        the request was sent on it, the request is repeated at once with the same id: it got no answer, and was not at fault.
        """
        start = perf_counter()
        answer = _Answer()
        try:
            with anyio.fail_after(self.deadline_seconds):
                request = self._request(checked_url(url, self.rules), message, keys, own_headers, now=now)
                for left in reversed(range(_SENDS_AT_MOST)):
                    made: list[str] = []
                    fresh_connections.set(made)
                    try:
                        await self._exchange(request, message.body, answer)
                        break
                    except _BROKEN:
                        if made or not left or answer.status is not None:
                            raise
        except InvalidWebhookUrl as error:
            return Attempt(Outcome.FORBIDDEN, _since(start), answer=error.detail)
        except (TimeoutError, httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError) as error:
            # Once the head of an answer is read, the status decides, even if the body is incomplete.
            if answer.status is None:
                outcome, words = _classify_failure(error)
                return Attempt(outcome, _since(start), answer=words)
        assert answer.status is not None  # noqa: S101 - either the exchange ended or a failure before its head returned
        return Attempt(
            outcome_of_status(answer.status),
            _since(start),
            status=answer.status,
            answer=readable(bytes(answer.body)),
            retry_after=retry_after(answer.headers.get(b"retry-after"), now=now),
        )

    def _request(
        self,
        url: httpx.URL,
        message: Message,
        keys: Sequence[SigningKey],
        own_headers: Sequence[tuple[str, str]],
        *,
        now: datetime,
    ) -> tuple[httpcore.URL, list[tuple[str, str]]]:
        # The parts that were checked: a second parser could read the text of the address differently.
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        headers = {
            "host": url.netloc.decode("ascii"),
            **plain_headers(),
            "content-length": str(len(message.body)),
        } | signed_headers(keys, message_id=message.event_id, body=message.body, now=now)
        return target, [*headers.items(), *own_headers]

    async def _exchange(
        self, request: tuple[httpcore.URL, list[tuple[str, str]]], body: bytes, answer: "_Answer"
    ) -> None:
        target, headers = request
        timeouts = {
            "connect": CONNECT_SECONDS,
            "read": self.deadline_seconds,
            "write": self.deadline_seconds,
            "pool": self.deadline_seconds,
        }
        async with self.pool.stream(
            "POST", target, headers=headers, content=body, extensions={"timeout": timeouts}
        ) as response:
            answer.headers = {name.lower(): value for name, value in response.headers}
            answer.status = response.status
            await _read_beginning(response.aiter_stream(), answer.body)


_BROKEN: Final = (httpcore.ReadError, httpcore.WriteError, httpcore.RemoteProtocolError)


def plain_headers() -> dict[str, str]:
    """Return the headers of every request, without those of the message and its signature."""
    return {
        "content-type": "application/json",
        "user-agent": USER_AGENT,
        "accept": "*/*",
        "accept-encoding": "identity",
    }


class _Answer:
    """The part of an answer that was read; kept when the rest fails."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.headers: Mapping[bytes, bytes] = {}
        self.body = bytearray()


async def _read_beginning(pieces: AsyncIterator[bytes], into: bytearray) -> None:
    async for piece in pieces:
        into += piece[: MAX_ANSWER_BYTES - len(into)]
        if len(into) >= MAX_ANSWER_BYTES:
            return


def outcome_of_status(status: int) -> Outcome:
    """Return the outcome that a receiver's status means."""
    if 200 <= status <= 299:
        return Outcome.DELIVERED
    return Outcome.GONE if status == 410 else Outcome.REFUSED


def _classify_failure(error: Exception) -> tuple[Outcome, str]:
    if isinstance(error, AddressRefused):
        return Outcome.FORBIDDEN, str(error)
    if isinstance(error, (TimeoutError, httpcore.TimeoutException)):
        return Outcome.TIMEOUT, "no answer in time"
    if _is_tls(error):
        return Outcome.INSECURE, "the TLS handshake failed; check the certificate and its chain"
    if isinstance(error, httpcore.ConnectError):
        return Outcome.UNREACHABLE, "no connection"
    if isinstance(error, httpcore.ProtocolError):
        return Outcome.UNREACHABLE, "the answer was not HTTP, or ended early"
    return Outcome.UNREACHABLE, "the connection broke before an answer"


def _is_tls(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False


def readable(raw: bytes) -> str:
    """Return a receiver's bytes as text for the database: bytes that are not UTF-8, and NUL, become replacement characters."""
    return raw.decode("utf-8", errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")


def retry_after(value: bytes | None, *, now: datetime) -> timedelta | None:
    """Read a Retry-After header, seconds or a date (RFC 9110, 10.2.3); None when it is absent, past or unreadable."""
    if value is None:
        return None
    text = value.decode("latin-1").strip()
    if text.isascii() and text.isdigit():
        # Ten digits are three centuries: a mistake of the receiver, and a timedelta could overflow.
        return timedelta(seconds=int(text)) if len(text) <= 9 else None
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, IndexError, OverflowError):
        return None
    if moment.tzinfo is None:
        return None
    return moment - now if moment > now else None


def event_body(event: Mapping[str, Any]) -> bytes:
    """Return the body of an event: its envelope with the stored JSON text, which is not parsed again.

    `event` has `id`, `type`, `timestamp`, `tenant` as users see them (none needs escaping) and `data` as JSON text.
    """
    head = f'{{"id":"{event["id"]}","type":"{event["type"]}","timestamp":"{event["timestamp"]}","tenant":"{event["tenant"]}"'
    return f'{head},"data":{event["data"]}}}'.encode()


def _since(start: float) -> int:
    return round((perf_counter() - start) * 1_000)
