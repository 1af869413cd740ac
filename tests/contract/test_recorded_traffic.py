"""Every request to any sandbox of this run, and every answer, against KSeF's contract. Runs after all other tests."""

import base64
from collections import Counter
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from tests.support.ksef_by_hand import HandClient, invoice
from tests.support.ksef_contract import CONTRACT, Exchange, KsefContract, deviations, load_contract, read_exchanges
from tests.support.sandbox_process import running_sandbox
from tests.support.third_party_sdk import third_party_sdk

pytestmark = pytest.mark.parametrize("contract", [CONTRACT] if CONTRACT.is_file() else [], indirect=True)
PRODUCT = {"user-agent": "ksef-dispatch"}
SCHEMAS = CONTRACT.parent / "schemas"
DS = "{http://www.w3.org/2000/09/xmldsig#}"


@pytest.fixture(scope="module")
def contract(request: pytest.FixtureRequest) -> KsefContract:
    """The official contract."""
    loaded = load_contract()
    assert loaded is not None, request.param
    return loaded


@pytest.fixture(scope="module")
def little_traffic(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> list[Exchange]:
    """A login, a batch and its results, recorded in a file of their own, so that there is always something to judge."""
    folder = tmp_path_factory.mktemp("record")
    patch = pytest.MonkeyPatch()
    with running_sandbox(record=str(folder / "one.ndjson")) as handle, patch.context():
        with third_party_sdk(handle, patch) as sdk:
            sdk.client.auth.get_challenge()
        client = HandClient(handle.base_url).login()
        client.send_documents({"a.xml": invoice("A", client.nip)})
        client.close()
    return list(read_exchanges(folder))


def found(contract: KsefContract, exchange: Exchange, **changes: Any) -> list[str]:
    """The deviations of an exchange of which something was changed; a changed header is merged."""
    line = deepcopy(exchange.line)
    for name, value in changes.items():
        line[name] = {**line[name], **value} if isinstance(value, dict) and name.endswith("headers") else value
    return deviations(contract, Exchange(line))


def of(traffic: list[Exchange], method: str, end: str) -> Exchange:
    return next(item for item in traffic if item.line["method"] == method and item.line["path"].endswith(end))


def login_schema(version: str) -> etree.XMLSchema:
    """The official schema with its patterns as XSD knows them: whole-value without `^` and `$`, none with a word boundary."""
    document = etree.parse(SCHEMAS / f"schemat_auth_v{version.replace('.', '-')}.xsd")
    for pattern in [*document.iter("{http://www.w3.org/2001/XMLSchema}pattern")]:
        value, parent = pattern.get("value", ""), pattern.getparent()
        if "\\b" in value and parent is not None:
            parent.remove(pattern)
        else:
            pattern.set("value", value.removeprefix("^").removesuffix("$"))
    return etree.XMLSchema(document)


def test_nothing_secret_is_recorded(contract: KsefContract, little_traffic: list[Exchange]) -> None:
    for exchange in little_traffic:
        text = str(exchange.line)
        assert "eyJ" not in text, "an access token begins so"
        assert "sig=x" in text or "sig=" not in text
    assert of(little_traffic, "POST", "/redeem").line["answer"]["accessToken"]["token"].startswith("xxx")
    assert of(little_traffic, "POST", "/sessions/batch").line["headers"]["authorization"].startswith("Bearer xxx")


def test_an_exchange_as_it_should_be_has_no_deviation(contract: KsefContract, little_traffic: list[Exchange]) -> None:
    assert [item for exchange in little_traffic for item in deviations(contract, exchange)] == []
    assert any(exchange.is_held_to_every_word for exchange in little_traffic)


def test_a_broken_request_of_the_product_is_found(contract: KsefContract, little_traffic: list[Exchange]) -> None:
    opened = of(little_traffic, "POST", "/sessions/batch")
    body = opened.line["body"]
    product: dict[str, Any] = {"headers": PRODUCT, "status": 400, "fault": True}
    assert found(contract, opened, **product) == []
    assert found(contract, opened, **product, body={**body, "surplus": 1})
    assert found(contract, opened, **product, body={**body, "offlineMode": "no"})
    assert found(contract, opened, **product, body={name: body[name] for name in body if name != "encryption"})
    assert found(contract, opened, **product, query="wait=1")
    assert found(contract, opened, **(product | {"headers": {**PRODUCT, "content-type": "text/plain"}}))
    assert found(contract, opened, **product, path="/v2/sessions/bulk")
    put = next(item for item in little_traffic if item.line["method"] == "PUT")
    assert found(contract, put, headers=PRODUCT) == []
    assert found(contract, put, headers={**PRODUCT, "authorization": "Bearer xxx"})
    assert found(contract, put, headers={**PRODUCT, "x-ms-blob-type": "PageBlob"})


def test_a_broken_request_of_a_test_must_be_refused(contract: KsefContract, little_traffic: list[Exchange]) -> None:
    opened = of(little_traffic, "POST", "/sessions/batch")
    broken = {**opened.line["body"], "surplus": 1}
    assert "taken in spite of" in found(contract, opened, body=broken)[0]
    refusal = {"exception": {"exceptionDetailList": [{"exceptionCode": 21405}]}}
    assert found(contract, opened, body=broken, status=400, answer=refusal) == []


def test_a_broken_answer_is_found(contract: KsefContract, little_traffic: list[Exchange]) -> None:
    opened = of(little_traffic, "POST", "/sessions/batch")
    answer = opened.line["answer"]
    assert found(contract, opened, status=200)
    assert found(contract, opened, answer={**answer, "surplus": 1})
    assert found(contract, opened, answer={"referenceNumber": answer["referenceNumber"]})
    assert found(contract, opened, answer_headers={"content-type": "text/html"})
    assert found(contract, of(little_traffic, "POST", "/close"), answer_size=2)
    assert found(contract, opened, answer={"referenceNumber": 1}, fault=True) == []


def test_nothing_that_was_said_in_this_run_deviates_from_the_contract(
    contract: KsefContract, little_traffic: list[Exchange], recorded: Path
) -> None:
    exchanges = [*little_traffic, *read_exchanges(recorded)]
    faults = Counter(item for exchange in exchanges for item in deviations(contract, exchange))
    told = "\n".join(f"{count} x {sentence}" for sentence, count in faults.most_common(40))
    assert not faults, f"{faults.total()} deviations in {len(exchanges)} exchanges:\n{told}"


def test_every_login_request_of_this_run_that_was_taken_satisfies_its_official_schema(
    contract: KsefContract, little_traffic: list[Exchange], recorded: Path
) -> None:
    schemas = {f"http://ksef.mf.gov.pl/auth/token/{version}": login_schema(version) for version in ("2.0", "2.1")}
    seen = 0
    for exchange in (*little_traffic, *read_exchanges(recorded)):
        line = exchange.line
        if not line["path"].endswith("/auth/xades-signature") or line["status"] != 202 or line["body"] is None:
            continue
        root = etree.fromstring(line["body"].encode())
        request = next(root.iter("{*}AuthTokenRequest"), None)
        if request is None:
            # An enveloping signature may hold the document in Base64.
            [content] = [node.text for node in root.iter(f"{DS}Object") if node.text and node.text.strip()]
            request = etree.fromstring(base64.b64decode(content))
        for signature in request.findall(f"{DS}Signature"):
            request.remove(signature)
        schemas[etree.QName(request).namespace or ""].assertValid(etree.fromstring(etree.tostring(request)))
        seen += 1
    assert seen > 0
