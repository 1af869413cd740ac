"""Fixtures for the whole road: a sandbox for the run, and a service that nobody harms for the tests that need none of that."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.sandbox_process import SandboxHandle, running_sandbox
from tests.support.service_process import ServiceHandle, running_service


@pytest.fixture(scope="session")
def sandbox_of_the_run() -> Iterator[SandboxHandle]:
    with running_sandbox(log_level="error") as handle:
        yield handle


@pytest.fixture
def sandbox(sandbox_of_the_run: SandboxHandle) -> Iterator[SandboxHandle]:
    """The sandbox without faults; what it accepted in earlier tests is of other sellers."""
    yield sandbox_of_the_run
    httpx.delete(f"{sandbox_of_the_run.control_url}/faults").raise_for_status()


@pytest.fixture(scope="session")
def calm_service(
    sandbox_of_the_run: SandboxHandle, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServiceHandle]:
    """A service that lives through all tests that leave it in peace. Bodies of up to 100 MB are taken."""
    settings: dict[str, Any] = {
        "webhook_allow_http": True,
        "webhook_allow_private": True,
        "max_upload_bytes": 100_000_000,
    }
    with running_service(tmp_path_factory.mktemp("calm"), sandbox_of_the_run, **settings) as handle:
        yield handle
