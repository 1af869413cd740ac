"""Signatures, as the reference library of Standard Webhooks reads them."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from app.webhooks.signing import (
    MAX_SECRETS,
    ROTATION_OVERLAP,
    SigningSecret,
    in_force,
    rotated,
    sign,
    signed_headers,
)

OLD, NEW, OTHER = (SigningSecret(bytes([n]) * 32) for n in (1, 2, 3))
BODY = '{"id":"evt_1","data":{"name":"Zażółć gęślą jaźń"}}'.encode()


def _now() -> datetime:
    # The library goes by the machine's clock and takes no other.
    return datetime.now(UTC)


def _verify(secret: SigningSecret, body: bytes, headers: dict[str, str]) -> None:
    Webhook(secret.text).verify(body, headers, json_parse=False)


def test_the_reference_library_accepts_a_signature() -> None:
    _verify(NEW, BODY, signed_headers([NEW], message_id="evt_1", body=BODY, now=_now()))


@given(st.binary(min_size=1, max_size=64), st.text(max_size=200), st.integers(min_value=0, max_value=4_000_000_000))
def test_any_message_is_signed_as_the_reference_library_signs_it(key: bytes, text: str, seconds: int) -> None:
    moment = datetime.fromtimestamp(seconds, UTC)
    ours = sign(SigningSecret(key), message_id="evt_1", timestamp=seconds, body=text.encode())
    assert ours == Webhook(key).sign("evt_1", moment, text)


@pytest.mark.parametrize("position", [0, len(BODY) // 2, len(BODY) - 1])
def test_a_tampered_byte_is_refused(position: int) -> None:
    headers = signed_headers([NEW], message_id="evt_1", body=BODY, now=_now())
    tampered = bytearray(BODY)
    tampered[position] = ord("!") if tampered[position] != ord("!") else ord("?")
    with pytest.raises(WebhookVerificationError):
        _verify(NEW, tampered.decode("utf-8", "replace").encode(), headers)


def test_another_message_id_is_refused() -> None:
    headers = signed_headers([NEW], message_id="evt_1", body=BODY, now=_now())
    with pytest.raises(WebhookVerificationError):
        _verify(NEW, BODY, headers | {"webhook-id": "evt_2"})


def test_an_old_timestamp_is_refused_and_cannot_be_refreshed() -> None:
    headers = signed_headers([NEW], message_id="evt_1", body=BODY, now=_now() - timedelta(minutes=6))
    with pytest.raises(WebhookVerificationError, match="too old"):
        _verify(NEW, BODY, headers)
    with pytest.raises(WebhookVerificationError, match="No matching"):
        _verify(NEW, BODY, headers | {"webhook-timestamp": str(int(_now().timestamp()))})


def test_a_wrong_key_is_refused() -> None:
    with pytest.raises(WebhookVerificationError, match="No matching"):
        _verify(OTHER, BODY, signed_headers([NEW], message_id="evt_1", body=BODY, now=_now()))


def test_during_a_rotation_both_secrets_verify_and_afterwards_the_new_one_only() -> None:
    now = _now()
    secrets = rotated([OLD], NEW, now=now)
    during = signed_headers(secrets, message_id="evt_1", body=BODY, now=now)
    assert len(during["webhook-signature"].split(" ")) == 2
    _verify(OLD, BODY, during)
    _verify(NEW, BODY, during)
    assert in_force(secrets, now=now + ROTATION_OVERLAP) == (NEW,)


def test_rotating_again_does_not_lengthen_the_life_of_an_old_secret() -> None:
    now = _now()
    once = rotated([OLD], NEW, now=now)
    twice = rotated(once, OTHER, now=now + timedelta(hours=23))
    assert [secret.key for secret in twice] == [OTHER.key, NEW.key, OLD.key]
    assert twice[2].expires_at == now + ROTATION_OVERLAP


def test_however_often_a_secret_is_rotated_the_header_stays_short() -> None:
    now = _now()
    secrets: tuple[SigningSecret, ...] = (OLD,)
    for n in range(20):
        secrets = rotated(secrets, SigningSecret(bytes([n]) * 32), now=now)
    assert len(secrets) == MAX_SECRETS
    assert secrets[0].key == bytes([19]) * 32


def test_a_secret_does_not_print() -> None:
    assert NEW.text not in repr(NEW)
    assert str(NEW.key) not in repr([NEW])


def test_a_secret_survives_being_stored() -> None:
    for secret in rotated([OLD], NEW, now=_now()):
        assert SigningSecret.from_dict(secret.as_dict()) == secret


def test_without_a_secret_in_force_nothing_is_signed() -> None:
    now = _now()
    with pytest.raises(ValueError, match="secret"):
        signed_headers([SigningSecret(b"x" * 32, now)], message_id="evt_1", body=BODY, now=now)
