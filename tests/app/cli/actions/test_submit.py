"""Submitting to a service that behaves, and to some that do not. The service is a stand-in over real HTTP."""

import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from app.cli.actions.submit import send_body
from app.cli.client.resumable_upload import PAUSES_SECONDS
from app.cli.client.service_client import ServiceClient, ServiceUnreachable
from app.cli.client.upload_sources import plan_bodies, sort_paths
from app.cli.exit_codes import DENIED, OK, REFUSED, UNEXPECTED, UNREACHABLE, USAGE
from tests.app.cli.conftest import Ksefd

KEY = "ksefd_0_secret"


@dataclass
class Service:
    """What the stand-in was asked, and how it is to answer."""

    url: str = ""
    trouble: list[str] = field(default_factory=list)
    """What goes wrong, one upload after the other: `cut`, `busy`, `wrong-hash`."""
    keys: list[str | None] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)
    states: list[dict[str, Any]] = field(default_factory=list)
    """Answers to `GET /v1/uploads/...`, the last one for ever."""
    invoices: list[dict[str, Any]] = field(default_factory=list)


def upload(state: str, **counts: int) -> dict[str, Any]:
    return {"id": "upl_1", "state": state, "counts": counts, "bytes": 5, "errors": []}


def handler_for(service: Service) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if not self._is_allowed():
                return
            path, _, query = self.path.partition("?")
            if path.endswith("/invoices"):
                state = dict(pair.split("=") for pair in query.split("&")).get("state")
                items = [one for one in service.invoices if state in {None, one["state"]}]
                self._answer(200, {"items": items, "next": None})
            else:
                self._answer(200, service.states.pop(0) if len(service.states) > 1 else service.states[0])

        def do_POST(self) -> None:
            body = self._body()
            if not self._is_allowed():
                return
            service.keys.append(self.headers.get("Idempotency-Key"))
            service.bodies.append(body)
            service.queries.append(self.path.partition("?")[2])
            trouble = service.trouble.pop(0) if service.trouble else ""
            if trouble == "cut":
                self.close_connection = True
                self.connection.close()
            elif trouble == "busy":
                self._answer(503, {"detail": "spool full", "code": "spool-full"}, {"Retry-After": "7"})
            else:
                digest = hashlib.sha256(body if trouble != "wrong-hash" else b"").hexdigest()
                self._answer(202, {"id": "upl_1", "state": "received", "sha256": digest})

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

        def _is_allowed(self) -> bool:
            if self.headers.get("Authorization") == f"Bearer {KEY}":
                return True
            self._answer(401, {"detail": "unknown key", "code": "unauthorized"})
            return False

        def _body(self) -> bytes:
            if "Content-Length" in self.headers:
                return self.rfile.read(int(self.headers["Content-Length"]))
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def _answer(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
            raw = json.dumps(body).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(raw)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(raw)

    return Handler


@pytest.fixture
def service() -> Iterator[Service]:
    found = Service(states=[upload("completed", accepted=1)])
    with ThreadingHTTPServer(("127.0.0.1", 0), handler_for(found)) as server:
        found.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield found
        server.shutdown()
        thread.join()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "one.xml").write_text("<Faktura/>")
    return tmp_path / "in"


def test_without_wait_the_receipt_is_printed(ksefd: Ksefd, service: Service, folder: Path) -> None:
    service.states = [upload("received")]
    ran = ksefd("submit", str(folder), "--json", "--offline", "--reference", "n 1", url=service.url, api_key=KEY)
    assert ran.code == OK
    assert ran.json == {"uploads": [{"id": "upl_1", "counts": {}}]}
    assert service.queries == ["offline=true&reference=n+1"]
    assert b"<Faktura/>" in service.bodies[0]


def test_wait_ends_with_the_last_verdict(ksefd: Ksefd, service: Service, folder: Path) -> None:
    service.states = [upload("reading"), upload("in_progress", sent=1), upload("completed", accepted=1)]
    ran = ksefd("submit", str(folder), "--wait", "--json", url=service.url, api_key=KEY)
    assert ran.code == OK
    assert ran.json == {"uploads": [{"id": "upl_1", "counts": {"accepted": 1}}]}
    assert "sent 1" in ran.err


@pytest.mark.parametrize("state", ["invalid", "duplicate", "rejected", "failed"])
def test_one_refused_invoice_is_told_by_the_exit_code(ksefd: Ksefd, service: Service, folder: Path, state: str) -> None:
    service.states = [upload("completed", accepted=5, **{state: 1})]
    ran = ksefd("submit", str(folder), "--wait", "--json", url=service.url, api_key=KEY)
    assert ran.code == REFUSED


def test_the_findings_of_a_refused_invoice_are_shown_in_the_language_asked_for(
    ksefd: Ksefd, service: Service, folder: Path
) -> None:
    finding = {"rule": "some-rule", "severity": "error", "message": "wrong [b]tag[/b]", "message_pl": "źle", "line": 7,
               "path": "/Faktura/Fa"}  # fmt: skip
    service.states = [upload("completed", invalid=1, accepted=1)]
    service.invoices = [
        {"id": "inv_1", "name": "one.xml", "state": "invalid", "number": None, "findings": [finding]},
        {"id": "inv_2", "name": "two.xml", "state": "accepted", "number": "FV/1", "ksef_number": "555-X"},
    ]
    english = ksefd("submit", str(folder), "--wait", url=service.url, api_key=KEY)
    polish = ksefd("submit", str(folder), "--wait", "--lang", "pl", url=service.url, api_key=KEY)
    assert english.code == REFUSED
    for expected in ("some-rule", "/Faktura/Fa", "7", "wrong [b]tag[/b]", "FV/1", "555-X"):
        assert expected in english.out
    assert "źle" in polish.out
    assert "wrong" not in polish.out


def test_a_broken_connection_is_tried_again_under_the_same_key(service: Service, folder: Path) -> None:
    service.trouble = ["cut", "busy", ""]
    pauses: list[float] = []
    (body,) = plan_bodies(sort_paths([folder]))
    with ServiceClient(service.url, KEY) as client:
        answer = send_body(client, body, {}, sleep=pauses.append)
    assert answer["id"] == "upl_1"
    assert len(service.keys) == 3
    assert len(set(service.keys)) == 1
    assert len(set(service.bodies)) == 1
    assert pauses == [1.0, 7.0]


def test_two_uploads_never_share_a_key(ksefd: Ksefd, service: Service, folder: Path) -> None:
    for _ in range(2):
        ksefd("submit", str(folder), url=service.url, api_key=KEY)
    assert len(set(service.keys)) == 2


def test_a_service_that_stays_full_ends_the_tries(service: Service, folder: Path) -> None:
    service.trouble = ["busy"] * 100
    (body,) = plan_bodies(sort_paths([folder]))
    with ServiceClient(service.url, KEY) as client, pytest.raises(ServiceUnreachable, match="spool full"):
        send_body(client, body, {}, sleep=lambda _: None)
    assert len(service.keys) == len(PAUSES_SECONDS) + 1


def test_an_acknowledgement_of_other_bytes_is_a_failure(ksefd: Ksefd, service: Service, folder: Path) -> None:
    service.trouble = ["wrong-hash"]
    ran = ksefd("submit", str(folder), url=service.url, api_key=KEY)
    assert ran.code == UNEXPECTED
    assert "other bytes" in ran.err


def test_a_wrong_key_is_denied_and_no_key_is_wrong_usage(ksefd: Ksefd, service: Service, folder: Path) -> None:
    denied = ksefd("submit", str(folder), url=service.url, api_key="other")
    assert denied.code == DENIED
    assert "unauthorized" in denied.err
    assert ksefd("submit", str(folder), url=service.url).code == USAGE


def test_the_key_may_come_from_a_file(ksefd: Ksefd, service: Service, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n")
    ran = ksefd("submit", str(folder), "--api-key-file", str(tmp_path / "key"), "--url", service.url)
    assert ran.code == OK, ran.err


def test_a_service_that_is_not_there_is_told_at_once(ksefd: Ksefd, folder: Path) -> None:
    ran = ksefd("submit", str(folder), url="http://127.0.0.1:9", api_key=KEY)
    assert ran.code == UNREACHABLE
    assert "does not answer" in ran.err


def test_an_upload_that_broke_off_is_refused_and_explained(ksefd: Ksefd, service: Service, folder: Path) -> None:
    error = {"message": "The ZIP was cut", "message_pl": "ucięte"}
    service.states = [upload("failed", accepted=1) | {"errors": [error]}]
    ran = ksefd("submit", str(folder), "--wait", url=service.url, api_key=KEY)
    assert ran.code == REFUSED
    assert "The ZIP was cut" in ran.out


def test_an_xml_of_a_folder_that_cannot_be_read_is_named_and_told_by_the_exit_code(
    ksefd: Ksefd, service: Service, folder: Path
) -> None:
    (folder / "gone.XML").symlink_to("nothing")
    (folder / "more.zip").write_bytes(b"")
    ran = ksefd("submit", str(folder), url=service.url, api_key=KEY)
    assert ran.code == REFUSED
    assert "not sent: 1 .xml file that cannot be read: gone.XML (a link to nothing)" in ran.err
    assert "not sent: 1 archive in a folder (name it on the command line): more.zip" in ran.err
    assert b"<Faktura/>" in service.bodies[0]
    (folder / "one.xml").unlink()
    nothing = ksefd("submit", str(folder), "--json", url=service.url, api_key=KEY)
    assert (nothing.code, nothing.json, len(service.bodies)) == (REFUSED, {"uploads": []}, 1)


def test_archives_and_empty_folders_beside_invoices_are_named_and_change_no_exit_code(
    ksefd: Ksefd, service: Service, folder: Path
) -> None:
    (folder / "more.zip").write_bytes(b"")
    (folder / "empty").mkdir()
    ran = ksefd("submit", str(folder), url=service.url, api_key=KEY)
    assert (ran.code, "more.zip" in ran.err) == (OK, True)


def test_ctrl_c_while_waiting_says_what_goes_on_and_how_to_follow_it(
    ksefd: Ksefd, service: Service, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("app.cli.actions.submit.wait_for_uploads", interrupted)
    ran = ksefd("submit", str(folder), "--wait", url=service.url, api_key=KEY)
    assert ran.code == 130
    assert ran.err == "upl_1 goes on in the service; follow it: ksefd status upl_1\n"


def test_ctrl_c_while_sending_names_what_was_sent_and_what_was_not(
    ksefd: Ksefd, service: Service, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = iter([{"id": "upl_1"}])

    def second_interrupted(*_: object, **__: object) -> dict[str, str]:
        for answer in sent:
            return answer
        raise KeyboardInterrupt

    (tmp_path / "b.ndjson").write_text('{"name": "a", "xml": "<a/>"}\n')
    monkeypatch.setattr("app.cli.actions.submit.send_body", second_interrupted)
    ran = ksefd("submit", str(folder), str(tmp_path / "b.ndjson"), url=service.url, api_key=KEY)
    assert ran.code == 130
    assert ran.err.splitlines() == [
        "upl_1 goes on in the service; follow it: ksefd status upl_1",
        "b.ndjson was not acknowledged; ksefd status shows whether it came in",
    ]
