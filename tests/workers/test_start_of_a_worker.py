"""The start of a worker process when the database goes away in between."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from app.checking.service import CheckService
from app.settings import Settings
from app.store.database_errors import DatabaseUnavailable
from app.store.store import Store
from workers import runtime


class Reached(Exception):
    """The store was opened a second time."""


async def test_a_worker_whose_database_goes_away_while_it_opens_waits_for_it_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps: list[str] = []

    async def waits(_: Settings) -> None:
        steps.append("waits")

    @asynccontextmanager
    async def opens(*_: Any, **__: Any) -> AsyncIterator[Store]:
        steps.append("opens")
        if steps.count("opens") == 1:
            raise DatabaseUnavailable("the database does not answer")
        raise Reached
        yield

    monkeypatch.setattr("workers.runtime.wait_for_installation", waits)
    monkeypatch.setattr("workers.runtime.open_store", opens)
    with pytest.raises(Reached):
        await runtime._run(Settings(), cast("CheckService", None))
    assert steps == ["waits", "opens", "waits", "opens"]
