"""`ksefd submit`: stream files to the service and, if asked, wait for the verdict on every invoice."""

import hashlib
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import typer
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)

from app.cli.actions.verdicts import Language, print_report, was_refused
from app.cli.client.folder_walk import PassedOver
from app.cli.client.pipes import pipes_copied
from app.cli.client.progress import wait_for_uploads
from app.cli.client.resumable_upload import PAUSES_SECONDS, PIECES_FROM_BYTES, pause_after, send_in_pieces
from app.cli.client.service_client import Parameters, ServiceClient, ServiceUnreachable, connect
from app.cli.client.upload_sources import Body, plan_bodies, sort_paths
from app.cli.exit_codes import REFUSED
from app.cli.formats import size
from app.cli.output import print_json, print_note, print_warning, stderr_console, stdout_console
from app.cli.tables import print_table
from app.errors import DispatchError


def submit(
    paths: Sequence[Path],
    *,
    wait: bool,
    parameters: Parameters,
    language: Language,
    as_json: bool,
    url: str | None,
    api_key_file: Path | None,
) -> None:
    """Send the uploads and print their receipts or verdicts.

    Exits with REFUSED if a file named .xml was not sent and, with `wait`, if an invoice was refused.
    """
    passed_over = PassedOver()
    uploads: list[dict[str, Any]] = []
    with pipes_copied(paths) as given:
        try:
            bodies = plan_bodies(sort_paths(given.files, given.shown), passed_over)
        finally:
            for line in passed_over.lines():
                print_warning(f"not sent: {line}")
        if bodies:
            uploads = _send_and_report(
                bodies,
                wait=wait,
                parameters=parameters,
                language=language,
                as_json=as_json,
                url=url,
                api_key_file=api_key_file,
            )
        elif as_json:
            _print_json([])
    if passed_over.misses_invoices or any(was_refused(upload) for upload in uploads):
        raise typer.Exit(REFUSED)


def _send_and_report(
    bodies: Sequence[Body],
    *,
    wait: bool,
    parameters: Parameters,
    language: Language,
    as_json: bool,
    url: str | None,
    api_key_file: Path | None,
) -> list[dict[str, Any]]:
    """Send the bodies, print their receipts or verdicts, and return the finished uploads, none unless they were waited for."""
    with connect(url, api_key_file) as service:
        ids = [upload["id"] for upload in _send_all(service, bodies, parameters)]
        if not wait:
            _print_receipts(service, ids, as_json=as_json)
            return []
        try:
            uploads = wait_for_uploads(service, ids)
        except (KeyboardInterrupt, ServiceUnreachable):
            _say_what_goes_on(ids)
            raise
        if as_json:
            _print_json(uploads)
        else:
            print_report(stdout_console(), service, uploads, language)
        return uploads


def send_body(
    service: ServiceClient,
    body: Body,
    parameters: Parameters,
    *,
    on_read: Callable[[int], None] = lambda _: None,
    on_sent: Callable[[int], None] = lambda _: None,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Any]:
    """Upload one body and return its acknowledgement.

    `on_sent` gets the number of bytes sent so far, `on_read` that of a large body's bytes hashed before sending.

    After a lost connection, or when the service is full, the body is sent again under the same Idempotency-Key, so that no
    invoice comes in twice. A large body is sent in pieces and resumed where it broke off, also by another run of the same
    command. Raises ServiceUnreachable when the service does not listen or all tries failed, and DispatchError when the
    service acknowledged other bytes than were sent.
    """
    if body.size >= PIECES_FROM_BYTES:
        return send_in_pieces(service, body, parameters, on_read=on_read, on_sent=on_sent, sleep=sleep)
    key = secrets.token_hex(16)
    for pause in (*PAUSES_SECONDS, None):
        counted = _Counted(body.pieces(), on_sent)
        # A tar has no Content-Length: its files may change while it is made.
        length = {} if body.content_type == "application/x-tar" else {"Content-Length": str(body.size)}
        headers = {"Content-Type": body.content_type, "Idempotency-Key": key, **length}
        try:
            answer = service.upload(counted.pieces(), headers=headers, parameters=parameters)
        except ServiceUnreachable as error:
            if pause is None or (not error.was_connected and pause == PAUSES_SECONDS[0]):
                raise
            sleep(pause_after(error, pause))
            continue
        if answer.get("sha256") not in {None, counted.digest.hexdigest()}:
            raise DispatchError(f"upload {answer.get('id')} was acknowledged with other bytes than were sent")
        return answer
    raise AssertionError("the last try either answers or raises")


class _Counted:
    """Counts and hashes the pieces that are sent, to compare them with the acknowledgement."""

    def __init__(self, pieces: Iterator[bytes], on_sent: Callable[[int], None]) -> None:
        self._pieces = pieces
        self._on_sent = on_sent
        self.digest = hashlib.sha256()

    def pieces(self) -> Iterator[bytes]:
        sent = 0
        for piece in self._pieces:
            yield piece
            self.digest.update(piece)
            sent += len(piece)
            self._on_sent(sent)


def _send_all(service: ServiceClient, bodies: Sequence[Body], parameters: Parameters) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []
    console = stderr_console()
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        for body in bodies:
            task = progress.add_task(f"sending {body.label}", total=body.size)
            try:
                sent.append(
                    send_body(
                        service,
                        body,
                        parameters,
                        on_read=partial(_show, progress, task, f"reading {body.label}"),
                        on_sent=partial(_show, progress, task, f"sending {body.label}"),
                    )
                )
            except KeyboardInterrupt:
                progress.stop()
                _say_what_goes_on([upload["id"] for upload in sent])
                if body.size >= PIECES_FROM_BYTES:
                    print_note("the service keeps the bytes it has for a day; the same command resumes there")
                else:
                    print_note(f"{body.label} was not acknowledged; ksefd status shows whether it came in")
                raise
            except DispatchError:
                progress.stop()
                _say_what_goes_on([upload["id"] for upload in sent])
                raise
    return sent


def _say_what_goes_on(ids: Sequence[str]) -> None:
    """Print which uploads the service goes on with by itself, a line each, with the command that follows it."""
    for upload_id in ids:
        print_note(f"{upload_id} goes on in the service; follow it: ksefd status {upload_id}")


def _show(progress: Progress, task: TaskID, description: str, count: int) -> None:
    progress.update(task, completed=count, description=description)


def _print_receipts(service: ServiceClient, ids: Sequence[str], *, as_json: bool) -> None:
    uploads = [service.get(f"/v1/uploads/{upload_id}") for upload_id in ids]
    if as_json:
        _print_json(uploads)
        return
    rows = [(one["id"], one["state"], size(one.get("bytes") or 0), one.get("reference")) for one in uploads]
    console = stdout_console()
    print_table(console, ("Upload", "State", "Size", "Reference"), rows)
    console.print("Durable and acknowledged. Next: ksefd status UPLOAD", style="dim")


def _print_json(uploads: Sequence[dict[str, Any]]) -> None:
    print_json({"uploads": [{"id": one["id"], "counts": one.get("counts") or {}} for one in uploads]})
