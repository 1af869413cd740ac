"""The master key is changed beside an upload, the command killed twice: nothing is lost, sent twice or unreadable."""

import secrets
import subprocess
import sys
import time
from pathlib import Path

from tests.road.proofs import ZIP, invoices, prove_all_accepted_once, seller_nip, zipped
from tests.support.sandbox_process import SandboxHandle
from tests.support.service_process import ServiceHandle, running_service, wait_for

ROOT = Path(__file__).resolve().parents[2]
COUNT = 400


def _rotate(service: ServiceHandle, new_key: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "app.cli.main", "master-key", "rotate", "--new-key-file", str(new_key)]
    return subprocess.Popen(command, cwd=ROOT, env=service.environment, stderr=subprocess.DEVNULL)


def test_the_master_key_is_changed_during_an_upload_and_killed_twice(sandbox: SandboxHandle, tmp_path: Path) -> None:
    new_key = tmp_path / "new.key"
    new_key.write_text(secrets.token_hex(32))
    new_key.chmod(0o600)
    with running_service(tmp_path, sandbox, session_max_invoices=100) as service:
        client = service.add_tenant(seller_nip())
        documents = invoices(COUNT, nip=client.nip)
        upload = client.upload(zipped(documents), ZIP)["id"]
        for delay in (0.6, 1.2):
            running = _rotate(service, new_key)
            time.sleep(delay)
            running.kill()
            running.wait(timeout=10)
        assert _rotate(service, new_key).wait(timeout=60) == 0
        key_file = service.data_dir / "master.key"
        assert key_file.read_text().strip() == new_key.read_text()
        assert (service.data_dir / "master.key.old").is_file()
        # Their successors start with the new file.
        wait_for(lambda: service.kill("worker"), what="a worker to kill")
        wait_for(lambda: service.kill("api"), what="an API to kill")
        done = client.wait_until_done(upload, seconds=120)
        assert (done["state"], done["counts"]) == ("completed", {"accepted": COUNT})
        prove_all_accepted_once(sandbox, client, [upload], documents)
        verify = [sys.executable, "-m", "app.cli.main", "audit", "--verify"]
        assert subprocess.run(verify, cwd=ROOT, env=service.environment, check=False, timeout=60).returncode == 0
