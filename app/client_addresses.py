"""Reads client addresses: the one that limits count, and the one that a trusted proxy forwards."""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, TypeAlias

Network: TypeAlias = IPv4Network | IPv6Network

_SUBSCRIBER_BITS: Final = 64
"""Length of the IPv6 prefix of one subscriber, who can use every address in it."""

_SCHEMES: Final = frozenset({"http", "https"})
_MOST_HOPS: Final = 64


def read_networks(text: str) -> tuple[Network, ...]:
    """Parse addresses and networks that are separated by commas or blanks. Raises ValueError that names the wrong one."""
    networks = []
    for item in text.replace(",", " ").split():
        try:
            networks.append(ip_network(item))
        except ValueError as error:
            raise ValueError(f"{item[:60]!r} is neither an address nor a network: {error}") from error
    return tuple(networks)


@lru_cache(maxsize=4096)
def counted_address(host: str) -> str:
    """Return the form of an address that limits count: an IPv4 address, or the /64 of an IPv6 address."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ip_network((int(address), _SUBSCRIBER_BITS), strict=False))
    return str(address)


class TrustedProxies:
    """The proxies whose forwarding headers are believed."""

    def __init__(self, networks: Iterable[Network]) -> None:
        self._networks = tuple(networks)
        self._known: dict[str, bool] = {}

    def __bool__(self) -> bool:
        """Whether any proxy is trusted."""
        return bool(self._networks)

    def trusts(self, host: str) -> bool:
        """Return whether an address is one of the proxies."""
        if not self._networks:
            return False
        known = self._known.get(host)
        if known is None:
            if len(self._known) > 4096:
                self._known.clear()
            known = self._known[host] = self._is_in_a_network(host)
        return known

    def forwarded_client(self, headers: Iterable[tuple[bytes, bytes]]) -> str | None:
        """Return the client's address in `X-Forwarded-For`: the last one that no trusted proxy has; None without one.

        Entries before it were written by the client itself, so they prove nothing.
        """
        text = b",".join(value for name, value in headers if name == b"x-forwarded-for").decode("latin-1")
        client = None
        for item in reversed(text.split(",")[-_MOST_HOPS:]):
            host = _host(item.strip())
            if host is None:
                return client
            client = host
            if not self.trusts(host):
                return client
        return client

    def _is_in_a_network(self, host: str) -> bool:
        try:
            address = ip_address(host.partition("%")[0])
        except ValueError:
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._networks)


def forwarded_scheme(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Return the scheme in `X-Forwarded-Proto`, the last one of several; None without one that is known."""
    last = None
    for name, value in headers:
        if name == b"x-forwarded-proto":
            last = value
    if last is None:
        return None
    scheme = last.decode("latin-1").rpartition(",")[2].strip().lower()
    return scheme if scheme in _SCHEMES else None


def _host(text: str) -> str | None:
    """Return the address in an entry of X-Forwarded-For, which may have a port; None for anything else."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ip_address(text))
    except ValueError:
        return None
