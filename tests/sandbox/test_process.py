"""The sandbox as a process: its pool, its end, its place in the product, and receipts of several pages."""

import re
import secrets
from collections.abc import Iterator

import grimp
import httpx
import psutil
import pytest
from lxml import etree

from sandbox.main import announcement
from sandbox.options import SandboxOptions
from tests.support.ksef_by_hand import HandClient, Package, invoice, tar_package, zip_package
from tests.support.sandbox_process import SandboxHandle, running_sandbox

UPO = "{http://upo.schematy.mf.gov.pl/KSeF/v4-3}"


@pytest.fixture
def own() -> Iterator[SandboxHandle]:
    with running_sandbox(validate="off", max_invoices=20_000) as handle:
        yield handle


@pytest.fixture
def client(own: SandboxHandle) -> Iterator[HandClient]:
    client = HandClient(own.base_url).login()
    yield client
    client.close()


def pool_processes(handle: SandboxHandle) -> list[psutil.Process]:
    """Children that do the work; the resource tracker of multiprocessing is none."""
    children = psutil.Process(handle.process.pid).children()
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


def test_a_pool_process_that_dies_costs_one_session_and_is_replaced(own: SandboxHandle, client: HandClient) -> None:
    for process in pool_processes(own):
        process.kill()
        process.wait()
    _, lost = client.send_documents({"a.xml": invoice("A", client.nip)})
    assert lost["status"]["code"] == 500
    _, final = client.send_documents({"a.xml": invoice("A", client.nip)})
    assert final["status"]["code"] == 200


def test_the_pool_does_not_outlive_a_killed_sandbox(own: SandboxHandle) -> None:
    processes = pool_processes(own)
    assert processes
    own.process.kill()
    own.process.wait()
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert not alive


def test_more_than_ten_thousand_documents_stand_on_several_pages(client: HandClient) -> None:
    sent = {str(number): invoice(f"P/{number}", client.nip) for number in range(10_001)}
    reference, final = client.send(Package(tar_package(sent), "TarGz"))
    assert final["successfulInvoiceCount"] == 10_001
    pages = [etree.fromstring(httpx.get(page["downloadUrl"]).content) for page in final["upo"]["pages"]]
    assert [len(page.findall(f"{UPO}Dokument")) for page in pages] == [10_000, 1]
    described = [[node.text for node in page.iterfind(f"{UPO}OpisPotwierdzenia/*")] for page in pages]
    assert described == [["1", "2", "1", "10000", "10001"], ["2", "2", "10001", "10001", "10001"]]
    numbers = {node.text for page in pages for node in page.iter(f"{UPO}NumerKSeFDokumentu")}
    assert len(numbers) == 10_001
    assert {item["ksefNumber"] for item in client.invoices(reference)} == numbers


def test_an_entry_far_above_every_limit_is_rejected_alone(client: HandClient) -> None:
    package = Package(zip_package({"a.xml": invoice("A", client.nip), "noise": secrets.token_bytes(20_000_000)}))
    _, final = client.send(package)
    assert (final["successfulInvoiceCount"], final["failedInvoiceCount"]) == (1, 1)


def test_the_sandbox_knows_nothing_of_the_product_but_its_pure_domain() -> None:
    graph = grimp.build_graph("sandbox", "app", include_external_packages=False)
    used = {
        imported
        for module in graph.modules
        if module.split(".")[0] == "sandbox"
        for imported in graph.find_modules_directly_imported_by(module)
        if imported.split(".")[0] != "sandbox"
    }
    assert used == {"app.domain.ksef_number", "app.domain.timestamps"}
    pool = graph.find_upstream_modules("sandbox.pool", as_package=True)
    assert not {name for name in pool if name in {"sandbox.app", "sandbox.state.memory", "sandbox.service"}}


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", "http://127.0.0.1:8099/v2"),
        ("::1", "http://[::1]:8099/v2"),
        ("0.0.0.0", "http://127.0.0.1:8099/v2, and"),
    ],
)
def test_the_sandbox_says_where_it_listens_and_what_to_set(host: str, expected: str) -> None:
    first, second = announcement(SandboxOptions(host=host)).splitlines()
    assert expected in first
    assert re.search(r"KSEFD_KSEF_URL=http://\S+:8099/v2 ", second)
