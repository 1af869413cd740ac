"""A body in pieces over a real service that is killed in the middle of one."""

import hashlib
import io
import os
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.app.api.tus_client import ADDRESS, PIECE, TUS, metadata
from tests.road.proofs import accepted_by_ksef, invoices, seller_nip
from tests.support.sandbox_process import SandboxHandle
from tests.support.service_process import ApiClient, running_service

COUNT = 60
PIECE_BYTES = 8_000_000
SIZE = 50_000_000


def _tar(documents: list[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in documents:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _offset(client: ApiClient, location: str) -> int:
    return int(client.request("HEAD", location, headers=TUS).headers["upload-offset"])


@pytest.mark.timeout(120)
def test_a_service_killed_in_the_middle_of_a_piece_goes_on_behind_the_last_acknowledged_one(
    sandbox: SandboxHandle, tmp_path: Path
) -> None:
    with running_service(tmp_path, sandbox, session_max_invoices=COUNT) as service:
        client = service.add_tenant(seller_nip())
        documents = invoices(COUNT, nip=client.nip)
        entries = [(one.name, one.xml) for one in documents]
        # Most of it is no invoice, so that there is much to carry and little to check.
        entries.insert(COUNT // 2, ("filler.xml", os.urandom(SIZE)))
        body = _tar(entries)
        announced = metadata(filetype="application/x-tar", sha256=hashlib.sha256(body).hexdigest())
        created = client.request("POST", ADDRESS, headers=TUS | announced | {"Upload-Length": str(len(body))})
        assert created.status_code == 201, created.text
        location = created.headers["location"]

        def send(start: int, content: bytes | Iterator[bytes]) -> httpx.Response:
            return client.request("PATCH", location, content=content, headers=PIECE | {"Upload-Offset": str(start)})

        acknowledged = 0
        for _ in range(3):
            answer = send(acknowledged, body[acknowledged : acknowledged + PIECE_BYTES])
            assert answer.status_code == 204, answer.text
            acknowledged = int(answer.headers["upload-offset"])

        killed = threading.Event()

        def cut_short() -> Iterator[bytes]:
            yield body[acknowledged : acknowledged + PIECE_BYTES // 2]
            service.kill("api")
            service.kill("supervisor")
            killed.set()
            yield body[acknowledged + PIECE_BYTES // 2 : acknowledged + PIECE_BYTES]

        with pytest.raises(httpx.TransportError):
            send(acknowledged, cut_short())
        assert killed.is_set()
        service.start()

        at = _offset(client, location)
        assert acknowledged == 3 * PIECE_BYTES
        assert acknowledged <= at <= acknowledged + PIECE_BYTES // 2
        while at < len(body):
            answer = send(at, body[at : at + PIECE_BYTES])
            assert answer.status_code == 204, answer.text
            at = int(answer.headers["upload-offset"])
        upload = location.rpartition("/")[2]
        assert f"/v1/uploads/{upload}" in answer.headers["link"]
        done = client.wait_until_done(upload)
        assert (done["state"], done["counts"]) == ("completed", {"accepted": COUNT, "invalid": 1})
        assert done["sha256"] == hashlib.sha256(body).hexdigest()
        assert len(accepted_by_ksef(sandbox, client.nip)) == COUNT
        assert [one["name"] for one in client.results(upload)] == [name for name, _ in entries]
