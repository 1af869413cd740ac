"""The command tree and what becomes of failures."""

import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
import typer.main
from typer.core import TyperGroup
from typer.testing import CliRunner

from app.cli.exit_codes import DENIED, UNEXPECTED, UNREACHABLE, USAGE, UsageProblem, exit_code_of
from app.cli.main import app
from app.errors import ConfigurationError, Conflict, DispatchError, NotFound, TryLater
from app.ksef.errors import CertificateUnusable, ServerFailed
from app.store.database_errors import DatabaseUnavailable
from tests.app.cli.conftest import Ksefd

COMMANDS = [
    "serve", "api", "worker", "sandbox", "demo", "migrate", "tenant add", "tenant list", "tenant show",
    "tenant disable", "tenant enable", "key create", "key list", "key revoke", "auth check", "submit", "validate",
    "status", "upo",
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(ksefd: Ksefd, command: str) -> None:
    ran = ksefd(*command.split(), "--help")
    assert ran.code == 0
    assert f"ksefd {command}" in ran.out


def test_help_loads_nothing_heavy() -> None:
    probe = (
        "import sys; from app.cli.main import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'httpx', 'psycopg', 'lxml', 'pydantic', 'sqlalchemy', 'fastapi', 'cryptography'}\n"
        "sys.exit(' '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Exit codes" in done.stdout


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigurationError("x"), USAGE),
        (CertificateUnusable("x"), USAGE),
        (UsageProblem("x"), USAGE),
        (NotFound("x"), DENIED),
        (Conflict("x"), DENIED),
        (TryLater("x"), UNREACHABLE),
        (DatabaseUnavailable("x"), UNREACHABLE),
        (ServerFailed("x"), UNREACHABLE),
        (DispatchError("x"), UNEXPECTED),
    ],
)
def test_the_exit_code_tells_whose_fault_it_is(error: DispatchError, code: int) -> None:
    assert exit_code_of(error) == code


def test_a_failure_is_one_line_without_a_traceback(ksefd: Ksefd) -> None:
    ran = ksefd("status", url="ftp://nowhere", api_key="x")
    assert ran.code == USAGE
    assert ran.out == ""
    assert ran.err == "ksefd: KSEFD_URL: must start with http:// or https://\n"


def test_debug_shows_where_a_failure_comes_from(ksefd: Ksefd) -> None:
    ran = ksefd("status", url="ftp://nowhere", api_key="x", log_level="DEBUG")
    assert ran.code == USAGE
    assert "Traceback" in ran.err


def test_an_unexpected_failure_is_one_line_too(ksefd: Ksefd, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: object) -> None:
        raise RuntimeError("the roof is on fire")

    monkeypatch.setattr("app.cli.actions.status.show_recent", broken)
    ran = ksefd("status")
    assert ran.code == UNEXPECTED
    assert "RuntimeError: the roof is on fire" in ran.err
    assert "Traceback" not in ran.err


def test_an_unknown_command_is_wrong_usage(ksefd: Ksefd) -> None:
    assert ksefd("sumbit").code == USAGE


def test_the_version_is_printed(ksefd: Ksefd) -> None:
    assert ksefd("--version").out == "ksefd 0.1.0\n"


def _paths(command: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(command, TyperGroup):
        for name, inner in command.commands.items():
            yield from _paths(inner, (*path, name))


def test_every_help_fits_into_80_columns_and_nothing_is_cut() -> None:
    known = list(_paths(typer.main.get_command(app)))
    assert len(known) > 40
    for path in known:
        text = CliRunner(env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"}).invoke(app, [*path, "--help"]).output
        assert max(map(len, text.splitlines())) <= 80, path
        assert "…" not in text, path
        words = re.split(r"\n [╭\n]", text)[0]
        short = [
            line for line in words.splitlines()[3:-1] if 0 < len(line.rstrip()) < 50 and line.rstrip()[-1] not in ".:)"
        ]
        assert short == [], path
