"""The embedded server: started once, found again, stopped by whoever leaves last, and proof against kills."""

import os
import signal
from pathlib import Path

import psutil
import psycopg
import pytest

from app.store.embedded import EmbeddedPostgres

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
