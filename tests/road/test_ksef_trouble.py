"""KSeF that answers wrongly, late or not at all: nothing is lost, nothing is sent twice, every verdict is right."""

import os
from collections.abc import Iterator
from typing import Any

import pytest

from app.clock import utc_now, warsaw_day
from invoicegen.invoices import GeneratedInvoice, generate_invoices
from tests.road.proofs import ZIP, add_fault, faults_applied, ledger, prove_verdicts, seller_nip, zipped
from tests.support.sandbox_process import SandboxHandle
from tests.support.service_process import ServiceHandle, running_service

COUNT = 120
TORTURE = os.environ.get("KSEFD_TORTURE") == "1"
HTML = {"body": "<!DOCTYPE html><html><title>Request Rejected</title></html>", "content_type": "text/html"}
LIMIT = '{"status": {"code": 429, "description": "Too Many Requests", "details": ["Spróbuj ponownie po 2 sekundach."]}}'
OPEN: dict[str, Any] = {"method": "POST", "path": "^/sessions/batch$"}
CLOSE: dict[str, Any] = {"method": "POST", "path": "/close$"}
PART: dict[str, Any] = {"method": "PUT", "path": "/batch-parts/"}
STATUS: dict[str, Any] = {"method": "GET", "path": "^/sessions/[^/]+$"}
FAILED: dict[str, Any] = {"method": "GET", "path": "/invoices/failed$"}
RECEIPT: dict[str, Any] = {"method": "GET", "path": "/session-upo/"}

TROUBLES: dict[str, dict[str, Any]] = {
    "open-500-after-it-was-done": OPEN | {"answer_status": 500},
    "open-cut-after-it-was-done": OPEN | {"cut": "after"},
    "open-429": OPEN | {"status": 429, "body": LIMIT, "headers": {"Retry-After": "2"}},
    "open-401-once": OPEN | {"status": 401},
    "part-200-with-html": PART | {"status": 200} | HTML,
    "part-201-but-not-kept": PART | {"status": 201},
    "part-cut-before": PART | {"cut": "before"},
    "part-cut-after-it-was-stored": PART | {"cut": "after"},
    "close-cut-after-it-was-done": CLOSE | {"cut": "after"},
    "close-cut-before": CLOSE | {"cut": "before"},
    "close-502-after-it-was-done": CLOSE | {"answer_status": 502} | HTML,
    "close-502-and-nothing-done": CLOSE | {"status": 502} | HTML,
    "close-200-with-html-and-nothing-done": CLOSE | {"status": 200} | HTML,
    "close-429": CLOSE | {"status": 429, "body": LIMIT, "headers": {"Retry-After": "2"}},
    "status-500": STATUS | {"status": 500},
    "status-200-with-html": STATUS | {"status": 200} | HTML,
    "failed-list-500": FAILED | {"status": 500},
    "receipt-500": RECEIPT | {"status": 500},
    "receipt-200-with-html": RECEIPT | {"status": 200} | HTML,
    "receipt-cut": RECEIPT | {"cut": "before"},
    "login-500": {"method": "POST", "path": "^/auth/", "status": 500},
}


@pytest.fixture(scope="module")
def service(sandbox_of_the_run: SandboxHandle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceHandle]:
    """A service with small sessions, so that one upload becomes several and each can meet a fault of its own."""
    with running_service(tmp_path_factory.mktemp("trouble"), sandbox_of_the_run, session_max_invoices=30) as handle:
        yield handle


def _cases() -> list[tuple[str, ...]]:
    """Every fault alone in the long run; in the short one those of the same call together, each in one session or more."""
    if TORTURE:
        return [(name,) for name in TROUBLES]
    calls = ("open", "part", "close", "status", "failed", "receipt", "login")
    return [tuple(name for name in TROUBLES if name.startswith(call)) for call in calls]


@pytest.mark.parametrize("names", _cases(), ids=lambda names: names[0] if len(names) == 1 else names[0].split("-")[0])
def test_faults_of_one_call_change_no_verdict(
    service: ServiceHandle, sandbox: SandboxHandle, names: tuple[str, ...]
) -> None:
    _keep_consent_unknown(sandbox)
    client = service.add_tenant(seller_nip())
    good, refused = _mixed(client.nip)
    for name in names:
        add_fault(sandbox, **TROUBLES[name], times=1)
    upload = client.upload(zipped([*good, *refused]), ZIP)["id"]
    done = client.wait_until_done(upload)
    assert faults_applied(sandbox)[1:] == [1] * len(names)
    assert done["counts"] == {"accepted": len(good), "rejected": len(refused)}
    prove_verdicts(sandbox, client, [upload], accepted=good, rejected=refused)
    assert all(row["session"] for row in client.results(upload))


def test_bad_weather_over_many_sessions_changes_no_verdict(service: ServiceHandle, sandbox: SandboxHandle) -> None:
    _keep_consent_unknown(sandbox)
    clients = [service.add_tenant(seller_nip(), compression=form) for form in ("zip", "targz")]
    for number, fault in enumerate(TROUBLES.values()):
        # Which requests it hits depends on how the sessions run; that every rule stays within its bound does not.
        add_fault(sandbox, **fault, probability=0.3, seed=number, times=1)
    work = []
    for client in clients:
        for piece in range(6):
            good, refused = _mixed(client.nip, piece)
            work.append((client, client.upload(zipped([*good, *refused]), ZIP)["id"], good, refused))
    for client, upload, good, refused in work:
        done = client.wait_until_done(upload, seconds=150)
        assert done["counts"] == {"accepted": len(good), "rejected": len(refused)}
    for client in clients:
        mine = [item for item in work if item[0] is client]
        prove_verdicts(
            sandbox,
            client,
            [item[1] for item in mine],
            accepted=[one for item in mine for one in item[2]],
            rejected=[one for item in mine for one in item[3]],
        )
    assert sum(faults_applied(sandbox)[1:]) > len(TROUBLES) // 3
    assert ledger(sandbox)["duplicate_attempts"] == 0


def _keep_consent_unknown(sandbox: SandboxHandle) -> None:
    """Have KSeF not tell whether a tenant may send attachments: once a minute it is asked, and ours would refuse them instead of KSeF."""
    add_fault(sandbox, method="GET", path="/permissions/attachments/status$", status=500)


def _mixed(nip: str, piece: int = 0) -> tuple[list[GeneratedInvoice], list[GeneratedInvoice]]:
    """Invoices that KSeF takes, and one with an attachment, which it refuses from sellers who never asked for them."""
    today = warsaw_day(utc_now())
    made = list(generate_invoices(2_000, seller_nip=nip, issue_date=today, seed=7))
    refused = [one for one in made if b"<Zalacznik" in one.xml][piece : piece + 1]
    assert refused
    good = [one for one in made if b"<Zalacznik" not in one.xml]
    return good[piece * COUNT : (piece + 1) * COUNT], refused
