"""`/testdata/*`: what it makes, what it takes away, and what it refuses."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from tests.support.ksef_by_hand import (
    HandClient,
    Package,
    PrivateKey,
    auth_request,
    invoice,
    make_certificate,
    random_nip,
    seal_certificate,
    sign,
    zip_package,
)
from tests.support.ksef_online_by_hand import OnlineSession, refusal

PESEL = "38092277125"
ATTACHMENT = (
    "<Zalacznik><BlokDanych><MetaDane><ZKlucz>a</ZKlucz><ZWartosc>b</ZWartosc></MetaDane></BlokDanych></Zalacznik>"
)


def person(pesel: str) -> tuple[x509.Certificate, PrivateKey]:
    return make_certificate(
        {
            NameOID.GIVEN_NAME: "Jan",
            NameOID.SURNAME: "Testowy",
            NameOID.COMMON_NAME: "Jan Testowy",
            NameOID.COUNTRY_NAME: "PL",
            NameOID.SERIAL_NUMBER: f"PNOPL-{pesel}",
        }
    )


def post(client: HandClient, path: str, **body: Any) -> httpx.Response:
    return client.http.post(f"/testdata/{path}", json=body)


def made(client: HandClient, path: str, **body: Any) -> None:
    answer = post(client, path, **body)
    assert (answer.status_code, answer.content) == (200, b""), answer.text


def start(client: HandClient, identity: tuple[x509.Certificate, PrivateKey]) -> httpx.Response:
    return client.post_signed(sign(auth_request(client.challenge()["challenge"], client.nip), *identity))


def granted(client: HandClient) -> set[str]:
    """What the login may do, as a refusal tells."""
    wanted = {"permissions": ["EnforcementOperations"], "description": "for a test"}
    answer = client.call("POST", "/tokens", json=wanted)
    return set() if answer.status_code == 400 else {"EnforcementOperations"}


@pytest.mark.parametrize("bailiff", [False, True])
def test_a_person_owns_its_context_by_pesel_until_it_is_removed(stranger: HandClient, bailiff: bool) -> None:
    identity = person(PESEL)
    assert stranger.login_status(start(stranger, identity))["code"] == 415
    body = {"nip": stranger.nip, "pesel": PESEL, "isBailiff": bailiff, "description": "A person"}
    made(stranger, "person", **body)
    stranger.finish_login(start(stranger, identity))
    assert granted(stranger) == ({"EnforcementOperations"} if bailiff else set())
    assert stranger.send_documents({"a.xml": invoice("P/1", stranger.nip)})[1]["status"]["code"] == 200
    assert refusal(post(stranger, "person", **body)) == 30001
    made(stranger, "person/remove", nip=stranger.nip)
    assert stranger.login_status(start(stranger, identity))["code"] == 415
    assert refusal(post(stranger, "person/remove", nip=stranger.nip)) == 21405


def test_what_is_made_again_must_be_younger(stranger: HandClient) -> None:
    body: dict[str, Any] = {"nip": stranger.nip, "pesel": PESEL, "isBailiff": False, "description": "A person"}
    first = datetime(2026, 1, 1, tzinfo=UTC)
    made(stranger, "person", **body, createdDate=first.isoformat())
    made(stranger, "person/remove", nip=stranger.nip)
    assert refusal(post(stranger, "person", **body, createdDate=first.isoformat())) == 21405
    made(stranger, "person", **body, createdDate=(first + timedelta(seconds=1)).isoformat())


def test_a_deceased_person_neither_logs_in_nor_goes_on(stranger: HandClient) -> None:
    identity = person(PESEL[:-1] + "1")
    pesel = PESEL[:-1] + "1"
    grant = {
        "contextIdentifier": {"type": "Nip", "value": stranger.nip},
        "authorizedIdentifier": {"type": "Pesel", "value": pesel},
        "permissions": [{"permissionType": "InvoiceWrite", "description": "for a test"}],
    }
    made(stranger, "permissions", **grant)
    stranger.finish_login(start(stranger, identity))
    waiting = start(stranger, identity)
    body = {"nip": stranger.nip, "pesel": pesel, "isBailiff": False, "description": "A person", "isDeceased": True}
    made(stranger, "person", **body)
    status = stranger.login_status(start(stranger, identity))
    assert (status["code"], status["description"]) == (470, "Uwierzytelnianie zakończone niepowodzeniem")
    assert refusal(stranger.call("POST", "/auth/token/refresh", token=stranger.refresh_token)) == 21308
    token = waiting.json()["authenticationToken"]["token"]
    assert refusal(stranger.call("POST", "/auth/token/redeem", token=token)) == 21308
    made(stranger, "person/remove", nip=stranger.nip)


def test_an_enforcement_authority_may_enforce_and_groups_only_exist(client: HandClient) -> None:
    body = {"subjectNip": client.nip, "subjectType": "EnforcementAuthority", "description": "An authority"}
    made(client, "subject", **body)
    assert refusal(post(client, "subject", **body)) == 30001
    client.login()
    assert granted(client) == {"EnforcementOperations"}
    made(client, "subject/remove", subjectNip=client.nip)
    client.login()
    assert granted(client) == set()
    units = [{"subjectNip": random_nip(), "description": "A member"}]
    made(client, "subject", subjectNip=random_nip(), subjectType="VatGroup", description="A group", subunits=units)


def test_permissions_add_up_and_are_taken_back_together(client: HandClient, another: Callable[[], HandClient]) -> None:
    other = another()
    body = {
        "contextIdentifier": {"type": "Nip", "value": other.nip},
        "authorizedIdentifier": {"type": "Nip", "value": client.nip},
    }
    for permission in ("InvoiceWrite", "EnforcementOperations"):
        granted_now = [{"permissionType": permission, "description": "for a test"}]
        made(client, "permissions", **body, permissions=granted_now)
    document = auth_request(client.challenge()["challenge"], other.nip)
    seal = seal_certificate(client.nip)
    client.finish_login(client.post_signed(sign(document, *seal)))
    assert granted(client) == {"EnforcementOperations"}
    made(client, "permissions/revoke", **body)
    document = auth_request(client.challenge()["challenge"], other.nip)
    assert client.login_status(client.post_signed(sign(document, *seal)))["code"] == 415


def test_attachments_are_allowed_refused_and_run_out(client: HandClient) -> None:
    def code(number: str) -> int:
        package = Package(zip_package({"a.xml": invoice(number, client.nip, after=ATTACHMENT)}))
        reference, _ = client.send(package)
        return int(client.invoices(reference)[0]["status"]["code"])

    def told() -> dict[str, Any]:
        body: dict[str, Any] = client.call("GET", "/permissions/attachments/status").json()
        return body

    assert (code("A/1"), told()) == (415, {"isAttachmentAllowed": False})
    made(client, "attachment", nip=client.nip)
    assert (code("A/2"), told()) == (200, {"isAttachmentAllowed": True})
    made(client, "attachment/revoke", nip=client.nip, expectedEndDate="2099-01-01")
    assert (code("A/3"), told()["isAttachmentAllowed"]) == (200, True)
    assert told()["revokedDate"].startswith("2098-12-31T23:00")
    made(client, "attachment/revoke", nip=client.nip, expectedEndDate="2026-01-01")
    assert (code("A/4"), told()["isAttachmentAllowed"]) == (415, False)
    made(client, "attachment/revoke", nip=client.nip)
    assert (code("A/5"), told()) == (415, {"isAttachmentAllowed": False})


def test_a_blocked_context_lets_nobody_in(client: HandClient) -> None:
    context = {"contextIdentifier": {"type": "Nip", "value": client.nip}}
    made(client, "context/block", **context)
    document = auth_request(client.challenge()["challenge"], client.nip)
    status = client.login_status(client.post_signed(sign(document, *seal_certificate(client.nip))))
    assert (status["code"], status["description"]) == (480, "Uwierzytelnienie zablokowane")
    # Tokens that were given out before go on working.
    assert client.call("GET", "/limits/context").status_code == 200
    made(client, "context/unblock", **context)
    client.login()


def _limits(invoices: int, plain: int = 1, attached: int = 3) -> dict[str, int]:
    return {"maxInvoices": invoices, "maxInvoiceSizeInMB": plain, "maxInvoiceWithAttachmentSizeInMB": attached}


def test_session_limits_hold_for_the_context_and_can_be_taken_back(client: HandClient) -> None:
    wanted = {
        "onlineSession": _limits(7),
        "batchSession": _limits(1, plain=2),
        "collectiveIdentifier": {"maxInvoices": 9},
    }
    path = "/testdata/limits/context/session"
    before = client.call("GET", "/limits/context").json()
    assert client.call("POST", path, json=wanted).status_code == 200
    assert client.call("GET", "/limits/context").json() == wanted
    two = {f"{n}.xml": invoice(f"SL/{n}", client.nip) for n in range(2)}
    assert client.send_documents(two)[1]["status"]["code"] == 420
    large = invoice("SL/9", client.nip) + b"<!--" + b"x" * 1_500_000 + b"-->"
    assert client.send_documents({"a.xml": large})[1]["status"]["code"] == 200
    assert OnlineSession(client).open().send(large)["status"]["code"] == 430
    assert client.call("DELETE", path).status_code == 200
    assert client.call("GET", "/limits/context").json() == before


def test_request_limits_hold_for_the_context_and_can_be_taken_back(client: HandClient) -> None:
    groups = [
        *("onlineSession", "batchSession", "invoiceSend", "invoiceStatus", "sessionList", "sessionInvoiceList"),
        *("sessionMisc", "invoiceMetadata", "invoiceExport", "invoiceExportStatus", "invoiceDownload"),
        *("collectiveIdentifier", "other"),
    ]
    unlimited = {"perSecond": -1, "perMinute": -1, "perHour": -1}
    rates = dict.fromkeys(groups, unlimited) | {"sessionList": {"perSecond": 2, "perMinute": 2, "perHour": 2}}
    assert client.call("POST", "/testdata/rate-limits", json={"rateLimits": rates}).status_code == 200
    assert client.call("GET", "/rate-limits").json()["sessionList"]["perHour"] == 2
    answers = [client.call("GET", "/sessions?sessionType=Batch") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert int(answers[2].headers["retry-after"]) > 1
    assert client.call("DELETE", "/testdata/rate-limits").status_code == 200
    assert client.call("GET", "/sessions?sessionType=Batch").status_code == 200
    assert client.call("POST", "/testdata/rate-limits/production").status_code == 200
    assert client.call("GET", "/rate-limits").json()["sessionList"] == {"perSecond": 5, "perMinute": 10, "perHour": 60}
    assert client.call("DELETE", "/testdata/rate-limits").status_code == 200
    assert client.call("GET", "/rate-limits").json()["sessionList"] == unlimited


NIP = {"type": "Nip", "value": "5265877635"}
GRANT = {"contextIdentifier": NIP, "authorizedIdentifier": NIP, "permissions": []}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("subject", {"subjectNip": "5265877635", "subjectType": "Company", "description": "A company"}),
        ("subject", {"subjectNip": "0265877635", "subjectType": "JST", "description": "A town"}),
        ("subject", {"subjectNip": "5265877635", "subjectType": "JST", "description": "abc"}),
        ("subject/remove", {"subjectNip": "5265877636"}),
        ("person", {"nip": "5265877635", "pesel": "38002277125", "isBailiff": False, "description": "A person"}),
        ("person", {"nip": "5265877635", "pesel": PESEL, "isBailiff": "no", "description": "A person"}),
        ("permissions", GRANT | {"contextIdentifier": {"type": "nip", "value": "5265877635"}}),
        ("permissions", GRANT | {"authorizedIdentifier": {"type": "Pesel", "value": "5265877635"}}),
        ("permissions", GRANT | {"authorizedIdentifier": {"type": "Fingerprint", "value": "0" * 63}}),
        ("permissions", GRANT | {"permissions": [{"permissionType": "Owner", "description": "for a test"}]}),
        ("attachment", {"nip": "123"}),
        ("attachment/revoke", {"nip": "5265877635", "expectedEndDate": "soon"}),
        ("context/block", {}),
        ("context/block", {"contextIdentifier": {"type": "PeppolId", "value": "123"}}),
        ("context/unblock", {"contextIdentifier": {"type": "Pesel", "value": PESEL}}),
    ],
)
def test_a_request_against_the_contract_is_refused(stranger: HandClient, path: str, body: dict[str, Any]) -> None:
    assert refusal(post(stranger, path, **body)) == 21405


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("limits/context/session", {"onlineSession": _limits(1), "batchSession": _limits(1)}),
        (
            "limits/context/session",
            {"onlineSession": _limits(1), "batchSession": _limits(100_001), "collectiveIdentifier": {"maxInvoices": 2}},
        ),
        ("limits/subject/certificate", {"subjectIdentifierType": "Pesel"}),
        ("limits/subject/certificate", {"enrollment": {"maxEnrollments": -1}}),
        ("rate-limits", {"rateLimits": {}}),
        ("rate-limits", {}),
    ],
)
def test_limits_against_the_contract_are_refused(client: HandClient, path: str, body: dict[str, Any]) -> None:
    assert refusal(client.call("POST", f"/testdata/{path}", json=body)) == 21405
