"""The sink speaks to the service as KSeF does, and what it says of documents is true, although it judges none."""

import base64
import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import date

import httpx
import pytest

from app.cli.demo.processes import free_port
from app.domain.ksef_number import is_valid_ksef_number
from app.ksef.upo.reader import parse_upo
from app.ksef.upo.signature import SignatureState, check_signature
from benchmarks._sink_package import ksef_numbers
from benchmarks.measure_sandbox import RunningSink, running_sink
from tests.support.ksef_by_hand import HandClient, Package, invoice, tar_package, zip_package


@pytest.fixture(scope="module")
def sink() -> Iterator[RunningSink]:
    with running_sink(free_port()) as running:
        yield running


@pytest.fixture
def client(sink: RunningSink) -> Iterator[HandClient]:
    with closing(HandClient(f"{sink.url}/v2")) as hand:
        yield hand.login()


def documents_of(nip: str, count: int = 5) -> dict[str, bytes]:
    return {f"{number}.xml": invoice(f"{number}/ą &amp; &lt;1&gt; &#34;x&#34;", nip) for number in range(count)}


def receipt(client: HandClient, package: Package) -> bytes:
    """Send a package and give its receipt, whose hash is the one that the storage names."""
    _, final = client.send(package)
    assert final["status"]["code"] == 200
    answer = httpx.get(final["upo"]["pages"][0]["downloadUrl"])
    assert answer.headers["x-ms-meta-hash"] == base64.b64encode(hashlib.sha256(answer.content).digest()).decode()
    return answer.content


@pytest.mark.parametrize(
    ("pack", "compression", "part_bytes"),
    [(zip_package, "Zip", 50_000_000), (zip_package, "Zip", 1_000), (tar_package, "TarGz", 50_000_000)],
)
def test_the_services_client_finds_its_receipts_valid_and_its_numbers_well_formed(
    client: HandClient, pack: Callable[[Mapping[str, bytes]], bytes], compression: str, part_bytes: int
) -> None:
    documents = documents_of(client.nip)
    content = receipt(client, Package(pack(documents), compression, part_bytes))
    assert check_signature(content) is SignatureState.VALID
    upo = parse_upo(content)
    assert (upo.page, upo.pages, upo.total_documents, upo.context_value) == (1, 1, len(documents), client.nip)
    confirmed = list(upo.documents)
    assert {one.invoice_hash for one in confirmed} == {hashlib.sha256(one).digest() for one in documents.values()}
    assert all(is_valid_ksef_number(one.ksef_number) for one in confirmed)
    assert len({one.ksef_number for one in confirmed}) == len(documents)
    assert {one.invoice_number for one in confirmed} == {f'{number}/ą & <1> "x"' for number in range(5)}
    assert {one.seller_nip for one in confirmed} == {client.nip}


def test_its_ledger_tells_documents_that_came_twice(sink: RunningSink, client: HandClient) -> None:
    before = sink.ledger()
    package = Package(zip_package(documents_of(client.nip)))
    for _ in range(2):
        receipt(client, package)
    after = sink.ledger()
    assert {name: after[name] - before[name] for name in after} == {"documents": 10, "distinct": 5, "sessions": 2}


def test_what_is_no_package_ends_the_session_and_not_the_sink(client: HandClient) -> None:
    _, final = client.send(Package(b"no archive at all"))
    assert final["status"]["code"] == 500
    assert check_signature(receipt(client, Package(zip_package(documents_of(client.nip))))) is SignatureState.VALID


def test_numbers_made_from_halves_have_the_checksum_of_the_whole() -> None:
    sellers = [b"5265877635", b"1111111111"] * 300
    numbers = {one.decode() for serial in (1, 77_777) for one in ksef_numbers(sellers, date(2026, 11, 22), serial)}
    assert len(numbers) == 2 * len(sellers)
    assert all(map(is_valid_ksef_number, numbers))
