"""The hash of a row, without a database."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from app.store.audit.chain import BEGINNING, Head, canonical_details, head_mac, is_sealed, plain_text, row_hash

ROW: dict[str, Any] = {
    "number": 7,
    "at": datetime(2026, 11, 29, 12, 0, 0, 123456, tzinfo=UTC),
    "actor_kind": "key",
    "actor": "erp",
    "act": "key.created",
    "tenant_id": 3,
    "object": "key_1",
    "request_id": "r",
    "outcome": "done",
    "details": "{}",
}


@pytest.mark.parametrize("name", ROW)
def test_the_hash_covers_each_field(name: str) -> None:
    other = (
        ROW[name] + timedelta(microseconds=1) if name == "at" else 8 if isinstance(ROW[name], int) else ROW[name] + "x"
    )
    assert row_hash(BEGINNING, **ROW) != row_hash(BEGINNING, **(ROW | {name: other}))


def test_the_hash_does_not_change_with_the_time_zone_of_a_connection() -> None:
    there = ROW["at"].astimezone(timezone(timedelta(hours=2)))
    assert row_hash(BEGINNING, **ROW) == row_hash(BEGINNING, **(ROW | {"at": there}))


def test_no_text_moves_from_one_field_to_the_next() -> None:
    moved = ROW | {"actor": "er", "act": "pkey.created"}
    assert row_hash(BEGINNING, **ROW) != row_hash(BEGINNING, **moved)
    assert row_hash(BEGINNING, **(ROW | {"object": None})) != row_hash(BEGINNING, **(ROW | {"object": "null"}))


def test_the_seal_is_of_one_number_one_hash_and_one_key() -> None:
    mac = head_mac(b"k" * 32, 5, BEGINNING)
    assert is_sealed(b"k" * 32, Head(5, BEGINNING, mac))
    assert not is_sealed(b"k" * 32, Head(4, BEGINNING, mac))
    assert not is_sealed(b"x" * 32, Head(5, BEGINNING, mac))
    assert not is_sealed(b"k" * 32, Head(5, BEGINNING, b""))


def test_details_have_one_form_whatever_their_order() -> None:
    assert canonical_details({"b": 1, "a": "ż"}) == canonical_details({"a": "ż", "b": 1}) == '{"a":"\\u017c","b":1}'


def test_a_label_that_no_database_stores_is_made_storable() -> None:
    assert plain_text("a\0b\udc80c") == "a\N{REPLACEMENT CHARACTER}b?c"
    assert len(plain_text("x" * 1000)) == 300
