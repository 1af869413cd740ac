"""Nothing of ours can be reached through a webhook: every way to spell or to hide an inner address, up to the connection.

An address is either refused when it is written down, or when a connection is to be made; in no case does anything connect.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import cycle
from typing import Any

import httpcore
import pytest

from app.webhooks.addresses import AddressRules, InvalidWebhookUrl, checked_url
from app.webhooks.delivery import Message, Outcome, Sender
from app.webhooks.network import GuardedBackend, SystemResolver, make_pool
from app.webhooks.signing import SigningSecret
from tests.app.webhooks.receiver import answer, running_receiver
from tests.app.webhooks.test_network import RecordingNetwork

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MESSAGE = Message("evt_" + "a" * 32, b'{"id":"evt_","data":{}}')
SECRET = SigningSecret(b"k" * 32)
STRICT = AddressRules()
PUBLIC = "93.184.215.14"

# What a name can lead to, as a resolver gives it.
INNER = {
    "loopback": "127.0.0.1",
    "any loopback": "127.8.9.10",
    "this network": "0.0.0.0",
    "private 10": "10.0.0.1",
    "private 172": "172.16.0.1",
    "private 192": "192.168.0.1",
    "carrier's": "100.64.0.1",
    "metadata": "169.254.169.254",
    "metadata of containers": "169.254.170.2",
    "metadata in carrier's": "100.100.100.200",
    "host agent": "168.63.129.16",
    "multicast": "224.0.0.251",
    "broadcast": "255.255.255.255",
    "IPv6 loopback": "::1",
    "IPv6 unspecified": "::",
    "IPv6 link-local": "fe80::1",
    "IPv6 link-local with a zone": "fe80::1%eth0",
    "IPv6 unique local": "fd12:3456::1",
    "IPv6 metadata": "fd00:ec2::254",
    "IPv6 site-local": "fec0::1",
    "IPv4-mapped": "::ffff:127.0.0.1",
    "IPv4-mapped public": f"::ffff:{PUBLIC}",
    "IPv4-translated": "::ffff:0:127.0.0.1",
    "IPv4-compatible": "::127.0.0.1",
    "NAT64": "64:ff9b::a9fe:a9fe",
    "local NAT64": "64:ff9b:1::a00:1",
    "6to4": "2002:a9fe:a9fe::",
    "Teredo": "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "ISATAP": "fe80::5efe:10.0.0.1",
    "public with a zone": "2606:2800:21f::1%eth0",
    "documentation": "2001:db8::1",
}

# What somebody can write into the address itself. Some resolvers read these as an address, ours included.
WRITTEN = {
    "decimal": "2130706433",
    "decimal metadata": "2852039166",
    "hexadecimal": "0x7f000001",
    "hexadecimal in four": "0x7f.0x0.0x0.0x1",
    "octal": "017700000001",
    "octal in four": "0177.0.0.01",
    "mixed": "0xa9.254.0xa9.254",
    "two numbers": "127.1",
    "three numbers": "127.0.1",
    "zero": "0",
    "too large for a byte": "256.256.256.256",
    "a trailing dot": "127.0.0.1.",
    "leading zeros": "127.000.000.001",
    "full-width digits": "１２７．０．０．１",
    "circled digits": "①②⑦.⓪.⓪.①",
    "ideographic dots": "127。0。0。1",
    "another script's digits": "١٢٧.٠.٠.١",
    "localhost in bold": "𝐥𝐨𝐜𝐚𝐥𝐡𝐨𝐬𝐭",
    "localhost in circles": "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ",
    "soft hyphen": "local\u00adhost",
    "zero-width joiner": "local\u200dhost",
    "a name that others point inside": "localhost.",
    "percent-coded": "%31%32%37.0.0.1",
    "a backslash": "erp.example.pl\\@127.0.0.1",
    "user information": "erp.example.pl@127.0.0.1",
    "user information in front": "127.0.0.1#@erp.example.pl",
    "a tab": "127.0.0.1\t.erp.example.pl",
    "IPv6 mapped": "[::ffff:127.0.0.1]",
    "IPv6 mapped in hex": "[::ffff:7f00:1]",
    "IPv6 written long": "[0000:0000:0000:0000:0000:0000:0000:0001]",
    "IPv6 with a zone": "[fe80::1%25lo]",
    "IPv6 without brackets": "::1",
    "IPv6 of the future": "[v1.fe80]",
    "a port of another service": "erp.example.pl:6379@127.0.0.1:443",
}


def _resolver(*answers: Sequence[str]) -> Any:
    turns = cycle(answers)

    async def resolve(host: str, port: int) -> Sequence[str]:
        return next(turns)

    return resolve


async def _attempt(url: str, *answers: Sequence[str]) -> tuple[Outcome, list[str]]:
    """Send to an address of which the resolver says this; gives the outcome and where it was connected to."""
    network = RecordingNetwork()
    guard = GuardedBackend(STRICT, resolve=_resolver(*answers) if answers else SystemResolver(), inner=network)
    async with make_pool(guard, httpcore.default_ssl_context()) as pool:
        attempt = await Sender(pool, STRICT, deadline_seconds=5).send(url, MESSAGE, [SECRET], now=NOW)
    return attempt.outcome, network.asked


@pytest.mark.parametrize("address", INNER.values(), ids=INNER.keys())
@pytest.mark.parametrize("place", ["alone", "first", "last"])
async def test_a_name_that_leads_inside_with_any_of_its_addresses_is_refused(address: str, place: str) -> None:
    answers = {"alone": [address], "first": [address, PUBLIC], "last": [PUBLIC, "1.1.1.1", "8.8.8.8", address]}
    outcome, connected = await _attempt("https://erp.example.pl/", answers[place])
    assert (outcome, connected) == (Outcome.FORBIDDEN, [])


@pytest.mark.parametrize("host", WRITTEN.values(), ids=WRITTEN.keys())
async def test_an_address_that_is_written_in_disguise_is_refused_without_asking_anybody(host: str) -> None:
    url = f"https://{host}/"
    with pytest.raises(InvalidWebhookUrl):
        checked_url(url, STRICT)
    # It was registered before the rules were as they are now: the attempt checks again.
    outcome, connected = await _attempt(url)
    assert (outcome, connected) == (Outcome.FORBIDDEN, [])


@pytest.mark.parametrize("address", INNER.values(), ids=INNER.keys())
async def test_the_same_address_written_into_the_url_is_refused(address: str) -> None:
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(InvalidWebhookUrl):
        checked_url(f"https://{host}/", STRICT)


async def test_a_name_that_is_rebound_between_the_check_and_the_connection_leads_where_it_was_checked() -> None:
    _, connected = await _attempt("https://erp.example.pl/", [PUBLIC], ["127.0.0.1"])
    assert connected == [PUBLIC]


async def test_a_name_that_is_rebound_between_two_attempts_is_refused_at_the_second() -> None:
    network = RecordingNetwork()
    guard = GuardedBackend(STRICT, resolve=_resolver([PUBLIC], ["10.0.0.1"]), inner=network)
    outcomes = []
    for _ in range(2):
        async with make_pool(guard, httpcore.default_ssl_context()) as pool:
            sender = Sender(pool, STRICT, deadline_seconds=5)
            outcomes.append((await sender.send("https://erp.example.pl/", MESSAGE, [SECRET], now=NOW)).outcome)
    assert outcomes[1] is Outcome.FORBIDDEN
    assert network.asked == [PUBLIC]


async def test_a_kept_connection_goes_on_leading_to_the_address_that_was_checked() -> None:
    """Rebinding the name cannot move a connection that exists; a new one is checked again."""
    asked: list[str] = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["10.0.0.1"]

    rules = AddressRules(allow_http=True, allow_private=True)
    async with running_receiver() as receiver:
        receiver.keeps_connections = True
        guard = GuardedBackend(rules, resolve=resolve)
        async with make_pool(guard, httpcore.default_ssl_context()) as pool:
            sender = Sender(pool, rules, deadline_seconds=5)
            for _ in range(3):
                attempt = await sender.send(receiver.url(host="erp.example.pl"), MESSAGE, [SECRET], now=NOW)
                assert attempt.outcome is Outcome.DELIVERED
        assert (receiver.connections, asked) == (1, ["erp.example.pl"])


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("location", ["http://169.254.169.254/latest/meta-data", "//127.0.0.1/", "file:///etc/passwd"])
async def test_a_redirect_inside_is_an_answer_like_any_other(status: int, location: str) -> None:
    rules = AddressRules(allow_http=True, allow_private=True)
    async with running_receiver() as receiver:
        receiver.answers = [answer(status, Location=location)]
        guard = GuardedBackend(rules)
        async with make_pool(guard, httpcore.default_ssl_context()) as pool:
            sender = Sender(pool, rules, deadline_seconds=5)
            attempt = await sender.send(receiver.url(), MESSAGE, [SECRET], now=NOW)
        assert (attempt.outcome, attempt.status) == (Outcome.REFUSED, status)
        assert len(receiver.requests) == 1
