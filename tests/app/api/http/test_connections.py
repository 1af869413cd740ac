"""One client, or one network of clients, cannot take the connections of all others."""

from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from app.api.http import connections
from app.api.http.connections import ConnectionLimits, Place, connections_that_fit
from app.api.http.middleware import RequestContext
from app.client_addresses import TrustedProxies, counted_address, forwarded_scheme, read_networks
from app.errors import ConfigurationError
from app.settings import load_settings


@dataclass(eq=False)
class Line:
    """A connection that is only counted."""

    limits: ConnectionLimits
    works_for_a_tenant: bool = False
    dropped: bool = False

    def drop(self) -> None:
        self.dropped = True


def limits(*, of_address: int = 3, most: int = 10, trusted: str = "") -> ConnectionLimits:
    return ConnectionLimits(of_address=of_address, trusted=TrustedProxies(read_networks(trusted)), most=most)


def test_an_address_at_its_limit_gets_places_of_the_reserve_and_others_still_get_ordinary_ones() -> None:
    counted = limits()
    lines = [Line(counted) for _ in range(5)]
    assert [counted.take(line, "192.0.2.1") for line in lines] == [Place.ORDINARY] * 3 + [Place.OVER_ADDRESS_LIMIT] * 2
    assert counted.take(Line(counted), "192.0.2.2") is Place.ORDINARY
    counted.release(lines[0])
    counted.release(lines[0])
    assert counted.take(Line(counted), "192.0.2.1") is Place.ORDINARY
    assert not any(line.dropped for line in lines)


def test_addresses_of_one_ipv6_network_and_both_forms_of_an_ipv4_address_count_as_one() -> None:
    counted = limits(of_address=1)
    assert counted.take(Line(counted), "2001:db8:0:1::1") is Place.ORDINARY
    assert counted.take(Line(counted), "2001:db8:0:1:ffff::9%eth0") is Place.OVER_ADDRESS_LIMIT
    assert counted.take(Line(counted), "2001:db8:0:2::1") is Place.ORDINARY
    assert counted.take(Line(counted), "192.0.2.7") is Place.ORDINARY
    assert counted.take(Line(counted), "::ffff:192.0.2.7") is Place.OVER_ADDRESS_LIMIT
    assert counted_address("a socket of the system") == "a socket of the system"


def test_a_trusted_proxy_and_a_limit_of_zero_have_no_limit() -> None:
    behind = limits(of_address=1, trusted="10.0.0.0/8, 2001:db8::5")
    assert [behind.take(Line(behind), "10.1.2.3") for _ in range(3)] == [Place.ORDINARY] * 3
    assert [behind.take(Line(behind), "::ffff:10.1.2.3") for _ in range(2)] == [Place.ORDINARY] * 2
    off = limits(of_address=0)
    assert [off.take(Line(off), "192.0.2.1") for _ in range(9)] == [Place.ORDINARY] * 9


def test_when_all_places_are_taken_the_connection_that_rested_longest_makes_room() -> None:
    counted = limits(of_address=0, most=3)
    first, working, last = Line(counted), Line(counted, works_for_a_tenant=True), Line(counted)
    for line in (working, first, last):
        counted.take(line, "192.0.2.1")
    counted.rest(first)
    assert counted.take(Line(counted, works_for_a_tenant=True), "192.0.2.9") is Place.ORDINARY
    assert (first.dropped, working.dropped, last.dropped) == (False, False, True)
    assert counted.ordinary == 3


def test_when_every_place_works_for_a_tenant_a_new_connection_gets_the_reserve() -> None:
    counted = limits(of_address=0, most=70)
    lines = [Line(counted, works_for_a_tenant=True) for _ in range(70)]
    for line in lines:
        counted.take(line, "192.0.2.1")
    assert counted.take(Line(counted), "192.0.2.2") is Place.OVER_ALL
    assert not any(line.dropped for line in lines)


def test_the_reserve_closes_its_oldest_connection_and_one_address_cannot_fill_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "RESERVED", 4)
    monkeypatch.setattr(connections, "RESERVED_OF_ADDRESS", 2)
    counted = limits(of_address=1)
    flood = [Line(counted) for _ in range(6)]
    for line in flood:
        counted.take(line, "192.0.2.1")
    assert [line.dropped for line in flood] == [False, True, True, True, False, False]
    assert counted.reserved == 2
    for host in ("192.0.2.2", "192.0.2.3", "192.0.2.4"):
        counted.take(Line(counted), host)
        counted.take(Line(counted), host)
    assert counted.reserved == 4
    assert flood[4].dropped


def test_connections_leave_room_for_other_files() -> None:
    assert connections_that_fit(8192) == connections.MAX_CONNECTIONS
    assert connections_that_fit(1024) == 512
    assert connections_that_fit(200) == 64


@pytest.mark.parametrize(
    ("headers", "client"),
    [
        ([], None),
        ([b"203.0.113.5"], "203.0.113.5"),
        ([b"198.51.100.1, 203.0.113.5"], "203.0.113.5"),
        ([b"198.51.100.1", b"203.0.113.5, 10.0.0.9"], "203.0.113.5"),
        ([b"203.0.113.5:4711"], "203.0.113.5"),
        ([b"[2001:db8::7]:443"], "2001:db8::7"),
        ([b"10.0.0.8, 10.0.0.9"], "10.0.0.8"),
        ([b"203.0.113.5, unknown"], None),
        ([b"\xff\xfe, 10.0.0.9"], "10.0.0.9"),
    ],
)
def test_the_last_forwarded_address_that_no_trusted_proxy_has_is_the_client(
    headers: list[bytes], client: str | None
) -> None:
    trusted = TrustedProxies([ip_network("10.0.0.0/8")])
    assert trusted.forwarded_client([(b"x-forwarded-for", value) for value in headers]) == client


def test_the_scheme_is_the_last_one_that_is_forwarded() -> None:
    assert forwarded_scheme([(b"x-forwarded-proto", b"https")]) == "https"
    assert forwarded_scheme([(b"x-forwarded-proto", b"https, HTTP")]) == "http"
    assert forwarded_scheme([(b"x-forwarded-proto", b"gopher")]) is None
    assert forwarded_scheme([]) is None


@pytest.mark.parametrize("value", ["10.0.0.1/8", "proxy.example", "10.0.0.0/33, ::1"])
def test_a_proxy_that_is_no_network_stops_the_start_with_its_name(value: str) -> None:
    with pytest.raises(ConfigurationError, match="KSEFD_TRUSTED_PROXIES: '"):
        load_settings(trusted_proxies=value)


@pytest.mark.parametrize(
    ("peer", "client", "scheme"), [("10.0.0.9", "203.0.113.5", "https"), ("198.51.100.1", "198.51.100.1", "http")]
)
async def test_forwarding_headers_are_believed_from_a_trusted_proxy_only(peer: str, client: str, scheme: str) -> None:
    seen: list[tuple[str, str]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append((scope["ksefd"]["client"], scope["scheme"]))

    async def nothing(*_: Any) -> Any: ...

    headers = [(b"x-forwarded-for", b"198.51.100.7, 203.0.113.5"), (b"x-forwarded-proto", b"https")]
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/livez",
        "scheme": "http",
        "client": (peer, 1),
        "headers": headers,
    }
    await RequestContext(app, trusted=TrustedProxies(read_networks("10.0.0.0/8")))(scope, nothing, nothing)
    assert seen == [(client, scheme)]
