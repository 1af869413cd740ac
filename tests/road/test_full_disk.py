"""A blob store without space: nothing is acknowledged that is not kept, and work goes on when space returns."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.road.proofs import ZIP, invoices, prove_all_accepted_once, seller_nip, zipped
from tests.support.sandbox_process import SandboxHandle
from tests.support.service_process import ApiClient, ServiceHandle, running_service, wait_for

_SPACE_BYTES = 8_000_000
_COUNT = 400


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder with eight megabytes of space, where the machine lets us have one."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={_SPACE_BYTES}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("a small file system cannot be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_stops_acknowledgements_and_loses_nothing(
    sandbox: SandboxHandle, tmp_path: Path, small_disk: Path
) -> None:
    with running_service(tmp_path, sandbox, blob_url=f"file://{small_disk}") as service:
        client = service.add_tenant(seller_nip())
        documents = invoices(2 * _COUNT, nip=client.nip)
        bodies = [zipped(documents[:_COUNT]), zipped(documents[_COUNT:])]
        ballast = small_disk / "ballast"
        # There is room for the body, and it is gone before anything is made of it.
        [worker] = service.processes("worker")
        worker.suspend()
        first = client.upload(bodies[0], ZIP)["id"]
        _fill(ballast, small_disk, leave=100_000)
        worker.resume()
        wait_for(lambda: "job_retried" in service.log.read_text(), what="a pause of intake")
        assert "DiskLow" in service.log.read_text()
        wait_for(lambda: not client.get("/v1/me")["accepts_uploads"], what="the API's notice of it")
        _refuses(client, bodies[1], documents[-1].xml, code="disk-low")
        ready = client.request("GET", "/readyz")
        assert (ready.status_code, ready.json()["warnings"][0]["part"]) == (200, "disk")
        assert 'ksefd_refused_requests_total{reason="disk"} 2.0' in client.request("GET", "/metrics").text

        _fill(small_disk / "more", small_disk, leave=0)
        _refuses_everything(service, client, bodies[1], documents[-1].xml, uploads=1, code="disk-low")
        assert client.request("GET", "/readyz").status_code == 503
        assert client.get(f"/v1/uploads/{first}")["state"] == "reading"

        ballast.unlink()
        (small_disk / "more").unlink()
        wait_for(lambda: client.request("GET", "/readyz").status_code == 200, what="readiness")
        second = client.upload_stubbornly(bodies[1], ZIP, key="second")["id"]
        for upload in (first, second):
            assert client.wait_until_done(upload)["counts"] == {"accepted": _COUNT}
        prove_all_accepted_once(sandbox, client, [first, second], documents)
        # Tries that failed for want of space leave nothing behind that would take space.
        left = [path for path in (small_disk / "uploads").rglob("*") if path.is_file()]
        assert left == []


def test_a_blob_store_that_is_gone_stops_acknowledgements_and_loses_nothing(
    sandbox: SandboxHandle, tmp_path: Path
) -> None:
    blobs = tmp_path / "blobs"
    with running_service(tmp_path, sandbox, blob_url=f"file://{blobs}") as service:
        client = service.add_tenant(seller_nip())
        documents = invoices(40, nip=client.nip)
        first = client.upload(zipped(documents[:20]), ZIP)["id"]
        client.wait_until_done(first)
        away = tmp_path / "away"
        blobs.rename(away)
        blobs.write_text("not a folder")
        _refuses_everything(
            service, client, zipped(documents[20:]), documents[-1].xml, uploads=1, code="blob-store-unavailable"
        )
        blobs.unlink()
        away.rename(blobs)
        second = client.upload_stubbornly(zipped(documents[20:]), ZIP, key="second")["id"]
        client.wait_until_done(second)
        prove_all_accepted_once(sandbox, client, [first, second], documents)


def _refuses_everything(
    service: ServiceHandle, client: ApiClient, body: bytes, document: bytes, *, uploads: int, code: str
) -> None:
    _refuses(client, body, document, code=code)
    assert len(client.get("/v1/uploads")["items"]) == uploads
    assert client.request("GET", "/livez").status_code == 200
    assert service.processes("worker")


def _refuses(client: ApiClient, body: bytes, document: bytes, *, code: str) -> None:
    for path, content, content_type in (
        ("/v1/uploads", body, ZIP),
        ("/v1/invoices", document, "application/xml"),
    ):
        answer = client.request("POST", path, content=content, headers={"Content-Type": content_type})
        assert (answer.status_code, answer.json()["code"]) == (503, code), answer.text
        assert int(answer.headers["retry-after"]) > 0


def _fill(ballast: Path, folder: Path, *, leave: int) -> None:
    """Write a file that leaves so many bytes of the folder's file system free."""
    status = os.statvfs(folder)
    with ballast.open("wb") as file:
        file.write(bytes(status.f_bavail * status.f_bsize - leave))
