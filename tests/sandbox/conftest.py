"""One sandbox process for all of these tests, and clients of it whose every answer is held against the contract."""

from collections.abc import Callable, Iterator
from contextlib import closing

import httpx
import pytest

from tests.support.ksef_by_hand import HandClient
from tests.support.ksef_contract import KsefContract, load_contract
from tests.support.sandbox_process import SandboxHandle, running_sandbox
from tests.support.third_party_sdk import Sdk, third_party_sdk


@pytest.fixture(scope="session")
def shared_sandbox() -> Iterator[SandboxHandle]:
    """A sandbox that tests share; each uses a NIP of its own and none resets it or moves its clock."""
    with running_sandbox(max_invoices=50) as handle:
        yield handle


@pytest.fixture(scope="session")
def contract() -> KsefContract | None:
    """The official contract, if it is at hand."""
    return load_contract()


@pytest.fixture
def another(shared_sandbox: SandboxHandle, contract: KsefContract | None) -> Iterator[Callable[[], HandClient]]:
    """Makes clients that have not logged in, each with a NIP of its own."""
    made: list[HandClient] = []

    def make() -> HandClient:
        made.append(HandClient(shared_sandbox.base_url))
        if contract is not None:
            made[-1].http.event_hooks = {"response": [contract.check]}
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def stranger(another: Callable[[], HandClient]) -> HandClient:
    """A client that has not logged in."""
    return another()


@pytest.fixture
def client(another: Callable[[], HandClient]) -> HandClient:
    """A client logged in as the owner of its NIP."""
    return another().login()


@pytest.fixture
def control(own: SandboxHandle) -> Iterator[httpx.Client]:
    """The control API of a sandbox that a module has for itself, by a fixture `own`; the sandbox has been emptied."""
    with httpx.Client(base_url=own.control_url, timeout=60) as client:
        assert client.post("/reset").status_code == 204
        yield client


@pytest.fixture
def owner(own: SandboxHandle, control: httpx.Client) -> Iterator[HandClient]:
    """A client logged in to a module's own sandbox, which was emptied before."""
    with closing(HandClient(own.base_url)) as client:
        yield client.login()


@pytest.fixture
def sdk(shared_sandbox: SandboxHandle, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sdk]:
    """A client that others wrote and others use."""
    with third_party_sdk(shared_sandbox, monkeypatch) as made:
        yield made
