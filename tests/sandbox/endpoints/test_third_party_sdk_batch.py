"""A client that others wrote and others use gets packages through the sandbox, and reads what became of them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from ksef_client.models import CompressionType, OpenBatchSessionRequest
from ksef_client.services import (
    BatchSessionWorkflow,
    BatchUploadHelper,
    build_encryption_data,
    encrypt_batch_parts,
)
from lxml import etree

from tests.support.ksef_by_hand import invoice, poll, random_nip, sha256, tar_package, zip_package
from tests.support.third_party_sdk import FA3, Sdk

UPO = "{http://upo.schematy.mf.gov.pl/KSeF/v4-3}"
PACKERS: dict[str, Callable[[dict[str, bytes]], bytes]] = {"Zip": zip_package, "TarGz": tar_package}


def wait(sdk: Sdk, reference: str, token: str) -> Any:
    """Poll until the session has its last status; gives the SDK's own model of it."""
    seen: dict[str, Any] = {}

    def ask() -> dict[str, Any]:
        seen["status"] = sdk.client.sessions.get_session_status(reference, access_token=token)
        return {"code": seen["status"].status.code}

    poll(ask, lambda answer: answer["code"] >= 200)
    return seen["status"]


@pytest.mark.parametrize("compression", ["Zip", "TarGz"])
def test_it_sends_a_batch_with_its_own_workflow(sdk: Sdk, compression: str) -> None:
    nip = random_nip()
    token = sdk.login_by_seal(nip).access_token
    sent = {f"{number}.xml": invoice(f"SDK/{number}", nip) for number in range(5)}
    reference = BatchSessionWorkflow(sdk.client.sessions, sdk.client.http_client).open_upload_and_close(
        form_code=FA3,
        archive_bytes=PACKERS[compression](sent),
        compression_type=compression,
        access_token=token,
        **sdk.public_key("SymmetricKeyEncryption"),
    )
    final = wait(sdk, reference, token)
    assert (final.status.code, final.successful_invoice_count) == (200, 5)
    listed = sdk.client.sessions.get_session_invoices(reference, access_token=token)
    assert {item.invoice_hash for item in listed.invoices} == {sha256(content) for content in sent.values()}


@pytest.mark.parametrize("compression", ["Zip", "TarGz"])
def test_several_parts_sent_at_once_are_one_package(sdk: Sdk, compression: str) -> None:
    nip = random_nip()
    token = sdk.login_by_seal(nip).access_token
    sent = {f"{number}.xml": invoice(f"PARTS/{number}", nip) for number in range(20)}
    archive = PACKERS[compression](sent)
    encryption = build_encryption_data(**sdk.public_key("SymmetricKeyEncryption"))
    parts, described = encrypt_batch_parts(archive, encryption.key, encryption.iv, max_part_size=len(archive) // 6)
    assert len(parts) >= 6
    described = replace(described, compression_type=CompressionType(compression))
    assert encryption.encryption_info is not None
    opened = sdk.client.sessions.open_batch_session(
        OpenBatchSessionRequest(form_code=FA3, batch_file=described, encryption=encryption.encryption_info),
        access_token=token,
    )
    BatchUploadHelper(sdk.client.http_client).upload_parts(opened.part_upload_requests, parts, parallelism=3)
    sdk.client.sessions.close_batch_session(opened.reference_number, access_token=token)
    final = wait(sdk, opened.reference_number, token)
    assert (final.status.code, final.invoice_count, final.successful_invoice_count) == (200, 20, 20)


def test_it_pages_through_failed_invoices_and_reads_the_receipt_every_way(sdk: Sdk) -> None:
    nip = random_nip()
    token = sdk.login_by_seal(nip).access_token
    good = {f"good-{number}.xml": invoice(f"OK/{number}", nip) for number in range(3)}
    bad = {f"bad-{number}.xml": invoice(f"BAD/{number}", random_nip()) for number in range(25)}
    reference = BatchSessionWorkflow(sdk.client.sessions, sdk.client.http_client).open_upload_and_close(
        form_code=FA3,
        archive_bytes=zip_package(good | bad),
        access_token=token,
        **sdk.public_key("SymmetricKeyEncryption"),
    )
    final = wait(sdk, reference, token)
    assert (final.successful_invoice_count, final.failed_invoice_count) == (3, 25)

    pages: list[int] = []
    names: set[str | None] = set()
    continuation = None
    while True:
        page = sdk.client.sessions.get_session_failed_invoices(
            reference, page_size=10, continuation_token=continuation, access_token=token
        )
        pages.append(len(page.invoices))
        names |= {item.invoice_file_name for item in page.invoices}
        assert {item.status.code for item in page.invoices} == {410}
        continuation = page.continuation_token
        if not continuation:
            break
    assert pages == [10, 10, 5]
    assert names == set(bad)

    [page] = final.upo.pages
    by_link = sdk.client.http_client.request("GET", page.download_url, skip_auth=True).content
    by_number = sdk.client.sessions.get_session_upo(reference, page.reference_number, access_token=token)
    assert by_link == by_number
    accepted = {node.text for node in etree.fromstring(by_link).iter(f"{UPO}SkrotDokumentu")}
    assert accepted == {sha256(content) for content in good.values()}

    listed = sdk.client.sessions.get_session_invoices(reference, page_size=100, access_token=token).invoices
    number, name = next(
        (item.ksef_number, item.reference_number) for item in listed if item.ksef_number and item.reference_number
    )
    alone = sdk.client.sessions.get_session_invoice_upo_by_ref(reference, name, access_token=token)
    same = sdk.client.sessions.get_session_invoice_upo_by_ksef(reference, number, access_token=token)
    assert alone == same
    assert [node.text for node in etree.fromstring(alone).iter(f"{UPO}NumerKSeFDokumentu")] == [number]
    assert sdk.client.invoices.get_invoice(number, access_token=token).content in {
        content.decode() for content in good.values()
    }
