"""What another installation has sent already, sent again by a whole service: accepted once, whatever is killed meanwhile."""

from pathlib import Path

from app.ksef.upo.reader import parse_upo
from tests.road.proofs import ZIP, invoices, seller_nip, zipped
from tests.support.ksef_by_hand import HandClient, Package, zip_package
from tests.support.sandbox_process import running_sandbox
from tests.support.service_process import running_service, wait_for

COUNT = 60
EARLIER = 40


def test_what_another_installation_sent_is_accepted_with_its_receipts_after_a_kill(tmp_path: Path) -> None:
    # Its duplicates count in the sandbox's ledger, so the sandbox is its own.
    with running_sandbox(log_level="error") as sandbox, running_service(tmp_path, sandbox) as service:
        client = service.add_tenant(seller_nip())
        documents = invoices(COUNT, nip=client.nip)
        other = HandClient(sandbox.base_url, client.nip).login()
        _, final = other.send(Package(zip_package({one.name: one.xml for one in documents[:EARLIER]})))
        other.close()
        assert final["successfulInvoiceCount"] == EARLIER
        upload = client.upload(zipped(documents), ZIP)
        wait_for(lambda: [one["state"] for one in client.sessions()] == ["completed"], what="the end of the session")
        service.kill("worker")
        done = client.wait_until_done(upload["id"])
        assert done["counts"] == {"accepted": COUNT}
        results = client.results(upload["id"])
        assert len({one["ksef_number"] for one in results}) == COUNT
        marked = [one for one in results if one["findings"]]
        assert {one["findings"][0]["rule"] for one in marked} == {"accepted-earlier"}
        assert len(marked) == EARLIER
        receipt = client.request("GET", f"/v1/invoices/{marked[0]['id']}/upo")
        (confirmed,) = parse_upo(receipt.content).documents
        assert confirmed.ksef_number == marked[0]["ksef_number"]
