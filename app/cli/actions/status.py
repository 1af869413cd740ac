"""`ksefd status` and `ksefd upo`: uploads, sessions and receipts, read from the service."""

import os
import secrets
import tempfile
from itertools import islice
from pathlib import Path
from typing import Any, Final

from app.cli.actions.verdicts import Language, print_report
from app.cli.client.progress import counts_line
from app.cli.client.service_client import ServiceClient, connect
from app.cli.exit_codes import UsageProblem
from app.cli.formats import moment, size
from app.cli.output import print_json, stdout_console, write_bytes
from app.cli.tables import print_fields, print_table
from app.errors import NotFound

_RECENT: Final = 10
_STDOUT: Final = Path("-")


def show_recent(*, as_json: bool, url: str | None, api_key_file: Path | None) -> None:
    """Print the newest uploads and sessions."""
    with connect(url, api_key_file) as service:
        page = {"limit": _RECENT}
        uploads = list(islice(service.items("/v1/uploads", page), _RECENT))
        sessions = list(islice(service.items("/v1/sessions", page), _RECENT))
    if as_json:
        print_json({"uploads": uploads, "sessions": sessions})
        return
    console = stdout_console()
    rows: list[tuple[object, ...]] = [
        (one["id"], one["state"], one.get("reference"), size(one.get("bytes") or 0), moment(one.get("created_at")),
         counts_line([one]))
        for one in uploads
    ]  # fmt: skip
    print_table(console, ("Upload", "State", "Reference", "Size", "Received", "Invoices"), rows, title="Uploads")
    rows = [
        (one["id"], one["state"], one.get("reference_number"), one.get("invoices"), moment(one.get("opened_at")),
         len(one.get("upo") or []))
        for one in sessions
    ]  # fmt: skip
    columns = ("Session", "State", "Number at KSeF", "Invoices", "Opened", "UPO pages")
    print_table(console, columns, rows, title="Sessions")


def show_upload(
    upload_id: str, *, language: Language, as_json: bool, url: str | None, api_key_file: Path | None
) -> None:
    """Print one upload with the verdicts it has so far."""
    with connect(url, api_key_file) as service:
        upload = service.get(f"/v1/uploads/{_safe(upload_id)}")
        if as_json:
            print_json(upload)
            return
        console = stdout_console()
        known: dict[str, object] = {
            "Upload": upload["id"],
            "State": upload["state"],
            "Reference": upload.get("reference"),
            "Size": size(upload.get("bytes") or 0),
            "SHA-256": upload.get("sha256"),
            "Received": moment(upload.get("created_at")),
            "Completed": moment(upload.get("completed_at")),
        }
        print_fields(console, known)
        print_report(console, service, [upload], language)


def save_upo(what: str, output: Path | None, *, as_json: bool, url: str | None, api_key_file: Path | None) -> None:
    """Save the pages of a session's UPO, or the page that names an invoice; `-` writes one page to standard output.

    A partly downloaded file is removed. Raises UsageProblem for several pages on the standard output.
    """
    to_stdout = output == _STDOUT
    if to_stdout and as_json:
        raise UsageProblem("-o - and --json exclude each other: both write to standard output")
    with connect(url, api_key_file) as service:
        pages = _page_paths(service, what)
        if to_stdout:
            if len(pages) > 1:
                raise UsageProblem(f"{what} has {len(pages)} pages, each an XML document: give -o FILE")
            _write_out(service, pages[0])
            return
        file = output or Path(f"upo-{what}.xml")
        written = [_save(service, path, page_path(file, number, of=len(pages))) for number, path in enumerate(pages, 1)]
    if as_json:
        print_json({"files": [str(path) for path in written]})
        return
    for path in written:
        stdout_console().print(f"{path}  {size(path.stat().st_size)}", markup=False, soft_wrap=True)


def _page_paths(service: ServiceClient, what: str) -> list[str]:
    """Return the API's paths of the pages of a receipt."""
    if what.startswith("inv_"):
        return [f"/v1/invoices/{_safe(what)}/upo"]
    if not what.startswith("ses_"):
        raise UsageProblem(f"{what[:64]!r} is neither a session's id (ses_...) nor an invoice's (inv_...)")
    session = service.get(f"/v1/sessions/{_safe(what)}")
    numbers = page_numbers(session)
    if not numbers:
        raise NotFound(f"{what} is {session['state']} and has no UPO yet")
    return [f"/v1/sessions/{what}/upo/{number}" for number in numbers]


def page_numbers(session: dict[str, Any]) -> list[int]:
    """Return the numbers of a session's UPO pages, from 1."""
    pages = session.get("upo") or []
    return [int(page.get("page", place)) if isinstance(page, dict) else place for place, page in enumerate(pages, 1)]


def page_path(output: Path, page: int, *, of: int) -> Path:
    """Return the file name of one page; the name that was given when there is only one page."""
    return output if of == 1 else output.with_name(f"{output.stem}-{page}{output.suffix}")


def _write_out(service: ServiceClient, path: str) -> None:
    # Whole or not at all: a program that reads the pipe must not get half a receipt.
    with tempfile.TemporaryFile() as file:
        service.download(path, file)
        file.seek(0)
        write_bytes(file)


def _save(service: ServiceClient, path: str, output: Path) -> Path:
    part = output.with_name(f".{output.name}.{secrets.token_hex(4)}")
    try:
        with part.open("wb") as file:
            service.download(path, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(output)
    except OSError as error:
        raise UsageProblem(f"cannot write {output}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
    return output


def _safe(public_id: str) -> str:
    if not (public_id.isascii() and public_id.replace("_", "").isalnum()):
        raise UsageProblem(f"{public_id[:64]!r} is not an id")
    return public_id
