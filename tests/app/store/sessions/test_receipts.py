"""Receipts in columns: the documents of a UPO page on their way to the database."""

from datetime import UTC, datetime

from app.store.sessions.verdicts import Receipt, Receipts

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
FIRST, SECOND, THIRD = (bytes([number]) * 32 for number in range(1, 4))
THREE = Receipts.of(
    [Receipt(FIRST, "1", NOON, "Online"), Receipt(SECOND, "2", None, None), Receipt(THIRD, "3", NOON, "Offline")]
)


def test_what_a_receipt_does_not_say_is_empty() -> None:
    assert (THREE.ksef_numbers, THREE.modes) == (("1", "2", "3"), ("Online", "", "Offline"))
    assert THREE.acquired == ("2026-11-22T12:00:00+00:00", "", "2026-11-22T12:00:00+00:00")
    assert len(THREE) == 3
    assert len(Receipts.of([])) == 0


def test_no_value_can_end_a_column_early() -> None:
    """Values are joined by a character that XML cannot hold, but a list in JSON can."""
    (number,) = Receipts.of([Receipt(FIRST, "1\x1f2", NOON, "Online")]).ksef_numbers
    assert number == "1 2"
