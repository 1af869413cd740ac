from datetime import date

import pytest

from benchmarks.bare import bare_rate
from benchmarks.invoices import generate_invoices


def documents(count: int) -> list[bytes]:
    made = generate_invoices(count, seller_nip="5265877635", issue_date=date(2026, 11, 22), profile="small")
    return [invoice.xml for invoice in made]


def test_bare_processes_validate_at_a_believable_rate() -> None:
    assert 100 < bare_rate(documents(60), 2) < 10_000_000


@pytest.mark.parametrize("broken", [b"<Faktura/>", b"not XML"])
def test_an_invalid_document_spoils_the_yardstick(broken: bytes) -> None:
    with pytest.raises(ValueError, match="1 of 4 documents"):
        bare_rate([*documents(3), broken], 1)


def test_a_process_without_documents_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one document"):
        bare_rate(documents(1), 2)
