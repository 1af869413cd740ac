"""Fixtures that every test may ask for, and the record of everything that any of them says to a sandbox."""

import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import hypothesis
import pytest
import pytest_asyncio

from app.settings import Settings
from app.store.store import Store, open_store
from sandbox.main import RECORD_VARIABLE
from tests.support.database import fresh_settings, make_database, running_postgres

# A busy machine must not fail a property by its speed. Where everybody waits for the outcome the examples are the same each
# time, so that a change is judged by itself; whoever runs the tests at home looks for new ones.
hypothesis.settings.register_profile(
    "ours",
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("ours")

RECORDED = pytest.StashKey[Path]()
JUDGED_LAST = "test_recorded_traffic.py"


def pytest_configure(config: pytest.Config) -> None:
    """Let every sandbox process of this run record what it hears, whoever starts it: tests, the demo, a benchmark."""
    folder = Path(tempfile.mkdtemp(prefix="ksef-recorded-"))
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # Started in the background by a shell that ignores Ctrl-C: the programs under test would inherit that.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.stash[RECORDED] = folder
    os.environ[RECORD_VARIABLE] = str(folder)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Forget what was recorded."""
    shutil.rmtree(config.stash[RECORDED], ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Judge the record when all others have added to it."""
    items.sort(key=lambda item: item.path.name == JUDGED_LAST)


@pytest.fixture
def recorded(pytestconfig: pytest.Config) -> Path:
    """The folder of what sandboxes recorded in this run."""
    return pytestconfig.stash[RECORDED]


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The address of one embedded server for the whole run.

    Not below pytest's own folder: another run makes that private again, and as root the server is another user.
    """
    with tempfile.TemporaryDirectory(prefix="ksefd-tests-") as folder, running_postgres(Path(folder)) as url:
        yield url


@pytest.fixture
def settings(tmp_path: Path, postgres_url: str) -> Settings:
    """Settings of a service with a database and a data folder of its own."""
    return fresh_settings(tmp_path, make_database(postgres_url))


@pytest_asyncio.fixture
async def store(settings: Settings) -> AsyncIterator[Store]:
    """A store on an empty database."""
    async with open_store(settings) as opened:
        yield opened
