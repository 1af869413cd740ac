"""Signatures, judged by the reference library, and where that does not know them by ed25519 itself."""

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from app.webhooks.signing import (
    MAX_KEYS,
    ROTATION_OVERLAP,
    Signing,
    SigningKey,
    SigningKeyPair,
    SigningSecret,
    from_stored_form,
    in_force,
    new_key,
    rotated,
    signed_headers,
    stored_form,
)

OLD, NEW, OTHER = (SigningSecret(bytes([n]) * 32) for n in (1, 2, 3))
PAIR = SigningKeyPair(bytes([4]) * 32)
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
    headers = signed_headers([SigningSecret(key)], message_id="evt_1", body=text.encode(), now=moment)
    assert headers["webhook-signature"] == Webhook(key).sign("evt_1", moment, text)
    assert headers["webhook-timestamp"] == str(seconds)


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
    secrets: tuple[SigningKey, ...] = (OLD,)
    for n in range(20):
        secrets = rotated(secrets, SigningSecret(bytes([n]) * 32), now=now)
    assert len(secrets) == MAX_KEYS
    assert secrets[0].key == bytes([19]) * 32


def test_a_secret_does_not_print() -> None:
    assert NEW.text not in repr(NEW)
    assert str(NEW.key) not in repr([NEW])


def test_a_secret_survives_being_stored() -> None:
    for key in rotated(rotated([OLD], NEW, now=_now()), PAIR, now=_now()):
        assert from_stored_form(json.loads(json.dumps(stored_form(key)))) == key


def test_a_secret_that_an_older_version_stored_can_be_read() -> None:
    older = {"key": base64.b64encode(OLD.key).decode(), "expires_at": None}
    assert from_stored_form(older) == OLD


def test_without_a_secret_in_force_nothing_is_signed() -> None:
    now = _now()
    with pytest.raises(ValueError, match="key in force"):
        signed_headers([SigningSecret(b"x" * 32, now)], message_id="evt_1", body=BODY, now=now)


# RFC 8032, 7.1, test 2: a secret key, its public key, a message and its signature.
RFC_SECRET = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"
RFC_PUBLIC = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
RFC_SIGNATURE = (
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)


def test_a_key_pair_signs_as_the_standard_for_ed25519_says() -> None:
    pair = SigningKeyPair(bytes.fromhex(RFC_SECRET))
    assert pair.public_text == "whpk_" + base64.b64encode(bytes.fromhex(RFC_PUBLIC)).decode()
    assert pair.sign(b"\x72") == "v1a," + base64.b64encode(bytes.fromhex(RFC_SIGNATURE)).decode()


def _verify_asymmetric(public_text: str, body: bytes, headers: dict[str, str]) -> None:
    """Verify as a receiver does that has nothing but the public key and the specification."""
    prefix, _, encoded = public_text.partition("_")
    assert prefix == "whpk"
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(encoded, validate=True))
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    signatures = [part.removeprefix("v1a,") for part in headers["webhook-signature"].split(" ") if part[:4] == "v1a,"]
    for signature in signatures:
        try:
            return public.verify(base64.b64decode(signature, validate=True), content)
        except InvalidSignature:
            continue
    raise InvalidSignature


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=300))
def test_whatever_a_key_pair_signs_its_public_key_verifies(key: bytes, body: bytes) -> None:
    pair = SigningKeyPair(key)
    headers = signed_headers([pair], message_id="evt_1", body=body, now=_now())
    assert headers["webhook-signature"].startswith("v1a,")
    _verify_asymmetric(pair.public_text, body, headers)


@pytest.mark.parametrize(
    ("name", "value"),
    [("webhook-id", "evt_2"), ("webhook-timestamp", "1"), ("webhook-signature", "v1a," + "A" * 86 + "==")],
)
def test_what_a_public_key_is_shown_must_be_what_was_signed(name: str, value: str) -> None:
    headers = signed_headers([PAIR], message_id="evt_1", body=BODY, now=_now())
    with pytest.raises(InvalidSignature):
        _verify_asymmetric(PAIR.public_text, BODY, headers | {name: value})
    with pytest.raises(InvalidSignature):
        _verify_asymmetric(PAIR.public_text, BODY + b" ", headers)
    with pytest.raises(InvalidSignature):
        _verify_asymmetric(SigningKeyPair(bytes(32)).public_text, BODY, headers)


def test_while_a_webhook_changes_its_kind_of_key_both_kinds_verify() -> None:
    now = _now()
    keys = rotated([OLD], PAIR, now=now)
    headers = signed_headers(keys, message_id="evt_1", body=BODY, now=now)
    _verify(OLD, BODY, headers)
    _verify_asymmetric(PAIR.public_text, BODY, headers)
    back = signed_headers(rotated(keys, NEW, now=now), message_id="evt_1", body=BODY, now=now)
    _verify(NEW, BODY, back)
    _verify_asymmetric(PAIR.public_text, BODY, back)


@pytest.mark.parametrize("signing", list(Signing))
def test_new_keys_differ_and_do_not_print(signing: Signing) -> None:
    one, other = new_key(signing), new_key(signing)
    assert one.key != other.key
    assert len(one.key) == 32
    assert repr(one.key) not in repr(one)
    assert one.key.hex() not in repr(one)
