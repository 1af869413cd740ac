"""Ctrl-C at every stage, and the service started again: nothing is lost, nothing is sent twice."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.road.proofs import ZIP, add_fault, invoices, prove_all_accepted_once, seller_nip, zipped
from tests.support.sandbox_process import SandboxHandle
from tests.support.service_process import ApiClient, running_service, wait_for

COUNT = 600


def _at_once(client: ApiClient, upload: str) -> bool:
    return True


def _while_reading(client: ApiClient, upload: str) -> bool:
    counts: dict[str, int] = client.get(f"/v1/uploads/{upload}")["counts"]
    return any(counts.values())


def _once_sealed(client: ApiClient, upload: str) -> bool:
    return bool(client.sessions())


def _while_ksef_works(client: ApiClient, upload: str) -> bool:
    return any(session["state"] == "processing" for session in client.sessions())


def test_ctrl_c_at_any_moment_and_a_new_start_lose_and_repeat_nothing(sandbox: SandboxHandle, tmp_path: Path) -> None:
    add_fault(sandbox, method="POST", path="/close$", delay=0.3)
    moments: list[Callable[[ApiClient, str], bool]] = [_at_once, _while_reading, _once_sealed, _while_ksef_works]
    with running_service(tmp_path, sandbox, session_max_invoices=150) as service:
        for moment in moments:
            client = service.add_tenant(seller_nip())
            documents = invoices(COUNT, nip=client.nip)
            upload = client.upload(zipped(documents), ZIP)["id"]
            wait_for(partial(moment, client, upload), what=moment.__name__)
            assert service.interrupt() == 0
            service.start()
            done = client.wait_until_done(upload)
            assert (done["state"], done["counts"]) == ("completed", {"accepted": COUNT})
            prove_all_accepted_once(sandbox, client, [upload], documents)


def test_ctrl_c_on_an_idle_service_ends_it_and_its_database_in_order(sandbox: SandboxHandle, tmp_path: Path) -> None:
    with running_service(tmp_path, sandbox) as service:
        assert service.processes("api")
        assert service.processes("worker")
        assert service.processes("postgres")
        assert service.interrupt() == 0
        assert not (service.data_dir / "postgres" / "postmaster.pid").exists()


def test_a_killed_supervisor_takes_its_processes_along(sandbox: SandboxHandle, tmp_path: Path) -> None:
    with running_service(tmp_path, sandbox) as service:
        service.kill("supervisor")
        wait_for(lambda: not service.survivors(with_database=False), seconds=15, what="the end of the orphans")
        # The database stays, as it would after a crash, and the next start finds it.
        assert service.processes("postgres")
        service.start()
        assert service.interrupt() == 0
