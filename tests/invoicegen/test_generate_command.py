import tarfile
import zipfile
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from invoicegen.generate import main

application = typer.Typer()
application.command()(main)


def run(*arguments: str) -> str:
    result = CliRunner().invoke(application, list(arguments))
    assert result.exit_code == 0, result.output
    return result.output


def test_the_command_writes_an_archive_and_prints_rate_and_sizes(tmp_path: Path) -> None:
    out = tmp_path / "invoices.zip"
    printed = run("--count", "50", "--out", str(out), "--seed", "4", "--date", "2026-11-22")
    assert len(zipfile.ZipFile(out).namelist()) == 50
    assert "a second" in printed
    assert "median" in printed


@pytest.mark.parametrize("form", ["targz", "ndjson", "folder"])
def test_every_format_can_be_asked_for(tmp_path: Path, form: str) -> None:
    out = tmp_path / "out"
    run("--count", "7", "--out", str(out), "--format", form, "--profile", "small", "--nip", "5260250274")
    if form == "targz":
        with tarfile.open(out) as archive:
            assert len(archive.getnames()) == 7
    elif form == "ndjson":
        assert len(out.read_bytes().splitlines()) == 7
    else:
        assert len(list(out.iterdir())) == 7


def test_a_wrong_nip_is_one_clear_line(tmp_path: Path) -> None:
    result = CliRunner().invoke(application, ["--out", str(tmp_path / "x"), "--nip", "12"])
    assert result.exit_code == 2
    assert "ten digits" in result.output
