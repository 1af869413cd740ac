"""Input that cannot be used: a problem document or a failed upload with a stable code, and nobody else is disturbed."""

import base64
import hashlib
from typing import Any

import pytest

from tests.road.proofs import (
    MULTIPART,
    NDJSON,
    TARGZ,
    ZIP,
    accepted_by_ksef,
    invoices,
    lines_of,
    prove_all_accepted_once,
    seller_nip,
    tarred,
    zipped,
)
from tests.support.sandbox_process import SandboxHandle
from tests.support.service_process import ApiClient, ServiceHandle


@pytest.fixture(scope="module")
def client(calm_service: ServiceHandle) -> ApiClient:
    return calm_service.add_tenant(seller_nip())


def test_each_unusable_request_is_a_problem_document_while_a_good_upload_goes_its_way(
    calm_service: ServiceHandle, sandbox: SandboxHandle, client: ApiClient
) -> None:
    good = calm_service.add_tenant(seller_nip())
    documents = invoices(800, nip=good.nip)
    upload = good.upload(zipped(documents), ZIP)["id"]

    small = zipped(invoices(3, nip=client.nip))
    other = zipped(invoices(4, nip=client.nip))
    before = len(client.get("/v1/uploads")["items"])
    key = {"Idempotency-Key": "night-1"}
    first = client.upload(small, ZIP, headers=key)
    assert client.upload(small, ZIP, headers=key)["id"] == first["id"]
    wrong_digest = base64.b64encode(hashlib.sha256(other).digest()).decode()
    cases: list[tuple[dict[str, Any], int, str]] = [
        ({"headers": {"Authorization": "Bearer ksefd_wrong", "Content-Type": ZIP}, "content": small}, 401, "unauthorized"),
        ({"headers": {"Content-Type": "application/pdf"}, "content": small}, 415, "unsupported-content-type"),
        ({"headers": {"Content-Type": "multipart/form-data"}, "content": small}, 415, "unsupported-content-type"),
        ({"headers": {"Content-Type": ZIP, "Content-Encoding": "gzip"}, "content": small}, 415, "unsupported-content-coding"),
        ({"headers": {"Content-Type": ZIP}, "content": b""}, 400, "empty-body"),
        (
            {"headers": {"Content-Type": ZIP, "Content-Digest": f"sha-256=:{wrong_digest}:"}, "content": small},
            400,
            "digest-mismatch",
        ),
        ({"headers": {"Content-Type": ZIP} | key, "content": other}, 422, "idempotency-key-reused"),
        ({"headers": {"Content-Type": NDJSON} | key, "content": small}, 422, "idempotency-key-reused"),
        ({"headers": {"Content-Type": ZIP}, "content": small, "params": {"atomic": "maybe"}}, 400, "invalid-request"),
        ({"headers": {"Content-Type": ZIP}, "content": _endless(101)}, 413, "body-too-large"),
        ({"headers": {"Content-Type": ZIP}, "content": bytes(100_000_001)}, 413, "body-too-large"),
    ]  # fmt: skip
    for request, status, code in cases:
        answer = client.request("POST", "/v1/uploads", **request)
        assert (answer.status_code, answer.headers["content-type"], answer.json()["code"]) == (
            status,
            "application/problem+json",
            code,
        ), answer.text
        assert answer.json()["status"] == status
    # Nothing of what was refused was kept.
    assert len(client.get("/v1/uploads")["items"]) == before + 1
    assert client.wait_until_done(first["id"])["counts"] == {"accepted": 3}
    assert good.wait_until_done(upload)["counts"] == {"accepted": len(documents)}
    prove_all_accepted_once(sandbox, good, [upload], documents)


def test_each_body_that_cannot_be_read_to_its_end_fails_with_a_reason_and_keeps_what_was_read(
    calm_service: ServiceHandle, sandbox: SandboxHandle
) -> None:
    client = calm_service.add_tenant(seller_nip())
    documents = iter(invoices(200, nip=client.nip))

    def some(count: int) -> list[Any]:
        return [next(documents) for _ in range(count)]

    in_zip, in_tar, in_atomic = some(20), some(20), some(20)
    packed = tarred(in_tar)
    cases: list[tuple[str, bytes, dict[str, Any], str, str]] = [
        ("no ZIP", b"%PDF-1.7 this is no ZIP at all", {}, ZIP, "not-a-zip"),
        ("no gzip", zipped(in_zip), {}, TARGZ, "not-a-gzip"),
        ("a cut ZIP", zipped(in_zip)[:-40], {}, ZIP, ""),
        ("a cut tar.gz", packed[: len(packed) // 2], {}, TARGZ, ""),
        ("a cut tar.gz, all or nothing", tarred(in_atomic)[:-400], {"atomic": "true"}, TARGZ, ""),
        ("no parts", b"nothing of the kind", {}, MULTIPART, ""),
    ]
    for name, body, params, content_type, reason in cases:
        upload = client.upload(body, content_type, **params)["id"]
        done = client.wait_until_done(upload)
        assert done["state"] == "failed", (name, done)
        assert done["errors"], name
        assert all(error["reason"] and error["message"] and error["message_pl"] for error in done["errors"]), name
        if reason:
            assert done["errors"][0]["reason"] == reason
        rows = client.results(upload)
        if name == "a cut tar.gz":
            assert rows
            assert {row["state"] for row in rows} == {"accepted"}
        if "atomic" in params:
            assert all(row["ksef_number"] is None for row in rows), rows
    sent = {row["number"] for row in accepted_by_ksef(sandbox, client.nip)}
    assert sent
    assert not sent & {one.number for one in in_atomic}


def test_an_entry_that_is_no_invoice_is_refused_alone(calm_service: ServiceHandle, sandbox: SandboxHandle) -> None:
    client = calm_service.add_tenant(seller_nip())
    documents = invoices(30, nip=client.nip)
    lines = lines_of(documents).splitlines(keepends=True)
    strange = [
        b'{"name": "picture.xml", "xml": "\\u0000\\u0001PNG"}\n',
        b'{"name": "page.xml", "xml": "<html><body>no invoice</body></html>"}\n',
        b'{"name": "open.xml", "xml": "<Faktura"}\n',
        b'{"name": "entities.xml", "xml": "<!DOCTYPE a [<!ENTITY b SYSTEM \\"file:///etc/passwd\\">]><a>&b;</a>"}\n',
        b'{"name": 7}\n',
        b"not even JSON\n",
    ]
    body = b"".join(line + extra for line, extra in zip(lines, [*strange, *[b""] * 24], strict=True))
    upload = client.upload(body, NDJSON)["id"]
    done = client.wait_until_done(upload)
    assert (done["state"], done["counts"]) == ("completed", {"accepted": 30, "invalid": len(strange)})
    for row in client.results(upload):
        if row["state"] == "invalid":
            errors = [finding for finding in row["findings"] if finding["severity"] == "error"]
            assert errors, row
            assert all(finding["rule"] and finding["message"] and finding["message_pl"] for finding in errors)
    assert len(accepted_by_ksef(sandbox, client.nip)) == 30


def test_one_tenant_sees_nothing_of_another(calm_service: ServiceHandle, client: ApiClient) -> None:
    stranger = calm_service.add_tenant(seller_nip())
    upload = client.upload(zipped(invoices(2, nip=client.nip, seed=99)), ZIP)["id"]
    client.wait_until_done(upload)
    row = client.results(upload)[0]
    for path in (
        f"/v1/uploads/{upload}",
        f"/v1/uploads/{upload}/results",
        f"/v1/uploads/{upload}/invoices",
        f"/v1/invoices/{row['id']}",
        f"/v1/invoices/{row['id']}/xml",
        f"/v1/invoices/{row['id']}/upo",
        f"/v1/sessions/{row['session']}",
        f"/v1/sessions/{row['session']}/upo",
    ):
        assert client.request("GET", path).status_code == 200, path
        answer = stranger.request("GET", path)
        assert (answer.status_code, answer.json()["code"]) == (404, "not-found"), path
    assert stranger.get("/v1/uploads")["items"] == []
    assert stranger.get("/v1/invoices", number=row["number"])["items"] == []
    assert stranger.get("/v1/sessions")["items"] == []
    assert stranger.get("/v1/events")["items"] == []


def _endless(megabytes: int) -> Any:
    """A body whose length is not said beforehand."""
    return (bytes(1_000_000) for _ in range(megabytes))
