"""The demo's parts: a check that cannot fail would prove nothing, so each is shown something wrong."""

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from base64 import b64encode
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from app.cli.demo.checks import BadInvoiceResult, Verdicts, check_forgery, check_ledger, check_webhooks
from app.cli.demo.invoices import DemoInvoices, bad_places, made_up_nip, make_demo_invoices
from app.cli.demo.processes import ChildFailed, clean_environment, free_port, run_once, running
from app.cli.demo.receiver import Receiver, listening
from app.domain.ksef_number import make_ksef_number
from app.forms.nip import is_nip
from tests.support.waiting import poll

TODAY = date(2026, 11, 22)
SECRET = "whsec_" + b64encode(b"0" * 32).decode()


@given(st.integers(0, 1 << 30))
def test_a_made_up_seller_has_a_right_check_digit(seed: int) -> None:
    assert is_nip(made_up_nip(seed))
    assert made_up_nip(seed) == made_up_nip(seed)


@given(st.integers(1, 500), st.integers(0, 20))
def test_every_bad_document_has_a_place(count: int, bad: int) -> None:
    places = bad_places(count, bad)
    assert sorted(one for ones in places.values() for one in ones) == list(range(bad))
    assert all(0 <= place < count for place in places)


def test_the_stream_holds_every_document_once() -> None:
    invoices = make_demo_invoices(30, 5, TODAY, seed=7)
    tar = b"".join(invoices.pieces())
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        names = opened.getnames()
    assert len(names) == len(set(names)) == invoices.sent == invoices.total == 35
    assert set(names) == set(invoices.sent_names.values()) | {one.name for one in invoices.bad}
    assert tar == b"".join(make_demo_invoices(30, 5, TODAY, seed=7).pieces())


def invoices_and_results() -> tuple[DemoInvoices, list[dict[str, Any]]]:
    invoices = make_demo_invoices(3, 2, TODAY, seed=1)
    for _ in invoices.pieces():
        continue
    results: list[dict[str, Any]] = [
        {
            "id": f"inv_{place}",
            "name": name,
            "state": "accepted",
            "sha256": digest,
            "ksef_number": make_ksef_number(invoices.seller_nip, TODAY, place.to_bytes(6, "big")),
        }
        for place, (digest, name) in enumerate(invoices.sent_names.items())
    ]
    for one in invoices.bad:
        finding = {"rule": one.rule, "severity": "error", "message": "no"}
        results.append({"id": "inv_b", "name": one.name, "state": "invalid", "sha256": "", "findings": [finding]})
    return invoices, results


def test_the_true_verdicts_pass() -> None:
    invoices, results = invoices_and_results()
    verdicts = Verdicts(invoices, results)
    assert verdicts.check_valid().ok
    assert verdicts.check_bad().ok


def _lost(results: list[dict[str, Any]]) -> None:
    results.pop(0)


def _rejected(results: list[dict[str, Any]]) -> None:
    results[0]["state"] = "rejected"


def _same_number(results: list[dict[str, Any]]) -> None:
    results[0]["ksef_number"] = results[1]["ksef_number"]


def _wrong_digits(results: list[dict[str, Any]]) -> None:
    last = results[0]["ksef_number"][-1]
    results[0]["ksef_number"] = results[0]["ksef_number"][:-1] + ("0" if last != "0" else "1")


def _unknown(results: list[dict[str, Any]]) -> None:
    results.append(results[0] | {"sha256": "f" * 64, "name": "stranger.xml"})


@pytest.mark.parametrize("spoil", [_lost, _rejected, _same_number, _wrong_digits, _unknown])
def test_a_wrong_verdict_on_a_valid_invoice_is_found(spoil: Callable[[list[dict[str, Any]]], None]) -> None:
    invoices, results = invoices_and_results()
    spoil(results)
    assert not Verdicts(invoices, results).check_valid().ok


def test_a_bad_invoice_refused_for_another_reason_is_found() -> None:
    invoices, results = invoices_and_results()
    results[-1]["findings"][0]["rule"] = "other"
    assert not Verdicts(invoices, results).check_bad().ok
    assert not Verdicts(invoices, results[:-1]).check_bad().ok
    sound = BadInvoiceResult("x", "y", "too-large", "invalid", ("entry-too-large",), "")
    assert sound.ok
    assert not replace(sound, state="accepted").ok


def test_a_ledger_that_differs_is_found() -> None:
    invoices, results = invoices_and_results()
    verdicts = Verdicts(invoices, results)
    rows = [
        {"invoice_hash": b64encode(bytes.fromhex(digest)).decode(), "ksef_number": number}
        for digest, number in verdicts.numbers.items()
    ]
    ledger = {"accepted": 3, "distinct": 3, "duplicate_attempts": 0}

    def passes(changes: dict[str, int], listed: Iterable[dict[str, Any]]) -> bool:
        return check_ledger(ledger | changes, listed, invoices, verdicts).ok

    assert passes({}, rows)
    assert not passes({"duplicate_attempts": 1}, rows)
    assert not passes({"accepted": 4}, rows)
    assert not passes({}, rows[1:])
    assert not passes({}, [rows[0] | {"ksef_number": "other"}, *rows[1:]])


def delivery(event: dict[str, Any], *, secret: str = SECRET) -> tuple[dict[str, str], bytes]:
    body = json.dumps(event)
    now = datetime.now(UTC)
    headers = {
        "webhook-id": event["id"],
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(event["id"], now, body),
    }
    return headers, body.encode()


def event(number: int, **data: Any) -> dict[str, Any]:
    return {"id": f"evt_{number}", "type": "invoices.accepted" if data else "session.completed", "data": data}


def test_the_receiver_believes_only_what_is_signed() -> None:
    receiver = Receiver()
    invoices, results = invoices_and_results()
    verdicts = Verdicts(invoices, results)
    assert receiver.take(*delivery(event(0))) == 503
    receiver.expect(SECRET)
    announced = [{"id": key, "ksef_number": number} for key, number in verdicts.ids.items()]
    assert receiver.take(*delivery(event(1, invoices=announced))) == 204
    assert receiver.take(*delivery(event(1, invoices=announced))) == 204
    assert receiver.take(*delivery(event(2))) == 204
    assert (receiver.verified, receiver.repeated) == (3, 1)
    assert check_webhooks(receiver, verdicts, sessions=1).ok
    assert check_forgery(receiver).ok
    assert not check_webhooks(receiver, verdicts, sessions=2).ok
    headers, body = delivery(event(3))
    assert receiver.take(headers, body + b" ") == 401
    assert receiver.take(*delivery(event(4), secret="whsec_" + b64encode(b"1" * 32).decode())) == 401
    assert len(receiver.refused) == 2
    assert not check_webhooks(receiver, verdicts, sessions=1).ok


def test_the_receiver_answers_over_http() -> None:
    receiver = Receiver()
    receiver.expect(SECRET)
    with listening(receiver) as url:
        headers, body = delivery(event(1))
        assert httpx.post(url, headers=headers, content=body, trust_env=False).status_code == 204
        assert httpx.post(url, headers=headers, content=body[:-1], trust_env=False).status_code == 401
    assert receiver.verified == 1


def test_a_child_that_dies_is_reported_with_the_end_of_its_output(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise SystemExit('out of coffee')")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    with (
        running("the child", ["broken"], environment, tmp_path / "log") as child,
        pytest.raises(ChildFailed, match="exit code 1: out of coffee"),
    ):
        child.wait_until_ready(f"http://127.0.0.1:{free_port()}/")
    with pytest.raises(ChildFailed, match="out of coffee"):
        run_once(["broken"], environment)


def test_the_service_of_the_demo_gets_none_of_our_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KSEFD_DATABASE_URL", "postgresql://production/")
    monkeypatch.setenv("KSEFD_SCHEMA_DIR", "/schemas")
    environment = clean_environment({"KSEFD_DATA_DIR": "/x"})
    assert "KSEFD_DATABASE_URL" not in environment
    assert environment["KSEFD_SCHEMA_DIR"] == "/schemas"
    assert environment["PATH"] == os.environ["PATH"]


@pytest.mark.slow
def test_the_whole_demo_passes_its_own_checks(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "app.cli.main", "demo", "--count", "60", "--bad", "4", "--json"],
        cwd=tmp_path,
        env=clean_environment({"TMPDIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[4])}),
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["counts"] == {"accepted": 60, "invalid": 4}
    assert all(check["ok"] for check in report["checks"])
    assert [(tmp_path / path).is_file() for path in report["upo"]] == [True]
    assert not list(tmp_path.glob("ksefd-demo-*"))


@pytest.mark.slow
def test_a_demo_that_is_told_to_stop_leaves_nothing_behind(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "app.cli.main", "demo", "--count", "5000", "--json"],
        cwd=tmp_path,
        env=clean_environment({"TMPDIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[4])}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def pid_files() -> list[Path]:
        return list(tmp_path.glob("ksefd-demo-*/postgres/postmaster.pid"))

    async def has_a_database() -> bool:
        assert process.poll() is None
        return bool(pid_files())

    anyio.run(poll, has_a_database)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 130
    assert not list(tmp_path.glob("ksefd-demo-*"))
