"""kill -9 of any process at any moment: whatever was acknowledged reaches KSeF, once."""

import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import get_args

import pytest

from tests.road.proofs import TARGZ, ZIP, invoices, prove_all_accepted_once, seller_nip, tarred, zipped
from tests.support.sandbox_process import SandboxHandle
from tests.support.service_process import Name, running_service, wait_for

TORTURE = os.environ.get("KSEFD_TORTURE") == "1"
ROUNDS = 12 if TORTURE else 1
STEP = 350
NAMES: tuple[Name, ...] = get_args(Name)
COUNT = STEP * len(NAMES)
_RECOVERY_SECONDS = 150.0


@pytest.mark.parametrize("seed", range(1, ROUNDS + 1))
@pytest.mark.timeout(300)
def test_kill_9_of_every_process_loses_and_repeats_nothing(sandbox: SandboxHandle, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    order = list(NAMES)
    chance.shuffle(order)
    with running_service(tmp_path, sandbox, session_max_invoices=150) as service:
        client = service.add_tenant(seller_nip(), compression="targz" if seed % 2 else "zip")
        documents = invoices(COUNT, nip=client.nip)
        with ThreadPoolExecutor(len(order)) as threads:
            sending = []
            # New work before each killing, so that there is always something to interrupt, and a pool that is busy.
            for number, name in enumerate(order):
                piece = documents[number * STEP : (number + 1) * STEP]
                form, written = ((ZIP, zipped), (TARGZ, tarred))[number % 2]
                sending.append(threads.submit(client.upload_stubbornly, written(piece), form, key=f"piece-{number}"))
                time.sleep(chance.uniform(0.1, 1.5))
                # One that was killed a moment ago may not be back yet.
                wait_for(partial(service.kill, name), what=f"a {name} to kill")
                if name == "supervisor":
                    service.start()
            uploads = [future.result()["id"] for future in sending]
        for upload in uploads:
            done = client.wait_until_done(upload, seconds=_RECOVERY_SECONDS)
            assert (done["state"], done["counts"]) == ("completed", {"accepted": STEP})
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
