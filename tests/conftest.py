"""Fixtures that every test may ask for."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from app.settings import Settings
from app.store.store import Store, open_store
from tests.support.database import fresh_settings, make_database, running_postgres


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of one embedded server for the whole run."""
    with running_postgres(tmp_path_factory.mktemp("postgres")) as url:
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
