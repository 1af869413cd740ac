"""Two drills with real processes: a lost machine, and an old backup after more was sent."""

import json
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

from tests.road.proofs import ZIP, invoices, prove_all_accepted_once, seller_nip, zipped
from tests.support.sandbox_process import SandboxHandle
from tests.support.service_process import ApiClient, ServiceHandle, running_service, wait_for

COUNT = 40
_ROOT = Path(__file__).resolve().parents[2]


def ksefd(service: ServiceHandle, *arguments: str) -> Any:
    """Run a command on the service's machine and give its JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "app.cli.main", *arguments, "--json"],
        cwd=_ROOT,
        env=service.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def lose_machine(service: ServiceHandle, safe: Path) -> None:
    """Kill everything at once and remove the data folder. The key's copy is in a safe place, as the documents say."""
    shutil.copy2(service.data_dir / "master.key", safe)
    for name in ("supervisor", "postgres", "worker", "api"):
        service.kill(name)
    wait_for(lambda: not service.survivors(), seconds=30, what="the end of all processes")
    shutil.rmtree(service.data_dir)


def restore(service: ServiceHandle, backup: Path, safe: Path, *options: str) -> None:
    """Put the key into a new data folder, restore, and start the service."""
    service.data_dir.mkdir(mode=0o700)
    shutil.copy2(safe, service.data_dir / "master.key")
    ksefd(service, "restore", str(backup), *options)
    service.start()


def test_a_lost_machine_comes_back_and_nothing_is_lost_or_sent_twice(sandbox: SandboxHandle, tmp_path: Path) -> None:
    backup, safe = tmp_path / "backup.tar", tmp_path / "safe.key"
    with running_service(tmp_path, sandbox, linger_seconds=86_400) as service:
        client = service.add_tenant(seller_nip())
        documents = invoices(2 * COUNT, nip=client.nip)
        sent = client.upload(zipped(documents[:COUNT]), ZIP, flush="true")["id"]
        assert client.wait_until_done(sent)["counts"] == {"accepted": COUNT}
        waiting = client.upload(zipped(documents[COUNT:]), ZIP)["id"]
        wait_for(partial(_is_queued, client, waiting), what="the queue")
        receipt = client.request("GET", f"/v1/invoices/{client.results(sent)[0]['id']}/upo").content
        made = ksefd(service, "backup", str(backup))
        assert made["missing"] == 0

        lose_machine(service, safe)
        restore(service, backup, safe)
        assert client.request("GET", f"/v1/invoices/{client.results(sent)[0]['id']}/upo").content == receipt
        assert client.request("POST", "/v1/flush").is_success
        assert client.wait_until_done(waiting)["counts"] == {"accepted": COUNT}
        prove_all_accepted_once(sandbox, client, [sent, waiting], documents)


def test_an_old_backup_after_more_was_sent_finds_it_at_ksef_and_sends_nothing_twice(
    sandbox: SandboxHandle, tmp_path: Path
) -> None:
    backup, safe = tmp_path / "backup.tar", tmp_path / "safe.key"
    with running_service(tmp_path, sandbox, linger_seconds=86_400) as service:
        client = service.add_tenant(seller_nip())
        documents = invoices(COUNT, nip=client.nip)
        upload = client.upload(zipped(documents), ZIP)["id"]
        wait_for(partial(_is_queued, client, upload), what="the queue")
        ksefd(service, "backup", str(backup))
        assert client.request("POST", "/v1/flush").is_success
        assert client.wait_until_done(upload)["counts"] == {"accepted": COUNT}
        numbers = {result["number"]: result["ksef_number"] for result in client.results(upload)}

        lose_machine(service, safe)
        restore(service, backup, safe)
        # The restored database says that they wait to be sent; the service asks KSeF before it sends anything.
        assert client.request("POST", "/v1/flush").is_success
        assert client.wait_until_done(upload)["counts"] == {"accepted": COUNT}
        assert {result["number"]: result["ksef_number"] for result in client.results(upload)} == numbers
        prove_all_accepted_once(sandbox, client, [upload], documents)


def _is_queued(client: ApiClient, upload: str) -> bool:
    counts: dict[str, int] = client.get(f"/v1/uploads/{upload}")["counts"]
    return counts == {"queued": COUNT}
