"""The verifier of `ksefd webhook listen` against signatures that others made."""

import base64
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from app.cli.actions.webhook_verify import Verifier
from app.cli.exit_codes import UsageProblem

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
BODY = '{"id":"evt_1","data":{"nazwa":"Zażółć\\n"}}'.encode()
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
PUBLIC = "whpk_" + base64.b64encode(PRIVATE.public_key().public_bytes_raw()).decode()


def _signed(moment: datetime = NOW, *, message_id: str = "evt_1", body: bytes = BODY) -> dict[str, str]:
    # The library reads a moment without its zone.
    signature = Webhook(SECRET).sign(message_id, moment.replace(tzinfo=None), body.decode())
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": signature,
    }


def _signed_by_hand(body: bytes = BODY) -> dict[str, str]:
    signature = PRIVATE.sign(f"evt_1.{int(NOW.timestamp())}.".encode() + body)
    return _signed() | {"webhook-signature": "v1a," + base64.b64encode(signature).decode()}


def test_what_the_reference_library_signed_is_genuine() -> None:
    assert Verifier(SECRET).verify(_signed(), BODY, now=NOW).genuine


def test_what_an_ed25519_key_signed_is_genuine() -> None:
    assert Verifier(PUBLIC).verify(_signed_by_hand(), BODY, now=NOW).genuine


def test_one_of_several_signatures_is_enough() -> None:
    other = "v1," + base64.b64encode(b"x" * 32).decode()
    both = f"{other} {_signed_by_hand()['webhook-signature']} v2,?? {_signed()['webhook-signature']}"
    for key in (SECRET, PUBLIC):
        assert Verifier(key).verify(_signed() | {"webhook-signature": both}, BODY, now=NOW).genuine


@pytest.mark.parametrize("key", [SECRET, PUBLIC])
@given(place=st.integers(0, len(BODY) - 1), bit=st.integers(0, 7))
def test_a_body_with_one_changed_bit_is_not(key: str, place: int, bit: int) -> None:
    body = bytearray(BODY)
    body[place] ^= 1 << bit
    headers = _signed() if key == SECRET else _signed_by_hand()
    verdict = Verifier(key).verify(headers, bytes(body), now=NOW)
    assert not verdict.genuine
    assert "no signature fits" in verdict.reason


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_missing_header_is_named(name: str) -> None:
    headers = _signed()
    del headers[name]
    verdict = Verifier(SECRET).verify(headers, BODY, now=NOW)
    assert (verdict.genuine, verdict.reason) == (False, f"no header {name}")


def test_another_id_or_key_is_not() -> None:
    assert not Verifier(SECRET).verify(_signed() | {"webhook-id": "evt_2"}, BODY, now=NOW).genuine
    other = "whsec_" + base64.b64encode(b"y" * 32).decode()
    assert not Verifier(other).verify(_signed(), BODY, now=NOW).genuine
    assert not Verifier(PUBLIC).verify(_signed(), BODY, now=NOW).genuine


@pytest.mark.parametrize(("seconds", "genuine"), [(-301, False), (-300, True), (300, True), (301, False)])
def test_five_minutes_either_way_are_allowed(seconds: int, genuine: bool) -> None:
    verdict = Verifier(SECRET).verify(_signed(NOW - timedelta(seconds=seconds)), BODY, now=NOW)
    assert verdict.genuine is genuine
    if not genuine:
        assert ("old" if seconds > 0 else "ahead") in verdict.reason


@given(
    st.dictionaries(st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature"]), st.text()), st.binary()
)
def test_whatever_arrives_is_judged_and_nothing_is_raised(headers: dict[str, str], body: bytes) -> None:
    assert not Verifier(SECRET).verify(headers, body, now=NOW).genuine
    assert not Verifier(PUBLIC).verify(headers, body, now=NOW).genuine


@pytest.mark.parametrize("key", ["", "whsec_", "whpk_", "whsec_%%%", "whpk_AAAA", "x", SECRET[6:]])
def test_what_is_no_key_is_refused_without_repeating_it(key: str) -> None:
    with pytest.raises(UsageProblem) as refused:
        Verifier(key)
    assert not key or key not in refused.value.detail.replace("(whsec_...)", "").replace("(whpk_...)", "")


def test_a_key_is_not_printed() -> None:
    assert SECRET[6:] not in repr(Verifier(SECRET))
