"""kill -9 of any process at any moment: whatever was acknowledged reaches KSeF, once."""

import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import get_args

import pytest

from tests.road.proofs import TARGZ, ZIP, invoices, prove_all_accepted_once, seller_nip, tarred, zipped
from tests.support.sandbox_process import SandboxHandle
from tests.support.service_process import Name, ServiceHandle, running_service, wait_for

TORTURE = os.environ.get("KSEFD_TORTURE") == "1"
ROUNDS = 12 if TORTURE else 1
COUNT = 2_000
UPLOADS = 4
NAMES: tuple[Name, ...] = get_args(Name)
_RECOVERY_SECONDS = 150.0


class Killer(threading.Thread):
    """Kills one process after the other, each kind at least once, with seeded pauses; starts a killed service anew."""

    def __init__(self, service: ServiceHandle, seed: int) -> None:
        super().__init__(name="killer")
        self._service = service
        self._chance = random.Random(seed)
        self.killed: list[Name] = []
        self.error: BaseException | None = None

    def run(self) -> None:
        order = list(NAMES)
        self._chance.shuffle(order)
        try:
            for name in order:
                time.sleep(self._chance.uniform(0.1, 1.2))
                # One that was killed a moment ago may not be back yet, and the pool starts with its first work.
                wait_for(partial(self._service.kill, name), what=f"a {name} to kill")
                self.killed.append(name)
                if name == "supervisor":
                    self._service.start()
        except BaseException as error:
            self.error = error


@pytest.mark.parametrize("seed", range(1, ROUNDS + 1))
@pytest.mark.timeout(300)
def test_kill_9_of_every_process_loses_and_repeats_nothing(sandbox: SandboxHandle, tmp_path: Path, seed: int) -> None:
    with running_service(tmp_path, sandbox, session_max_invoices=200) as service:
        client = service.add_tenant(seller_nip(), compression="targz" if seed % 2 else "zip")
        documents = invoices(COUNT, nip=client.nip)
        step = COUNT // UPLOADS
        pieces = [documents[start : start + step] for start in range(0, COUNT, step)]
        killer = Killer(service, seed)
        killer.start()
        with ThreadPoolExecutor(UPLOADS) as threads:
            sending = [
                threads.submit(
                    client.upload_stubbornly,
                    zipped(piece) if number % 2 else tarred(piece),
                    ZIP if number % 2 else TARGZ,
                    key=f"piece-{number}",
                )
                for number, piece in enumerate(pieces)
            ]
            uploads = [future.result()["id"] for future in sending]
        killer.join()
        if killer.error is not None:
            raise killer.error
        assert sorted(killer.killed) == sorted(NAMES)
        for upload in uploads:
            done = client.wait_until_done(upload, seconds=_RECOVERY_SECONDS)
            assert (done["state"], done["counts"]) == ("completed", {"accepted": step})
        prove_all_accepted_once(sandbox, client, uploads, documents)


def test_single_posts_that_were_acknowledged_survive_the_killing_of_api_and_worker(
    sandbox: SandboxHandle, tmp_path: Path
) -> None:
    with running_service(tmp_path, sandbox) as service:
        client = service.add_tenant(seller_nip())
        documents = invoices(60, nip=client.nip)
        ids = []
        for position, document in enumerate(documents):
            if position == 20:
                service.kill("worker")
            if position == 40:
                service.kill("api")
                service.wait_until_ready()
            answer = client.request(
                "POST", "/v1/invoices", content=document.xml, headers={"Content-Type": "application/xml"}
            )
            assert answer.status_code == 202, answer.text
            ids.append(answer.json()["id"])

        def accepted() -> bool:
            return all(client.get(f"/v1/invoices/{one}")["state"] == "accepted" for one in ids)

        wait_for(accepted, seconds=90, what="the acceptance of every single post")
        uploads = list({client.get(f"/v1/invoices/{one}")["upload"] for one in ids})
        prove_all_accepted_once(sandbox, client, uploads, documents)
