"""Naming and saving receipts."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cli.actions import status
from app.cli.actions.status import page_numbers, page_path
from app.cli.client.service_client import ServiceClient, ServiceRefused, ServiceUnreachable
from app.cli.exit_codes import DENIED, OK, UNREACHABLE, USAGE
from tests.app.cli.conftest import Ksefd

SESSION = "ses_" + "0" * 32
INVOICE = "inv_" + "0" * 32


class Archive(ServiceClient):
    """A service with one session; a download may break in the middle."""

    def __init__(self, pages: int, *, breaks: bool = False) -> None:
        super().__init__("http://127.0.0.1:9", "x")
        self.session: dict[str, Any] = {
            "id": SESSION,
            "state": "completed",
            "upo": [{"page": page} for page in range(1, pages + 1)],
        }
        self.breaks = breaks
        self.asked: list[str] = []

    def get(self, path: str, parameters: object = None) -> dict[str, Any]:
        if path != f"/v1/sessions/{SESSION}":
            raise ServiceRefused("no such session")
        return self.session

    def items(self, path: str, parameters: object = None) -> Iterator[dict[str, Any]]:
        if path == "/v1/sessions":
            yield self.session

    def download(self, path: str, target: BinaryIO) -> int:
        self.asked.append(path)
        target.write(b"<half")
        if self.breaks:
            raise ServiceUnreachable("cut")
        return target.write(path.encode())


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Archive]:
    with Archive(2) as archive:
        monkeypatch.setattr(status, "connect", lambda *_: archive)
        yield archive


def test_several_pages_become_several_files(ksefd: Ksefd, served: Archive, tmp_path: Path) -> None:
    ran = ksefd("upo", SESSION, "-o", str(tmp_path / "upo.xml"), "--json")
    assert ran.code == OK
    assert ran.json == {"files": [str(tmp_path / "upo-1.xml"), str(tmp_path / "upo-2.xml")]}
    assert (tmp_path / "upo-2.xml").read_bytes() == f"<half/v1/sessions/{SESSION}/upo/2".encode()


def test_the_page_of_an_invoice_is_one_file(ksefd: Ksefd, served: Archive, tmp_path: Path) -> None:
    assert ksefd("upo", INVOICE, "-o", str(tmp_path / "upo.xml")).code == OK
    assert served.asked == [f"/v1/invoices/{INVOICE}/upo"]
    assert [path.name for path in tmp_path.iterdir()] == ["upo.xml"]


def test_a_download_that_breaks_leaves_no_file(ksefd: Ksefd, served: Archive, tmp_path: Path) -> None:
    served.breaks = True
    assert ksefd("upo", INVOICE, "-o", str(tmp_path / "upo.xml")).code == UNREACHABLE
    assert list(tmp_path.iterdir()) == []


def test_a_session_without_a_receipt_says_so(ksefd: Ksefd, served: Archive, tmp_path: Path) -> None:
    served.session |= {"upo": [], "state": "processing"}
    ran = ksefd("upo", SESSION, "-o", str(tmp_path / "upo.xml"))
    assert ran.code == DENIED
    assert "processing" in ran.err


@pytest.mark.parametrize("what", ["upl_1", "../secret", "ses_../../x", "inv_?x=1"])
def test_what_is_no_id_never_becomes_an_address(ksefd: Ksefd, served: Archive, tmp_path: Path, what: str) -> None:
    assert ksefd("upo", what, "-o", str(tmp_path / "upo.xml")).code == USAGE
    assert served.asked == []


def test_recent_sessions_are_shown(ksefd: Ksefd, served: Archive) -> None:
    assert ksefd("status", "--json").json == {"uploads": [], "sessions": [served.session]}
    assert SESSION in ksefd("status").out


@given(st.integers(2, 50))
def test_no_two_pages_share_a_file(count: int) -> None:
    assert len({page_path(Path("a/upo.xml"), page, of=count) for page in range(1, count + 1)}) == count


def test_pages_without_numbers_are_counted() -> None:
    assert page_numbers({"upo": ["x", "y"]}) == [1, 2]
    assert page_numbers({"upo": [{"page": 3}]}) == [3]
    assert page_numbers({}) == []


def test_without_a_name_the_file_is_named_after_the_id(
    ksefd: Ksefd, served: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert ksefd("upo", INVOICE, "--json").json == {"files": [f"upo-{INVOICE}.xml"]}
    assert ksefd("upo", SESSION).code == OK
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"upo-{INVOICE}.xml", f"upo-{SESSION}-1.xml", f"upo-{SESSION}-2.xml",
    ]  # fmt: skip


def test_a_dash_writes_the_receipt_and_nothing_else_to_standard_output(ksefd: Ksefd, served: Archive) -> None:
    ran = ksefd("upo", INVOICE, "-o", "-")
    assert (ran.code, ran.out, ran.err) == (OK, f"<half/v1/invoices/{INVOICE}/upo", "")


def test_half_a_receipt_never_goes_to_standard_output(ksefd: Ksefd, served: Archive) -> None:
    served.breaks = True
    ran = ksefd("upo", INVOICE, "-o", "-")
    assert (ran.code, ran.out) == (UNREACHABLE, "")


def test_several_pages_are_no_one_stream(ksefd: Ksefd, served: Archive) -> None:
    ran = ksefd("upo", SESSION, "-o", "-")
    assert (ran.code, ran.out) == (USAGE, "")
    assert "2 pages" in ran.err
    assert ksefd("upo", INVOICE, "-o", "-", "--json").code == USAGE
