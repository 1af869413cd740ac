"""Connections to receivers: resolved once, checked, and made to what was checked."""

import socket
import subprocess
import sys
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any

import anyio
import httpcore
import pytest

from app.webhooks import network
from app.webhooks.addresses import AddressRules
from app.webhooks.network import AddressRefused, GuardedBackend, SystemResolver, stop_sniffio_searches

PUBLIC, OTHER_PUBLIC, PRIVATE = "93.184.215.14", "2606:2800:21f::1", "10.0.0.5"


class ScriptedResolver:
    """Gives the next list of addresses at every question."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.questions: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.questions.append(host)
        return self.answers.pop(0)


class RecordingNetwork(httpcore.AsyncMockBackend):
    """Connects nowhere and remembers whereto it was asked; addresses in `dead` do not answer."""

    def __init__(self, dead: Sequence[str] = ()) -> None:
        super().__init__([])
        self.asked: list[str] = []
        self.dead = dead

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        self.asked.append(host)
        if host in self.dead:
            raise httpcore.ConnectTimeout("dead")
        return await super().connect_tcp(host, port, timeout, local_address, socket_options)


async def test_a_name_that_is_rebound_after_the_check_is_not_asked_again() -> None:
    resolver, network = ScriptedResolver([PUBLIC], [PRIVATE]), RecordingNetwork()
    await GuardedBackend(AddressRules(), resolve=resolver, inner=network).connect_tcp("erp.example.pl", 443)
    assert resolver.questions == ["erp.example.pl"]
    assert network.asked == [PUBLIC]


@pytest.mark.parametrize(
    "addresses",
    [
        [PRIVATE],
        [PUBLIC, PRIVATE],
        [PRIVATE, PUBLIC],
        [PUBLIC, OTHER_PUBLIC, PUBLIC, PUBLIC, PUBLIC, "::1"],
        ["::ffff:93.184.215.14"],
        ["fe80::1%2"],
        ["169.254.169.254"],
        ["0.0.0.0"],
    ],
)
async def test_one_private_address_condemns_the_name(addresses: list[str]) -> None:
    network = RecordingNetwork()
    guard = GuardedBackend(AddressRules(), resolve=ScriptedResolver(addresses), inner=network)
    with pytest.raises(AddressRefused):
        await guard.connect_tcp("erp.example.pl", 443)
    assert network.asked == []


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "127.1", "localhost", "::1", "127.0.0.1"])
async def test_what_the_system_reads_as_this_machine_is_refused_however_it_is_spelt(host: str) -> None:
    network = RecordingNetwork()
    with pytest.raises(httpcore.ConnectError):
        await GuardedBackend(AddressRules(), inner=network).connect_tcp(host, 443)
    assert network.asked == []


async def test_the_next_address_is_tried_when_the_first_does_not_answer() -> None:
    network = RecordingNetwork(dead=[OTHER_PUBLIC])
    guard = GuardedBackend(AddressRules(), resolve=ScriptedResolver([OTHER_PUBLIC, PUBLIC]), inner=network)
    await guard.connect_tcp("erp.example.pl", 443)
    assert network.asked == [OTHER_PUBLIC, PUBLIC]


async def test_a_name_without_addresses_cannot_be_connected_to() -> None:
    with pytest.raises(httpcore.ConnectError):
        await GuardedBackend(AddressRules(), resolve=ScriptedResolver([])).connect_tcp("erp.example.pl", 443)


async def test_a_name_that_does_not_resolve_is_an_ordinary_failure() -> None:
    async def unknown(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    with pytest.raises(httpcore.ConnectError):
        await GuardedBackend(AddressRules(), resolve=unknown).connect_tcp("erp.example.pl", 443)


async def test_a_slow_name_server_counts_against_the_time_to_connect() -> None:
    async def slow(host: str, port: int) -> Sequence[str]:
        await anyio.sleep_forever()
        return [PUBLIC]

    with pytest.raises(httpcore.ConnectTimeout):
        await GuardedBackend(AddressRules(), resolve=slow).connect_tcp("erp.example.pl", 443, timeout=0.05)


async def test_a_local_socket_is_no_receiver() -> None:
    with pytest.raises(AddressRefused):
        await GuardedBackend(AddressRules(allow_private=True)).connect_unix_socket("/run/docker.sock")


async def test_the_system_resolver_gives_every_address_once() -> None:
    found = await SystemResolver()("127.0.0.1", 80)
    assert found == ["127.0.0.1"]


def test_an_import_of_the_module_changes_nothing_in_the_process() -> None:
    code = "import sys, app.webhooks.network; sys.exit('sniffio' in sys.modules and sys.modules['sniffio'] is None)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("installed", [False, True])
def test_a_search_for_sniffio_ends_at_once_only_where_it_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, installed: bool
) -> None:
    there = ModuleType("sniffio")
    monkeypatch.setitem(sys.modules, "sniffio", there)
    monkeypatch.setattr(network, "find_spec", lambda name: object() if installed else None)
    stop_sniffio_searches()
    assert sys.modules["sniffio"] is (there if installed else None)
