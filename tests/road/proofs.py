"""What every road must end with: KSeF has each invoice once, was never sent one twice, and we say the same."""

import base64
import io
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import httpx

from invoicegen.invoices import GeneratedInvoice, write_ndjson, write_targz, write_zip
from tests.support.ksef_by_hand import random_nip
from tests.support.road import invoices
from tests.support.sandbox_process import SandboxHandle
from tests.support.service_process import ApiClient

ZIP, TARGZ, NDJSON = "application/zip", "application/gzip", "application/x-ndjson"
BOUNDARY = "5c6f3b0e9a"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"


def seller_nip() -> str:
    """A seller that no other test has."""
    return random_nip()


def zipped(documents: Sequence[GeneratedInvoice]) -> bytes:
    """The invoices as a ZIP."""
    target = io.BytesIO()
    write_zip(target, documents)
    return target.getvalue()


def tarred(documents: Sequence[GeneratedInvoice]) -> bytes:
    """The invoices as a tar.gz."""
    target = io.BytesIO()
    write_targz(target, documents)
    return target.getvalue()


def lines_of(documents: Sequence[GeneratedInvoice]) -> bytes:
    """The invoices as NDJSON."""
    target = io.BytesIO()
    write_ndjson(target, documents)
    return target.getvalue()


def form_of(documents: Sequence[GeneratedInvoice]) -> bytes:
    """The invoices as parts of a form."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{one.name}"\r\n'
        f"Content-Type: application/xml\r\n\r\n".encode()
        + one.xml
        + b"\r\n"
        for one in documents
    ]
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def ledger(sandbox: SandboxHandle) -> dict[str, Any]:
    """What the sandbox counted, of all sellers."""
    found: dict[str, Any] = httpx.get(f"{sandbox.control_url}/ledger", timeout=30).json()
    return found


def accepted_by_ksef(sandbox: SandboxHandle, nip: str) -> list[dict[str, Any]]:
    """Every acceptance of one seller, repeated ones too."""
    answer = httpx.get(f"{sandbox.control_url}/ledger", params={"full": "1"}, timeout=30)
    return [row for row in map(json.loads, answer.text.splitlines()) if row["seller_nip"] == nip]


def add_fault(sandbox: SandboxHandle, **rule: Any) -> None:
    """Have chosen requests fail."""
    httpx.post(f"{sandbox.control_url}/faults", json=rule).raise_for_status()


def faults_applied(sandbox: SandboxHandle) -> list[int]:
    """How often each rule was applied, in the order in which they were added."""
    return [item["applied"] for item in httpx.get(f"{sandbox.control_url}/faults").json()["items"]]


def prove_all_accepted_once(
    sandbox: SandboxHandle, client: ApiClient, uploads: Sequence[str], documents: Sequence[GeneratedInvoice]
) -> None:
    """Every document has one KSeF number, KSeF and we agree on it, and no document was ever sent twice."""
    prove_verdicts(sandbox, client, uploads, accepted=documents, rejected=())


def prove_verdicts(
    sandbox: SandboxHandle,
    client: ApiClient,
    uploads: Sequence[str],
    *,
    accepted: Sequence[GeneratedInvoice],
    rejected: Sequence[GeneratedInvoice],
) -> None:
    """The same, when KSeF has to refuse some documents."""
    results = [result for upload in uploads for result in client.results(upload)]
    wanted = {"accepted": len(accepted), "rejected": len(rejected)}
    assert Counter(result["state"] for result in results) == {state: count for state, count in wanted.items() if count}
    for state, documents in (("accepted", accepted), ("rejected", rejected)):
        numbers = [result["number"] for result in results if result["state"] == state]
        assert sorted(numbers) == sorted(one.number for one in documents)
    theirs = accepted_by_ksef(sandbox, client.nip)
    assert len(theirs) == len(accepted)
    hashes = {base64.b64decode(row["invoice_hash"]).hex(): row["ksef_number"] for row in theirs}
    assert hashes == {result["sha256"]: result["ksef_number"] for result in results if result["state"] == "accepted"}
    assert len(set(hashes.values())) == len(accepted)
    assert ledger(sandbox)["duplicate_attempts"] == 0


__all__ = [
    "MULTIPART",
    "NDJSON",
    "TARGZ",
    "ZIP",
    "accepted_by_ksef",
    "add_fault",
    "faults_applied",
    "form_of",
    "invoices",
    "ledger",
    "lines_of",
    "prove_all_accepted_once",
    "prove_verdicts",
    "seller_nip",
    "tarred",
    "zipped",
]
