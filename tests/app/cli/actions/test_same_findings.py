"""One check by every door: the worker, `POST /v1/validate` and `ksefd validate` find the same in the same document.

Documents that end or hang their process have a test of their own: `tests/app/checking/test_same_finding_by_all_doors.py`.
"""

import base64
import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from app.api.intake.validation_pool import ValidationPool
from app.checking import check_chunk as checking
from app.checking.check_chunk import ChunkTask, check_chunk
from app.clock import warsaw_day
from app.forms.form import CheckContext
from app.schema_files import load_schema_files
from app.settings import Settings
from invoicegen.bad_invoices import bad_invoices
from tests.app.cli.conftest import Ksefd
from tests.app.forms.fa3.breaking import BREAKING

NIP = "5265877635"
SHARED = Path(__file__).resolve().parents[4] / ".." / "shared"
NOW = datetime.now(UTC)
Found = list[tuple[str, int | None, str | None]]


def _documents() -> dict[str, bytes]:
    """Broken ones, valid ones, and the ministry's own where they are at hand; names in the order of a folder."""
    known = {f"b{number:03}.xml": case.document for number, case in enumerate(BREAKING) if case.document.strip()}
    known |= {f"g{one.name}": one.xml for one in bad_invoices(NIP, warsaw_day(NOW)) if one.xml.strip()}
    known |= {f"s-{path.name}": path.read_bytes() for path in sorted(SHARED.glob("ksef/samples/*.xml"))}
    # What is larger than any invoice is refused by whoever reads the body, each in its words.
    return {name: document for name, document in sorted(known.items()) if len(document) <= 3_000_000}


DOCUMENTS = _documents()


def _context() -> CheckContext:
    return CheckContext(NIP, warsaw_day(datetime.now(UTC)), check_nip_checksums=True, attachments_allowed=None)


@pytest.fixture(scope="module")
def by_worker() -> dict[str, Found]:
    """What a pool process finds, read from the rows that it makes for the database."""
    from app.domain.ids import chunk_id
    from app.reading.entry import Encoding, RawEntry

    checking.prepare(load_schema_files())
    entries = tuple(
        RawEntry(index, name, Encoding.PLAIN, document, len(document), None)
        for index, (name, document) in enumerate(DOCUMENTS.items())
    )
    task = ChunkTask(1, (chunk_id(1, bytes(10)),), chunk_id(2, bytes(10)), entries, _context(), NOW)
    [checked] = check_chunk(task).forms
    rows = checked.rows.decode().splitlines()
    found = {}
    for name, row in zip(DOCUMENTS, rows, strict=True):
        told = row.split("\t")[15]
        text = told.replace("\\\\", "\\") if told != "\\N" else "[]"
        found[name] = _places(json.loads(text))
    return found


def _places(findings: list[dict[str, Any]]) -> Found:
    return [(one["rule"], one["line"], one["path"]) for one in findings]


def _folder(at: Path) -> Path:
    at.mkdir()
    for name, document in DOCUMENTS.items():
        (at / name).write_bytes(document)
    return at


def _zip(at: Path) -> Path:
    with zipfile.ZipFile(at, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, document in DOCUMENTS.items():
            archive.writestr(name, document)
    return at


def _tar_gz(at: Path) -> Path:
    with tarfile.open(at, "w:gz") as archive:
        for name, document in DOCUMENTS.items():
            info = tarfile.TarInfo(name)
            info.size = len(document)
            archive.addfile(info, io.BytesIO(document))
    return at


def _lines() -> bytes:
    return b"".join(
        json.dumps({"name": name, "xml_base64": base64.b64encode(document).decode()}).encode() + b"\n"
        for name, document in DOCUMENTS.items()
    )


def _ndjson(at: Path) -> Path:
    at.write_bytes(_lines())
    return at


def _ndjson_gz(at: Path) -> Path:
    at.write_bytes(gzip.compress(_lines()))
    return at


FORMS: dict[str, Callable[[Path], Path]] = {
    "in": _folder,
    "a.zip": _zip,
    "a.tar.gz": _tar_gz,
    "a.ndjson": _ndjson,
    "a.ndjson.gz": _ndjson_gz,
}


@pytest.mark.parametrize("form", FORMS)
def test_the_command_finds_what_the_worker_finds_whatever_the_form(
    form: str, ksefd: Ksefd, tmp_path: Path, by_worker: dict[str, Found]
) -> None:
    path = FORMS[form](tmp_path / form)
    ran = ksefd("validate", str(path), "--nip", NIP, "--json", ksef_env="production")
    listed = {one["name"].removeprefix(f"{form}/"): _places(one["findings"]) for one in ran.json["documents"]}
    assert ran.json["checked"] == len(DOCUMENTS)
    assert listed == {name: found for name, found in by_worker.items() if found}


async def test_a_dry_run_finds_what_the_worker_finds(settings: Settings, by_worker: dict[str, Found]) -> None:
    process = ValidationPool(settings)
    try:
        for name, document in DOCUMENTS.items():
            found = await process.check(document, _context())
            assert [(one.rule, one.line, one.path) for one in found] == by_worker[name], name
    finally:
        await process.close()


def test_one_compressed_document_is_read_too(ksefd: Ksefd, tmp_path: Path) -> None:
    name, document = next(iter(DOCUMENTS.items()))
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(document))
    ran = ksefd("validate", str(tmp_path / f"{name}.gz"), "--nip", NIP, "--json", ksef_env="production")
    assert (ran.json["checked"], ran.json["errors"]) == (1, [])


def test_a_damaged_compressed_file_is_a_failed_check(ksefd: Ksefd, tmp_path: Path) -> None:
    (tmp_path / "a.ndjson.gz").write_bytes(gzip.compress(_lines())[:-2_000])
    ran = ksefd("validate", str(tmp_path / "a.ndjson.gz"), "--json", ksef_env="production")
    assert ran.json["errors"]
