"""From a body over HTTP to KSeF numbers, receipts, metrics and webhooks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.cli.demo.receiver import Receiver, listening
from app.clock import utc_now, warsaw_day
from app.ksef.upo.reader import parse_upo
from invoicegen.bad_invoices import bad_invoices
from tests.road.proofs import (
    MULTIPART,
    NDJSON,
    TARGZ,
    ZIP,
    accepted_by_ksef,
    form_of,
    invoices,
    lines_of,
    prove_all_accepted_once,
    seller_nip,
    tarred,
    zipped,
)
from tests.support.sandbox_process import SandboxHandle
from tests.support.service_process import ServiceHandle, wait_for

COUNT = 500


@pytest.mark.parametrize("compression", ["zip", "targz"])
def test_every_invoice_of_an_upload_gets_its_number_its_receipt_and_its_webhook(
    calm_service: ServiceHandle, sandbox: SandboxHandle, tmp_path: Path, compression: str
) -> None:
    client = calm_service.add_tenant(seller_nip(), compression=compression)
    documents = invoices(COUNT, nip=client.nip)
    receiver = Receiver()
    with listening(receiver) as hook:
        answer = client.request("POST", "/v1/webhooks", json={"url": hook})
        assert answer.status_code == 201
        receiver.expect(answer.json()["secret"])
        upload = client.upload(zipped(documents), ZIP, reference="nightly")
        done = client.wait_until_done(upload["id"])
        assert (done["state"], done["counts"], done["errors"]) == ("completed", {"accepted": COUNT}, [])
        assert done["reference"] == "nightly"
        prove_all_accepted_once(sandbox, client, [upload["id"]], documents)

        sessions = client.sessions()
        wait_for(
            lambda: receiver.types["session.completed"] == len(sessions) and receiver.types["upload.completed"] == 1,
            what="the webhooks of the end",
        )
        numbers = {result["id"]: result["ksef_number"] for result in client.results(upload["id"])}
        wait_for(lambda: receiver.invoices == numbers, what="the webhooks with every number")
        assert receiver.refused == []
        assert receiver.refuses_forgery()

    told: dict[bytes, str] = {}
    for session in sessions:
        assert session["state"] == "completed"
        assert session["compression"] == compression
        for page in session["upo"]:
            path = tmp_path / "upo.xml"
            path.write_bytes(client.request("GET", f"/v1/sessions/{session['id']}/upo/{page['page']}").content)
            with path.open("rb") as file:
                told |= {document.invoice_hash: document.ksef_number for document in parse_upo(file).documents}
    assert {key.hex(): number for key, number in told.items()} == {
        result["sha256"]: result["ksef_number"] for result in client.results(upload["id"])
    }

    metrics = client.request("GET", "/metrics").text
    assert 'ksefd_invoices_total{state="accepted"}' in metrics
    assert 'ksefd_sessions{state="completed"}' in metrics
    assert 'ksefd_ksef_requests_total{group="batchSession",status="201"}' in metrics
    assert 'ksefd_webhook_deliveries_total{outcome="succeeded"}' in metrics
    assert client.tenant not in metrics or "lane" in metrics


def test_the_form_of_the_body_does_not_change_a_verdict(calm_service: ServiceHandle, sandbox: SandboxHandle) -> None:
    forms: list[tuple[str, Callable[..., bytes]]] = [
        (ZIP, zipped),
        (TARGZ, tarred),
        (NDJSON, lines_of),
        (MULTIPART, form_of),
    ]
    seen = []
    for content_type, written in forms:
        client = calm_service.add_tenant(seller_nip())
        documents = invoices(60, nip=client.nip)
        bad = bad_invoices(client.nip, warsaw_day(utc_now()))
        upload = client.upload(written([*documents, *bad, documents[0]]), content_type)
        done = client.wait_until_done(upload["id"])
        assert done["state"] == "completed", done
        rows = client.results(upload["id"])
        assert len(accepted_by_ksef(sandbox, client.nip)) == len(documents)
        seen.append([_verdict(row) for row in rows])
        assert sum(row["state"] == "duplicate" for row in rows) == 1
    assert seen[0] == seen[1] == seen[2] == seen[3]


def _verdict(row: dict[str, Any]) -> tuple[str, str, list[str]]:
    rules = [finding["rule"] for finding in row["findings"]]
    # A line too long to be held is known by its place only.
    return "" if "entry-too-large" in rules else row["name"], row["state"], rules
