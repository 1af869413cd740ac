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
from tests.support.database import ReusedDatabase, drop_database, fresh_settings, make_database, running_postgres
from tests.support.run import RUN_FOLDER_VARIABLE
from tests.support.second_user import left_out
from tests.support.shared_tls import share_tls_contexts

# A busy machine must not fail a property by its speed. Where everybody waits for the outcome the examples are the same each
# time, so that a change is judged by itself; whoever runs the tests at home looks for new ones.
hypothesis.settings.register_profile(
    "ours",
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("ours")
share_tls_contexts()

OWNED = pytest.StashKey[Path]()
FIRST = ("tests/road/", "tests/benchmarks/", "tests/hostile/")
"""Files that take longest: begun last, one of them would keep a single process busy at the end."""
JUDGED_LAST = "test_recorded_traffic.py"


def pytest_configure(config: pytest.Config) -> None:
    """Let every sandbox process of this run record what it hears, whoever starts it: tests, the demo, a benchmark."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # Started in the background by a shell that ignores Ctrl-C: the programs under test would inherit that.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if RUN_FOLDER_VARIABLE not in os.environ:
        # Not below pytest's own folder: another run makes that private again, and as root the server is another user.
        config.stash[OWNED] = Path(tempfile.mkdtemp(prefix="ksefd-tests-"))
        os.environ[RUN_FOLDER_VARIABLE] = str(config.stash[OWNED])
    recorded = _run_folder() / "recorded"
    recorded.mkdir(exist_ok=True)
    os.environ[RECORD_VARIABLE] = str(recorded)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one line what was not attempted because there is no second user on this machine."""
    if (missing := left_out(_run_folder())) and not hasattr(terminalreporter.config, "workerinput"):
        terminalreporter.write_line(f"not attempted without a second user (run as root for it): {'; '.join(missing)}")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the folder of the run where this process made it."""
    if OWNED in config.stash:
        os.environ.pop(RUN_FOLDER_VARIABLE)
        shutil.rmtree(config.stash[OWNED], ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, and judge the record when all others have added to it."""
    items.sort(key=lambda item: (item.path.name == JUDGED_LAST, not item.nodeid.startswith(FIRST)))


def _run_folder() -> Path:
    return Path(os.environ[RUN_FOLDER_VARIABLE])


@pytest.fixture
def recorded() -> Path:
    """The folder of what sandboxes recorded in this run."""
    return _run_folder() / "recorded"


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The address of the server of this process."""
    with running_postgres(_run_folder() / "servers") as url:
        yield url


@pytest.fixture(scope="session")
def reused_database(postgres_url: str) -> Iterator[ReusedDatabase]:
    """The database that this process gives to one test after the other."""
    database = ReusedDatabase(postgres_url)
    yield database
    database.drop()


@pytest.fixture
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of an empty database: the reused one, or a new one for a test that is marked `own_database`."""
    if request.node.get_closest_marker("own_database") is None:
        reused: ReusedDatabase = request.getfixturevalue("reused_database")
        yield reused.url
        reused.empty()
        return
    server_url = request.getfixturevalue("postgres_url")
    url = make_database(server_url)
    yield url
    drop_database(server_url, url)


@pytest.fixture
def settings(tmp_path: Path, database: str) -> Settings:
    """Settings of a service with an empty database and a data folder of its own."""
    return fresh_settings(tmp_path, database)


@pytest_asyncio.fixture
async def store(settings: Settings) -> AsyncIterator[Store]:
    """A store on an empty database."""
    async with open_store(settings) as opened:
        yield opened
