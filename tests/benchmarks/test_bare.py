import time
from datetime import date

import pytest

from benchmarks.bare import bare_rate
from invoicegen.invoices import generate_invoices


def documents(count: int) -> list[bytes]:
    made = generate_invoices(count, seller_nip="5265877635", issue_date=date(2026, 11, 22), profile="small")
    return [invoice.xml for invoice in made]


def test_the_counted_time_is_part_of_the_time_that_passed() -> None:
    sixty = documents(60)
    started = time.monotonic()
    rate = bare_rate(sixty, 2)
    assert 0 < len(sixty) / rate < time.monotonic() - started


@pytest.mark.parametrize("broken", [b"<Faktura/>", b"not XML"])
def test_an_invalid_document_spoils_the_yardstick(broken: bytes) -> None:
    with pytest.raises(ValueError, match="1 of 4 documents"):
        bare_rate([*documents(3), broken], 1)


def test_a_process_without_documents_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one document"):
        bare_rate(documents(1), 2)
