"""Checks the addresses of webhooks: well-formed web addresses of machines on the public internet.

A tenant chooses the address, and must not reach the installation's own network through the service. The text is checked when an
endpoint is registered; `app.webhooks.network` checks the addresses of its name at every connection, because a name can change
its address at any time.

Source of the ranges: the special-purpose registries of IANA for IPv4 and IPv6 (RFC 6890 and its updates).
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import ClassVar, Final

import httpx

from app.errors import RequestError

MAX_URL_CHARACTERS: Final = 2_048
_LOWEST_FREE_PORT: Final = 1_024
_WEB_PORTS: Final = frozenset({80, 443})

_REFUSED_V4: Final = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared by carriers (CGNAT); one cloud's metadata service too
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # a cloud's host agent, public by its number only
        "169.254.0.0/16",  # link-local; the metadata services of most clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # automatic multicast tunnels
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)

# Only this block is assigned for the public internet. Loopback, link-local, unique local, multicast, IPv4-mapped and
# NAT64 (64:ff9b::/96) addresses all lie outside.
_GLOBAL_V6: Final = IPv6Network("2000::/3")
_REFUSED_V6: Final = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # protocol assignments: Teredo, ORCHID, benchmarks
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: can contain any IPv4 address
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)

_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
# The last label of a name that some resolvers read as an IPv4 address: decimal, octal or hexadecimal.
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_LOCAL_SUFFIXES: Final = (".localhost", ".local", ".internal", ".home.arpa", ".lan", ".onion")


class InvalidWebhookUrl(RequestError):
    """The webhook address cannot be used; `detail` says why."""

    status: ClassVar[int] = 422
    code: ClassVar[str] = "invalid-webhook-url"
    title: ClassVar[str] = "Invalid webhook address"


@dataclass(frozen=True, slots=True)
class AddressRules:
    """Exceptions that this installation permits. Both are false outside tests and demos."""

    allow_http: bool = False
    allow_private: bool = False

    def permits(self, address: IPv4Address | IPv6Address) -> bool:
        """Return whether a connection to this address may be made."""
        return self.allow_private or is_public(address)


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Return whether an address belongs to the public internet, in a form that cannot contain another address."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _REFUSED_V4)
    if address.scope_id is not None:
        return False
    return address in _GLOBAL_V6 and not any(address in network for network in _REFUSED_V6)


def checked_url(text: str, rules: AddressRules) -> httpx.URL:
    """Parse and check a webhook address as the sender will read it. Raises InvalidWebhookUrl. A name is not resolved."""
    if len(text) > MAX_URL_CHARACTERS:
        raise InvalidWebhookUrl(f"the address is longer than {MAX_URL_CHARACTERS} characters")
    if any(character <= " " or character in "\\\x7f" for character in text):
        raise InvalidWebhookUrl("the address has a space, a backslash or a control character")
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, UnicodeError) as error:
        raise InvalidWebhookUrl(f"the address cannot be read: {error}") from error
    _check_scheme(url, rules)
    if url.userinfo or "@" in text.partition("://")[2].partition("/")[0]:
        raise InvalidWebhookUrl("the address must not carry a user name or password; verify the signature instead")
    if url.fragment or "#" in text:
        raise InvalidWebhookUrl("the address must not have a fragment (#): it is never sent")
    _check_port(url, rules)
    _check_host(url.raw_host.decode("ascii"), rules)
    return url


def _check_scheme(url: httpx.URL, rules: AddressRules) -> None:
    if url.scheme == "https" or (url.scheme == "http" and rules.allow_http):
        return
    raise InvalidWebhookUrl("the address must start with https://")


def _check_port(url: httpx.URL, rules: AddressRules) -> None:
    port = url.port
    if port is None or port in _WEB_PORTS:
        return
    if not 0 < port < 65_536:
        raise InvalidWebhookUrl(f"there is no port {port}")
    if port < _LOWEST_FREE_PORT and not rules.allow_private:
        raise InvalidWebhookUrl(f"port {port} belongs to another service; use 443, or one from {_LOWEST_FREE_PORT} up")


def _check_host(host: str, rules: AddressRules) -> None:
    literal = _literal(host)
    if literal is not None:
        if not rules.permits(literal):
            raise InvalidWebhookUrl(f"{literal} is not an address on the public internet")
        return
    name = host.removesuffix(".").lower()
    labels = name.split(".")
    if not name or len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise InvalidWebhookUrl("the address has no valid host name")
    if _NUMBER.fullmatch(labels[-1]):
        raise InvalidWebhookUrl("write an IPv4 address as four decimal numbers without leading zeros")
    is_local = len(labels) == 1 or f".{name}".endswith(_LOCAL_SUFFIXES)
    if is_local and not rules.allow_private:
        raise InvalidWebhookUrl(f"{name!r} is a name of a local network")


def _literal(host: str) -> IPv4Address | IPv6Address | None:
    if ":" not in host:
        try:
            return IPv4Address(host)
        except ValueError:
            return None
    try:
        address = ip_address(host)
    except ValueError as error:
        raise InvalidWebhookUrl("the IPv6 address cannot be read") from error
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise InvalidWebhookUrl("an IPv6 address with a zone (%) is not on the public internet")
    return address
