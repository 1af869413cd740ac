"""Archives that other people's programs write are read, entry by entry, as they were put in."""

import gzip
import http.server
import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from app.reading.kinds import BodyKind, boundary_of, sniff

Verdicts = Callable[..., list[tuple[str, bytes | str]]]
Documents = dict[str, bytes]

ENVIRONMENT = os.environ | {"LC_ALL": "C.UTF-8"}


@pytest.fixture
def folder(tmp_path: Path) -> tuple[Path, Documents]:
    """A folder of invoices: nested, with Polish names, one empty of text and one that does not compress."""
    documents: Documents = {
        "faktura 1.xml": b"<a/>",
        "2026/listopad/zażółć gęślą.xml": b"<b>" + "ż".encode() * 30_000 + b"</b>",
        "2026/" + "głęboko/" * 12 + "x" * 120 + ".xml": b"<c/>",
        "losowa.xml": b"<d>" + os.urandom(40_000).hex().encode() + b"</d>",
    }
    root = tmp_path / "in"
    for name, content in documents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    (root / ".DS_Store").write_bytes(b"junk")
    (root / "empty folder").mkdir()
    return root, documents


def run(folder: Path, *command: str, data: bytes | None = None) -> bytes:
    if shutil.which(command[0]) is None:
        pytest.skip(f"needs {command[0]}")
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, input=data, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "command",
    [
        ["zip", "-q", "-r", "-", "."],
        ["zip", "-q", "-0", "-r", "-", "."],
        ["zip", "-q", "-fd", "-r", "-", "."],
        ["jar", "-cM", "."],
        ["jar", "-cM0", "."],
        ["bsdtar", "-c", "--format=zip", "-f", "-", "."],
    ],
    ids=" ".join,
)
def test_a_zip_is_read(command: list[str], folder: tuple[Path, Documents], verdicts_of: Verdicts) -> None:
    root, documents = folder
    assert dict(verdicts_of(BodyKind.ZIP, run(root, *command))) == documents


@pytest.mark.parametrize(
    "command",
    [
        ["7z", "a", "-tzip"],
        ["7z", "a", "-tzip", "-mx=0"],
        ["zip", "-q", "-r"],
    ],
    ids=" ".join,
)
def test_a_zip_in_a_file_is_read(command: list[str], folder: tuple[Path, Documents], verdicts_of: Verdicts) -> None:
    root, documents = folder
    run(root, *command, "../out.zip", ".")
    assert dict(verdicts_of(BodyKind.ZIP, (root.parent / "out.zip").read_bytes())) == documents


def test_a_zip_that_extracts_itself_is_read(folder: tuple[Path, Documents], verdicts_of: Verdicts) -> None:
    root, documents = folder
    run(root, "zip", "-q", "-r", "../out.zip", ".")
    packed = root.parent / "out.zip"
    packed.write_bytes(b"#!/bin/sh\nexit 0\n" + packed.read_bytes())
    assert dict(verdicts_of(BodyKind.ZIP, packed.read_bytes())) == documents
    run(root.parent, "zip", "-q", "-A", "out.zip")
    assert dict(verdicts_of(BodyKind.ZIP, packed.read_bytes())) == documents


@pytest.mark.parametrize("form", ["gnu", "oldgnu", "pax", "posix"])
@pytest.mark.parametrize("extra", [[], ["--label=Faktury"]], ids=["plain", "label"])
def test_a_tar_is_read(form: str, extra: list[str], folder: tuple[Path, Documents], verdicts_of: Verdicts) -> None:
    root, documents = folder
    body = run(root, "tar", "-c", f"--format={form}", *extra, "-f", "-", ".")
    assert sniff("x", body[:512]) is BodyKind.TAR
    assert dict(verdicts_of(BodyKind.TAR, body)) == documents
    assert dict(verdicts_of(BodyKind.TARGZ, run(root, "gzip", "-c", data=body))) == documents
    # Members of a gzip that several processes or calls wrote.
    assert dict(verdicts_of(BodyKind.TARGZ, gzip.compress(body[:700]) + gzip.compress(body[700:]))) == documents


@pytest.mark.parametrize("form", ["v7", "ustar"])
def test_a_tar_of_the_old_kinds_is_read(form: str, folder: tuple[Path, Documents], verdicts_of: Verdicts) -> None:
    root, documents = folder
    short = {name: content for name, content in documents.items() if len(name.encode()) < 99}
    body = run(root, "tar", "-c", f"--format={form}", "-f", "-", *short)
    assert dict(verdicts_of(BodyKind.TAR, body)) == short


def test_a_sparse_file_is_refused_alone(tmp_path: Path, verdicts_of: Verdicts) -> None:
    with (tmp_path / "sparse.xml").open("wb") as file:
        file.truncate(50_000)
    (tmp_path / "z.xml").write_bytes(b"<z/>")
    body = run(tmp_path, "tar", "-c", "--sparse", "-f", "-", "sparse.xml", "z.xml")
    assert verdicts_of(BodyKind.TAR, body) == [("sparse.xml", "entry-method-unsupported"), ("z.xml", b"<z/>")]


def test_what_curl_sends_as_a_form_is_read(folder: tuple[Path, Documents], verdicts_of: Verdicts) -> None:
    """Read from a server that keeps what it hears: curl has no way to print a form."""
    heard: list[tuple[str, bytes]] = []

    class Ear(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            heard.append((self.headers["Content-Type"], self.rfile.read(length)))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    root, documents = folder
    with http.server.HTTPServer(("127.0.0.1", 0), Ear) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        forms = [part for name in documents for part in ("-F", f"file=@{name};filename={name}")]
        address = f"http://127.0.0.1:{server.server_address[1]}/"
        run(root, "curl", "-sS", "--noproxy", "*", "-H", "Expect:", *forms, "-F", "reference=x", address)
        server.shutdown()
        thread.join(10)
    content_type, body = heard[0]
    assert dict(verdicts_of(BodyKind.MULTIPART, body, boundary=boundary_of(content_type))) == documents


def test_a_zip_of_a_stream_larger_than_it_could_know_is_read(verdicts_of: Verdicts, tmp_path: Path) -> None:
    """Info-ZIP writes ZIP64 and a data descriptor for what comes out of a pipe, and says that it is one."""
    content = b"<a>" + b"x" * 50_000 + b"</a>"
    body = run(tmp_path, "zip", "-q", "-", "-", data=content)
    assert [seen for _, seen in verdicts_of(BodyKind.ZIP, body)] == [content]
