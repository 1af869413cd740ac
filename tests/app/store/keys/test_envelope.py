"""Secrets under data keys: bound to their place, with the key's number beside them."""

from dataclasses import replace
from uuid import UUID

import pytest

from app.errors import ConfigurationError
from app.store.keys import places
from app.store.keys.envelope import Envelope, is_direct, key_number
from app.store.keys.places import Place
from app.store.secrets import SecretBox, key_in

MASTER = SecretBox(b"m" * 32)
BOX = Envelope(MASTER, {1: b"d" * 32})
ONE, TWO = UUID(int=1), UUID(int=2)
PLACES = [
    places.credential_of("5265877635"),
    places.credential_of("5213814999"),
    places.tokens_of(1),
    places.tokens_of(2),
    places.session_key_of(1, ONE),
    places.session_key_of(2, ONE),
    places.session_key_of(1, TWO),
    places.upload_target_of(1, ONE, 1),
    places.upload_target_of(1, ONE, 2),
    places.webhook_keys_of(1, ONE),
    places.webhook_headers_of(1, ONE),
]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.bound_to.decode())
def test_a_secret_opens_at_its_own_place_and_at_no_other(place: Place) -> None:
    sealed = BOX.encrypt(b"secret", place)
    assert key_number(sealed) == 1
    assert b"secret" not in sealed
    opened = []
    for other in PLACES:
        try:
            opened.append((other, BOX.decrypt(sealed, other)))
        except ConfigurationError:
            continue
    assert opened == [(place, b"secret")]


def test_a_changed_secret_and_a_changed_number_are_refused() -> None:
    two = Envelope(MASTER, {1: b"d" * 32, 2: b"e" * 32})
    sealed = two.encrypt(b"secret", PLACES[0])
    assert key_number(sealed) == 2
    for changed in (sealed[:-1] + b"x", sealed[:4] + b"\x01" + sealed[5:], sealed[:8], b"", b"\x03" + sealed[1:]):
        with pytest.raises(ConfigurationError):
            two.decrypt(changed, PLACES[0])


def test_a_missing_data_key_is_named() -> None:
    sealed = Envelope(MASTER, {7: b"e" * 32}).encrypt(b"secret", PLACES[0])
    with pytest.raises(ConfigurationError, match="data key 7"):
        BOX.decrypt(sealed, PLACES[0])


def test_a_secret_of_an_earlier_version_opens_and_is_known_as_such() -> None:
    direct = MASTER.encrypt(b"secret", purpose="credential:5265877635")
    assert is_direct(direct)
    assert BOX.decrypt(direct, places.credential_of("5265877635")) == b"secret"
    with pytest.raises(ConfigurationError):
        BOX.decrypt(direct, replace(PLACES[0], direct_purpose="credential:1"))


def test_nothing_prints() -> None:
    assert "d" * 4 not in repr(BOX)


KEY = bytes(range(100, 132))


@pytest.mark.parametrize(
    ("raw", "is_key"),
    [
        (KEY, True),
        (KEY.hex().encode(), True),
        (KEY.hex().upper().encode() + b"\r\n", True),
        (b"ZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7fH1+f4CBgoM=\n", True),
        (KEY[:31], False),
        (KEY + b"\n", False),
        (KEY.hex().encode()[:-2], False),
        (KEY.hex().encode()[:32], False),
        (KEY.hex().encode() * 2, False),
        (b"", False),
        (b"\n", False),
        (b"x" * 64, False),
    ],
)
def test_a_key_file_has_32_bytes_in_one_of_three_forms(raw: bytes, is_key: bool) -> None:
    assert (key_in(raw) == KEY) is is_key
    assert is_key or key_in(raw) is None
