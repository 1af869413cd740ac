"""A client that others wrote and others use sends single invoices, corrects one, and gets itself a certificate."""

import base64
from datetime import date, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from ksef_client.exceptions import KsefApiError
from ksef_client.models import (
    CertificateRevocationReason,
    EnrollCertificateRequest,
    KsefCertificateType,
    QueryCertificatesRequest,
    RetrieveCertificatesRequest,
    RevokeCertificateRequest,
)
from ksef_client.services import (
    CsrResult,
    OnlineSessionHandle,
    OnlineSessionWorkflow,
    generate_csr_ec,
    generate_csr_rsa,
)
from lxml import etree

from tests.support.ksef_by_hand import invoice, poll, random_nip, sha256, today
from tests.support.third_party_sdk import FA3, Sdk, key_pair_of

UPO = "{http://upo.schematy.mf.gov.pl/KSeF/v4-3}"


def open_session(sdk: Sdk, token: str) -> OnlineSessionHandle:
    return OnlineSessionWorkflow(sdk.client.sessions).open_session(
        form_code=FA3, access_token=token, **sdk.public_key("SymmetricKeyEncryption")
    )


def verdict(session: OnlineSessionHandle, reference: str) -> Any:
    """The final status of one invoice, as the SDK's own model."""
    seen: dict[str, Any] = {}

    def ask() -> dict[str, Any]:
        seen["invoice"] = session.get_invoice_status(reference)
        return {"code": seen["invoice"].status.code}

    poll(ask, lambda answer: answer["code"] >= 200)
    return seen["invoice"]


def test_it_sends_invoices_one_by_one_and_reads_their_receipts(sdk: Sdk) -> None:
    nip = random_nip()
    session = open_session(sdk, sdk.login_by_seal(nip).access_token)
    documents = [invoice(f"ON/{number}", nip) for number in range(3)]
    references = [session.send_invoice(document).reference_number for document in documents]
    verdicts = [verdict(session, reference) for reference in references]
    assert [(item.status.code, item.invoice_hash) for item in verdicts] == [(200, sha256(item)) for item in documents]
    session.close()

    def status() -> dict[str, Any]:
        answer = session.get_status()
        return {"code": answer.status.code, "pages": answer.upo and answer.upo.pages}

    final = poll(status, lambda answer: answer["code"] >= 200)
    assert final["code"] == 200
    receipt = session.get_upo(final["pages"][0].reference_number)
    listed = {node.text for node in etree.fromstring(receipt).iter(f"{UPO}NumerKSeFDokumentu")}
    assert listed == {item.ksef_number for item in verdicts}
    single = session.get_invoice_upo_by_ref(references[0])
    assert single == session.get_invoice_upo_by_ksef(verdicts[0].ksef_number)
    assert [node.text for node in etree.fromstring(single).iter(f"{UPO}SkrotDokumentu")] == [sha256(documents[0])]


def test_it_corrects_an_offline_invoice_that_was_refused(sdk: Sdk) -> None:
    nip = random_nip()
    session = open_session(sdk, sdk.login_by_seal(nip).access_token)
    earlier = (date.fromisoformat(today()) - timedelta(days=2)).isoformat()
    broken = invoice("OFF/1", nip, day=earlier).replace(b"<P_15>123.00</P_15>", b"")
    refused = verdict(session, session.send_invoice(broken, offline_mode=True).reference_number)
    assert refused.status.code == 450
    right = invoice("OFF/1", nip, day=earlier)
    sent = session.send_invoice(right, offline_mode=True, hash_of_corrected_invoice=sha256(broken))
    corrected = verdict(session, sent.reference_number)
    assert (corrected.status.code, corrected.invoicing_mode.value) == (200, "Offline")


def test_a_session_that_was_closed_takes_nothing_more(sdk: Sdk) -> None:
    nip = random_nip()
    session = open_session(sdk, sdk.login_by_seal(nip).access_token)
    session.send_invoice(invoice("LAST/1", nip))
    session.close()
    with pytest.raises(KsefApiError) as refused:
        session.send_invoice(invoice("LAST/2", nip))
    assert "21180" in str(refused.value.exception_response) + str(refused.value.response_body)


@pytest.mark.parametrize("generate", [generate_csr_ec, generate_csr_rsa])
def test_it_enrols_a_certificate_logs_in_with_it_and_revokes_it(sdk: Sdk, generate: Any) -> None:
    nip = random_nip()
    token = sdk.login_by_seal(nip).access_token
    certificates = sdk.client.certificates
    limits = certificates.get_limits(token)
    assert limits.can_request
    request: CsrResult = generate(certificates.get_enrollment_data(token).to_dict())
    asked = certificates.send_enrollment(
        EnrollCertificateRequest(
            certificate_name="nocna wysyłka",
            certificate_type=KsefCertificateType.AUTHENTICATION,
            csr=request.csr_base64,
        ),
        access_token=token,
    )
    seen: dict[str, Any] = {}

    def status() -> dict[str, Any]:
        seen["status"] = certificates.get_enrollment_status(asked.reference_number, access_token=token)
        return {"code": seen["status"].status.code}

    assert poll(status, lambda answer: answer["code"] >= 200) == {"code": 200}
    serial = seen["status"].certificate_serial_number
    [retrieved] = certificates.retrieve_certificate(
        RetrieveCertificatesRequest(certificate_serial_numbers=[serial]), access_token=token
    ).certificates
    issued = x509.load_der_x509_certificate(base64.b64decode(retrieved.certificate))
    key: Any = serialization.load_der_private_key(base64.b64decode(request.private_key_base64), None)
    assert issued.public_key() == key.public_key()

    mine = sdk.login_by_pair(nip, key_pair_of(issued, key))
    assert sdk.client.limits.get_context_limits(mine.access_token)
    found = certificates.query_certificates(QueryCertificatesRequest(), access_token=token).certificates
    assert [(item.certificate_serial_number, item.status.value) for item in found] == [(serial, "Active")]

    reason = RevokeCertificateRequest(revocation_reason=CertificateRevocationReason.SUPERSEDED)
    certificates.revoke_certificate(serial, reason, access_token=token)
    with pytest.raises(RuntimeError, match="460"):
        sdk.login_by_pair(nip, key_pair_of(issued, key))
    assert certificates.get_limits(token).enrollment.remaining == limits.enrollment.remaining - 1
