"""Running `ksefd` inside the test's process, through its real entry."""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from app.cli.main import main
from app.settings import Settings


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one line of JSON on stdout."""
        (line,) = self.out.splitlines()
        return json.loads(line)


Ksefd = Callable[..., Ran]


@pytest.fixture
def ksefd(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ksefd:
    """Run a command line; keyword arguments are settings, such as `url="http://..."`."""
    for name in ("KSEFD_CONFIG", "KSEFD_API_KEY", "KSEFD_URL", "KSEFD_DATABASE_URL", "KSEFD_LOG_LEVEL"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str, **settings: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["ksefd", *arguments])
        with monkeypatch.context() as changed:
            for name, value in settings.items():
                changed.setenv(f"KSEFD_{name.upper()}", value)
            before = os.umask(0o022)
            try:
                with pytest.raises(SystemExit) as ended:
                    main()
            finally:
                os.umask(before)
        captured = capsys.readouterr()
        code = ended.value.code
        return Ran(code if isinstance(code, int) else 0, captured.out, captured.err)

    return run


@pytest.fixture
def on_database(ksefd: Ksefd, settings: Settings) -> Ksefd:
    """Run a command line on an empty database."""

    def run(*arguments: str, **others: str) -> Ran:
        return ksefd(*arguments, database_url=settings.database_url or "", data_dir=str(settings.data_dir), **others)

    return run
