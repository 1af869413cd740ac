"""Streams that cannot hold everything, and readers that leave."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.cli.output import OutputClosed, prepare_streams, print_error, print_json, stdout_console
from tests.app.cli.conftest import Ksefd

KSEFD = [sys.executable, "-m", "app.cli.main"]


@pytest.mark.parametrize("encoding", ["ascii", "cp1250", "iso8859-2"])
def test_what_the_encoding_cannot_hold_is_replaced(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding, errors="strict"))
    prepare_streams()
    stdout_console().print("źle – ✓ 日")
    sys.stdout.flush()
    assert raw.getvalue().decode(encoding).endswith("?\n")


@pytest.mark.parametrize("encoding", ["ascii", "cp1250", "utf-8"])
def test_json_is_whole_in_every_encoding(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding, errors="strict"))
    prepare_streams()
    print_json({"name": "źdźbło 日 \udcff"})
    assert json.loads(raw.getvalue().decode(encoding)) == {"name": "źdźbło 日 \udcff"}


def test_an_error_is_one_line_without_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    print_error("no\nsuch\x1b[2J file")
    assert capsys.readouterr().err == "ksefd: no such\\x1b[2J file\n"


def test_a_verdict_is_given_in_an_encoding_that_cannot_hold_the_name_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "zażółć – gęślą.xml").write_text("<x/>")
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "LANG": "C"}
    done = subprocess.run(
        [*KSEFD, "validate", str(tmp_path), "--lang", "pl"], check=False, capture_output=True, env=environment
    )
    assert done.returncode == 1
    assert b"za???? ? g??l?.xml:1: " in done.stdout
    assert done.stdout.splitlines()[-1].startswith(b"1 checked: ")


def test_a_reader_that_has_left_ends_the_command_quietly() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*KSEFD, "--version"], check=False, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_reader_that_leaves_a_table_ends_it_quietly(ksefd: Ksefd, monkeypatch: pytest.MonkeyPatch) -> None:
    dropped: list[bool] = []

    def show(**_: object) -> None:
        raise OutputClosed

    monkeypatch.setattr("app.cli.actions.status.show_recent", show)
    monkeypatch.setattr("app.cli.main.drop_output", lambda: dropped.append(True))
    ran = ksefd("status")
    assert (ran.code, ran.out, ran.err, dropped) == (141, "", "", [True])


def test_a_disk_that_is_full_is_one_line(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([*KSEFD, "--version"], check=False, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 5
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("ksefd: ")
    assert "No space left on device" in line


def test_a_stream_that_was_closed_before_the_start_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    prepare_streams()
    stdout_console().print("nowhere")
    print_json({"to": "nowhere"})
    sys.stdout.close()
