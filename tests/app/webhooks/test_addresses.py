"""Which addresses a webhook may have."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.webhooks.addresses import AddressRules, InvalidWebhookUrl, checked_url, is_public

STRICT = AddressRules()
OPEN = AddressRules(allow_http=True, allow_private=True)

PUBLIC = [
    "https://erp.example.pl/hooks/ksef?key=1",
    "https://erp.example.pl.:8443/",
    "https://żabka.example.pl/ścieżka",
    "https://93.184.215.14/x",
    "https://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]/x",
    "https://_dmarc.example.pl/",
]

REFUSED = {
    "plain http": "http://erp.example.pl/",
    "another scheme": "ftp://erp.example.pl/",
    "a file": "file:///etc/passwd",
    "no scheme": "erp.example.pl/x",
    "no host": "https:///x",
    "user and password": "https://user:secret@erp.example.pl/",
    "an empty user": "https://@erp.example.pl/",
    "a backslash before the host": "https://erp.example.pl\\@127.0.0.1/",
    "a line break": "https://erp.example.pl/\r\nx: y",
    "a space": "https://erp.example.pl/ x",
    "a fragment": "https://erp.example.pl/#x",
    "port zero": "https://erp.example.pl:0/",
    "a port that cannot be": "https://erp.example.pl:65536/",
    "a port of mail": "https://erp.example.pl:25/",
    "a port of ssh": "https://erp.example.pl:22/",
    "a word for a port": "https://erp.example.pl:https/",
    "localhost": "https://localhost/",
    "a name below localhost": "https://x.localhost/",
    "localhost with a dot": "https://localhost./",
    "localhost in capitals": "https://LOCALHOST/",
    "a single label": "https://postgres/",
    "a local name": "https://printer.local/",
    "a cloud's metadata name": "https://metadata.google.internal/",
    "loopback": "https://127.0.0.1/",
    "any loopback": "https://127.255.0.3/",
    "this network": "https://0.0.0.0/",
    "private 10": "https://10.1.2.3/",
    "private 172": "https://172.31.255.255/",
    "private 192": "https://192.168.1.1/",
    "link-local metadata": "https://169.254.169.254/latest/meta-data",
    "carrier-grade NAT": "https://100.64.0.1/",
    "metadata in carrier-grade NAT": "https://100.100.100.200/",
    "a cloud's host agent": "https://168.63.129.16/",
    "multicast": "https://224.0.0.1/",
    "broadcast": "https://255.255.255.255/",
    "reserved": "https://240.0.0.1/",
    "benchmarks": "https://198.18.0.1/",
    "documentation": "https://203.0.113.7/",
    "decimal": "https://2130706433/",
    "hexadecimal": "https://0x7f000001/",
    "hexadecimal dotted": "https://0x7f.0x0.0x0.0x1/",
    "octal": "https://0177.0.0.1/",
    "octal in one": "https://017700000001/",
    "short": "https://127.1/",
    "mixed": "https://127.0x1/",
    "decimal with a dot": "https://2130706433./",
    "dotted with a dot": "https://127.0.0.1./",
    "full-width digits": "https://１２７.0.0.1/",
    "ideographic dots": "https://127。0。0。1/",
    "escaped": "https://127%2e0%2e0%2e1/",
    "IPv6 loopback": "https://[::1]/",
    "IPv6 unspecified": "https://[::]/",
    "IPv6 link-local": "https://[fe80::1]/",
    "IPv6 with a zone": "https://[fe80::1%25eth0]/",
    "public IPv6 with a zone": "https://[2606:2800:21f::1%25eth0]/",
    "IPv6 unique local": "https://[fd00:ec2::254]/",
    "IPv6 multicast": "https://[ff02::1]/",
    "IPv4-mapped loopback": "https://[::ffff:127.0.0.1]/",
    "IPv4-mapped in hex": "https://[::ffff:7f00:1]/",
    "IPv4-mapped public": "https://[::ffff:93.184.215.14]/",
    "IPv4-compatible": "https://[::127.0.0.1]/",
    "NAT64": "https://[64:ff9b::7f00:1]/",
    "local NAT64": "https://[64:ff9b:1::7f00:1]/",
    "6to4": "https://[2002:7f00:1::]/",
    "Teredo": "https://[2001:0:7f00:1::1]/",
    "IPv6 documentation": "https://[2001:db8::1]/",
    "an unclosed bracket": "https://[::1",
    "empty labels": "https://erp..example.pl/",
    "a label with a dash in front": "https://-erp.example.pl/",
    "a very long name": f"https://{'a' * 64}.example.pl/",
    "a very long address": f"https://erp.example.pl/{'a' * 2048}",
    "nothing": "",
}


@pytest.mark.parametrize("text", PUBLIC)
def test_a_public_address_is_taken(text: str) -> None:
    assert checked_url(text, STRICT).scheme == "https"


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED.keys())
def test_an_address_that_could_reach_inside_is_refused(text: str) -> None:
    with pytest.raises(InvalidWebhookUrl) as caught:
        checked_url(text, STRICT)
    assert "secret" not in caught.value.detail


@pytest.mark.parametrize(
    "text", ["http://127.0.0.1:9000/x", "http://localhost:80/", "https://[::1]:9443/", "http://10.0.0.5:631/"]
)
def test_tests_and_demos_can_open_private_addresses_and_http(text: str) -> None:
    checked_url(text, OPEN)


@pytest.mark.parametrize(
    "text", ["http://2130706433/", "http://u:p@127.0.0.1/", "ftp://127.0.0.1/", "http://127.0.0.1:0/"]
)
def test_an_open_installation_still_refuses_what_is_ambiguous(text: str) -> None:
    with pytest.raises(InvalidWebhookUrl):
        checked_url(text, OPEN)


def test_each_permission_opens_its_own_door_only() -> None:
    with pytest.raises(InvalidWebhookUrl):
        checked_url("http://127.0.0.1/", AddressRules(allow_http=True))
    with pytest.raises(InvalidWebhookUrl):
        checked_url("http://127.0.0.1/", AddressRules(allow_private=True))


@given(st.ip_addresses(v=4))
def test_an_address_the_standard_library_calls_private_is_never_public_to_us(address: IPv4Address) -> None:
    if is_public(address):
        assert address.is_global
        assert not address.is_multicast


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_in_ipv6_disguise_is_never_public(address: IPv4Address) -> None:
    number = int(address)
    for disguise in (
        0xFFFF << 32 | number,  # mapped
        number,  # compatible
        0x64FF9B << 96 | number,  # NAT64
        0x2002 << 112 | number << 80,  # 6to4
        0x20010000 << 96 | number,  # Teredo
    ):
        assert not is_public(IPv6Address(disguise))


@given(st.ip_addresses(v=6))
def test_only_global_unicast_ipv6_is_public(address: IPv6Address) -> None:
    if is_public(address):
        assert address in IPv6Network("2000::/3")
        assert address.is_global


def test_known_public_resolvers_are_public() -> None:
    assert all(
        is_public(ip_address(text)) for text in ("1.1.1.1", "8.8.8.8", "9.9.9.9", "2620:fe::fe", "2606:4700:4700::1111")
    )
