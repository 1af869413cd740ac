"""`--state FILE`: what a sandbox knew when it was killed, the next one on the same file knows."""

import base64
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.ksef_by_hand import HandClient, Package, encrypt, invoice, sha256, tar_package, zip_package
from tests.support.sandbox_process import SandboxHandle, running_sandbox


class Phoenix:
    """A sandbox on a state file that can be killed and started again at the same address."""

    def __init__(self, stack: ExitStack, state: Path, **options: Any) -> None:
        self._stack = stack
        self._options = {"state": str(state), **options}
        self._clients: list[HandClient] = []
        self.handle: SandboxHandle = self._start()

    def _start(self, **more: Any) -> SandboxHandle:
        return self._stack.enter_context(running_sandbox(**self._options, **more))

    def kill_and_start(self) -> None:
        self.handle.process.kill()
        self.handle.process.wait()
        for client in self._clients:
            client.close()
            client.connect()
        self.handle = self._start(port=self.handle.port)

    def client(self) -> HandClient:
        """A client of it that is logged in."""
        client = HandClient(self.handle.base_url)
        self._clients.append(client)
        self._stack.callback(client.close)
        return client.login()

    def control(self, method: str, path: str, **more: Any) -> Any:
        answer = httpx.request(method, f"{self.handle.control_url}{path}", timeout=60, **more)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Phoenix]]:
    with ExitStack() as stack:
        yield lambda **options: Phoenix(stack, tmp_path / "state.sqlite", **options)


def open_with(client: HandClient, package: Package) -> tuple[str, dict[int, dict[str, Any]]]:
    opened = client.open(client.open_body(package))
    return opened["referenceNumber"], {item["ordinalNumber"]: item for item in opened["partUploadRequests"]}


def test_a_test_goes_on_after_a_kill_as_if_nothing_had_happened(start: Callable[..., Phoenix]) -> None:
    sandbox = start()
    client = sandbox.client()
    documents = {f"{number}.xml": invoice(f"A/{number}", client.nip) for number in range(30)}
    plain = zip_package(documents)
    package = Package(plain, part_bytes=len(plain) // 2 + 1)
    parts = package.encrypted_parts()
    reference, uploads = open_with(client, package)
    assert client.put(uploads[1], parts[0]).status_code == 201

    sandbox.kill_and_start()
    assert client.put(uploads[2], parts[1]).status_code == 201
    assert client.close_session(reference).status_code == 204
    final = client.final_status(reference)
    assert (final["status"]["code"], final["successfulInvoiceCount"]) == (200, 30)
    receipt = httpx.get(final["upo"]["pages"][0]["downloadUrl"])
    listed = client.invoices(reference)
    own_receipt = httpx.get(listed[0]["upoDownloadUrl"]).content
    ledger = sandbox.control("GET", "/ledger")

    sandbox.kill_and_start()
    assert sandbox.control("GET", "/ledger") == ledger
    again = httpx.get(final["upo"]["pages"][0]["downloadUrl"])
    assert (again.content, again.headers["x-ms-meta-hash"]) == (receipt.content, receipt.headers["x-ms-meta-hash"])
    assert httpx.get(listed[0]["upoDownloadUrl"]).content == own_receipt
    assert [item["ksefNumber"] for item in client.invoices(reference)] == [item["ksefNumber"] for item in listed]
    read = client.call("GET", f"/invoices/ksef/{listed[0]['ksefNumber']}")
    assert read.content == documents[listed[0]["invoiceFileName"]]
    refreshed = client.call("POST", "/auth/token/refresh", token=client.refresh_token)
    assert refreshed.status_code == 200
    second, rejected = client.send_documents(documents)
    assert rejected["status"]["code"] == 445
    numbers = {item["ksefNumber"] for item in listed}
    assert {item["status"]["extensions"]["originalKsefNumber"] for item in client.invoices(second)} == numbers


@pytest.mark.parametrize("patience", [0.0, 0.15, 0.4, 0.8, 1.2])
def test_sessions_killed_while_processed_are_processed_again_and_accept_nothing_twice(
    start: Callable[..., Phoenix], patience: float
) -> None:
    sandbox = start(validate="off")
    client = sandbox.client()
    package = Package(tar_package({f"{n}.xml": invoice(f"B/{n}", client.nip) for n in range(1500)}), "TarGz")
    references = []
    for _ in range(2):
        reference, uploads = open_with(client, package)
        assert client.put(uploads[1], package.encrypted_parts()[0]).status_code == 201
        references.append(reference)
    for reference in references:
        assert client.close_session(reference).status_code == 204
    time.sleep(patience)  # the moment of the kill is what this test varies
    sandbox.kill_and_start()
    codes = {client.final_status(reference)["status"]["code"] for reference in references}
    assert codes == {200, 445}
    items = [item for reference in references for item in client.invoices(reference)]
    accepted = {item["ksefNumber"] for item in items if "ksefNumber" in item}
    named = {item["status"]["extensions"]["originalKsefNumber"] for item in items if "ksefNumber" not in item}
    assert len(accepted) == 1500
    assert named == accepted
    ledger = sandbox.control("GET", "/ledger")
    assert (ledger["accepted"], ledger["distinct"]) == (1500, 1500)


def test_online_invoices_killed_while_judged_are_judged_again(start: Callable[..., Phoenix]) -> None:
    sandbox = start(processing_delay=3600.0)
    client = sandbox.client()
    key, iv = secrets.token_bytes(32), secrets.token_bytes(16)
    body = client.open_body(Package(b"x", key=key, iv=iv))
    opened = client.call(
        "POST", "/sessions/online", json={"formCode": body["formCode"], "encryption": body["encryption"]}
    )
    assert opened.status_code == 201, opened.text
    reference = opened.json()["referenceNumber"]
    sent = client.call("POST", f"/sessions/online/{reference}/invoices", json=online_body(client.nip, key, iv))
    assert sent.status_code == 202, sent.text
    path = f"/sessions/{reference}/invoices/{sent.json()['referenceNumber']}"
    sandbox.kill_and_start()
    assert client.call("GET", path).json()["status"]["code"] < 200
    assert client.call("POST", f"/sessions/online/{reference}/close").status_code == 204
    sandbox.kill_and_start()
    client.access_token = sandbox_token_after(client, sandbox, 3700)
    assert client.final_status(reference)["status"]["code"] == 200
    assert client.call("GET", path).json()["status"]["code"] == 200


def online_body(nip: str, key: bytes, iv: bytes) -> dict[str, Any]:
    """The request that sends one invoice online."""
    plain = invoice("ONLINE", nip)
    sealed = encrypt(plain, key, iv)
    return {
        "invoiceHash": sha256(plain),
        "invoiceSize": len(plain),
        "encryptedInvoiceHash": sha256(sealed),
        "encryptedInvoiceSize": len(sealed),
        "encryptedInvoiceContent": base64.b64encode(sealed).decode(),
    }


def sandbox_token_after(client: HandClient, sandbox: Phoenix, seconds: float) -> str:
    """A fresh access token after so many of the sandbox's seconds."""
    sandbox.control("POST", "/clock", json={"advance_seconds": seconds})
    answer = client.call("POST", "/auth/token/refresh", token=client.refresh_token)
    return str(answer.json()["accessToken"]["token"])


def test_the_clock_the_faults_and_what_a_script_holds_survive(start: Callable[..., Phoenix]) -> None:
    sandbox = start()
    client = sandbox.client()
    shown = sandbox.control("POST", "/clock", json={"advance_seconds": 300, "freeze": True})["time"]
    sandbox.control("POST", "/faults", json={"on": "session", "hold_at": 150})
    sandbox.control("POST", "/faults", json={"path": "^/rate-limits$", "skip": 1, "times": 2, "status": 503})
    package = Package(zip_package({"a.xml": invoice("A", client.nip)}))
    reference, uploads = open_with(client, package)
    assert client.put(uploads[1], package.encrypted_parts()[0]).status_code == 201
    assert client.close_session(reference).status_code == 204
    answers = [client.call("GET", "/rate-limits").status_code for _ in range(2)]
    sandbox.kill_and_start()
    clock = sandbox.control("GET", "/clock")
    assert (clock["time"], clock["rate"]) == (shown, 0)
    answers += [client.call("GET", "/rate-limits").status_code for _ in range(2)]
    assert answers == [200, 503, 503, 200]
    assert client.status(reference)["status"]["code"] == 150
    sandbox.control("POST", f"/sessions/{reference}/release")
    assert client.final_status(reference)["status"]["code"] == 200


def test_what_the_limits_have_counted_survives(start: Callable[..., Phoenix]) -> None:
    sandbox = start(limits="production")
    sandbox.control("POST", "/clock", json={"freeze": True})
    client = sandbox.client()
    body = client.open_body(Package(b"content"))

    def openings(count: int) -> list[int]:
        return [client.call("POST", "/sessions/batch", json=body).status_code for _ in range(count)]

    assert openings(10) == [201] * 10
    sandbox.kill_and_start()
    assert openings(1) == [429]
    sandbox.control("POST", "/clock", json={"advance_seconds": 1.5})
    assert openings(10) == [201] * 10
    sandbox.kill_and_start()
    sandbox.control("POST", "/clock", json={"advance_seconds": 1.5})
    assert openings(1) == [429]


def test_a_reset_empties_the_file_and_its_folder(start: Callable[..., Phoenix], tmp_path: Path) -> None:
    sandbox = start()
    client = sandbox.client()
    client.send_documents({"a.xml": invoice("A", client.nip)})
    files = tmp_path / "state.sqlite.files"
    assert list(files.iterdir())
    sandbox.control("POST", "/reset")
    sandbox.kill_and_start()
    assert not list(files.iterdir())
    assert sandbox.control("GET", "/ledger")["sessions"] == []
    assert client.call("GET", "/auth/sessions").status_code == 401


def test_parts_and_packages_do_not_pile_up(start: Callable[..., Phoenix], tmp_path: Path) -> None:
    """One package to read invoices back from, one receipt; a file that nobody knows goes at the next start."""
    sandbox = start()
    client = sandbox.client()
    client.send_documents({"a.xml": invoice("A", client.nip)})
    files = tmp_path / "state.sqlite.files"
    deadline = time.monotonic() + 60
    while len(list(files.iterdir())) > 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    kept = set(files.iterdir())
    assert len(kept) == 2
    (files / "half-a-part").write_bytes(b"x")
    sandbox.kill_and_start()
    assert set(files.iterdir()) == kept
