"""Choosing among KSeF's public keys, and wrapping with the chosen one."""

from datetime import timedelta
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from app.ksef.errors import Outcome, ServerFailed, Unreadable
from app.ksef.keys import KeyUsage, PublicKeys, encrypt_token, read_public_keys, select_key, wrap_key
from app.ksef.models import PublicKeyCertificate
from tests.app.ksef.fake_ksef import START, FakeKsef, json_answer, published_key

DAY = timedelta(days=1)
SYMMETRIC, TOKEN = ["SymmetricKeyEncryption"], ["KsefTokenEncryption"]
OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
PATH = "/security/public-key-certificates"


def keys_of(*entries: dict[str, Any]) -> list[Any]:
    return read_public_keys(PublicKeyCertificate.model_validate(entry) for entry in entries)


def test_of_the_valid_keys_for_the_use_the_latest_is_taken(
    rsa_key: rsa.RSAPrivateKey, other_rsa_key: rsa.RSAPrivateKey
) -> None:
    older = published_key(rsa_key, SYMMETRIC, START - 9 * DAY, START + 9 * DAY)
    newer = published_key(other_rsa_key, SYMMETRIC, START - 2 * DAY, START + 9 * DAY)
    coming = published_key(rsa_key, SYMMETRIC, START + DAY, START + 9 * DAY)
    over = published_key(rsa_key, SYMMETRIC, START - DAY, START - timedelta(hours=1))
    for_tokens = published_key(rsa_key, [*TOKEN, "SomethingNew"], START - DAY, START + DAY)
    keys = keys_of(older, over, newer, coming, for_tokens)
    chosen = select_key(keys, KeyUsage.SYMMETRIC_KEY, START)
    assert chosen is not None
    assert chosen.public_key_id == newer["publicKeyId"]
    assert chosen.id_is_proven
    token_key = select_key(keys, KeyUsage.TOKEN, START)
    assert token_key is not None
    assert token_key.public_key_id == for_tokens["publicKeyId"]
    assert select_key(keys_of(coming, over), KeyUsage.SYMMETRIC_KEY, START) is None


def test_an_id_that_is_not_the_hash_of_its_key_comes_last(
    rsa_key: rsa.RSAPrivateKey, other_rsa_key: rsa.RSAPrivateKey
) -> None:
    proven = published_key(rsa_key, SYMMETRIC, START - 9 * DAY, START + DAY)
    odd = published_key(other_rsa_key, SYMMETRIC, START - DAY, START + DAY) | {"publicKeyId": "x" * 44}
    both = select_key(keys_of(odd, proven), KeyUsage.SYMMETRIC_KEY, START)
    alone = select_key(keys_of(odd), KeyUsage.SYMMETRIC_KEY, START)
    assert both is not None
    assert alone is not None
    assert both.public_key_id == proven["publicKeyId"]
    assert (alone.public_key_id, alone.id_is_proven) == ("x" * 44, False)


def test_entries_that_cannot_be_used_are_left_out(rsa_key: rsa.RSAPrivateKey) -> None:
    good = published_key(rsa_key, SYMMETRIC, START - DAY, START + DAY)
    curve = published_key(ec.generate_private_key(ec.SECP256R1()), SYMMETRIC, START, START + DAY)
    keys = keys_of({"certificate": "bm9uc2Vuc2U="}, {"certificate": "ż"}, curve, good)
    assert [key.public_key_id for key in keys] == [good["publicKeyId"]]


def test_an_entry_without_optional_fields_is_completed_from_its_certificate(rsa_key: rsa.RSAPrivateKey) -> None:
    full = published_key(rsa_key, SYMMETRIC, START - DAY, START + DAY)
    (key,) = keys_of({"certificate": full["certificate"], "usage": SYMMETRIC})
    assert (key.public_key_id, key.valid_from) == (full["publicKeyId"], START - DAY)


def test_a_wrapped_key_is_opened_with_sha256_for_both_hashes(rsa_key: rsa.RSAPrivateKey) -> None:
    (key,) = keys_of(published_key(rsa_key, SYMMETRIC, START - DAY, START + DAY))
    wrapped = wrap_key(key, b"k" * 32)
    assert rsa_key.decrypt(wrapped.ciphertext, OAEP) == b"k" * 32
    assert wrapped.public_key_id == key.public_key_id
    with pytest.raises(ValueError, match="32 bytes"):
        wrap_key(key, b"k" * 16)


def test_a_token_is_joined_with_the_milliseconds_of_the_challenge(rsa_key: rsa.RSAPrivateKey) -> None:
    (key,) = keys_of(published_key(rsa_key, TOKEN, START - DAY, START + DAY))
    wrapped = encrypt_token(key, "20261122-EC-żółw|x", 1795341600007)
    assert rsa_key.decrypt(wrapped.ciphertext, OAEP) == "20261122-EC-żółw|x|1795341600007".encode()


async def test_the_list_is_fetched_once_a_day_and_when_told(ksef: FakeKsef, rsa_key: rsa.RSAPrivateKey) -> None:
    entry = published_key(rsa_key, SYMMETRIC, START - DAY, START + 30 * DAY)
    ksef.on("GET", PATH, json_answer(200, [entry]))
    keys = PublicKeys(ksef.transport, now=ksef.clock.now)
    for _ in range(3):
        assert (await keys.wrap_key(b"k" * 32)).public_key_id == entry["publicKeyId"]
    assert len(ksef.seen) == 1
    ksef.clock.move(hours=25)
    await keys.key_for(KeyUsage.SYMMETRIC_KEY)
    assert len(ksef.seen) == 2
    await keys.refresh()
    assert len(ksef.seen) == 3


async def test_an_old_list_bridges_an_outage_but_not_for_ever(ksef: FakeKsef, rsa_key: rsa.RSAPrivateKey) -> None:
    entry = published_key(rsa_key, SYMMETRIC, START - DAY, START + 30 * DAY)
    ksef.on("GET", PATH, json_answer(200, [entry]), httpx.Response(502))
    keys = PublicKeys(ksef.transport, now=ksef.clock.now)
    await keys.key_for(KeyUsage.SYMMETRIC_KEY)
    ksef.clock.move(hours=25)
    assert (await keys.key_for(KeyUsage.SYMMETRIC_KEY)).public_key_id == entry["publicKeyId"]
    ksef.clock.move(hours=6)
    with pytest.raises(ServerFailed):
        await keys.key_for(KeyUsage.SYMMETRIC_KEY)


async def test_no_key_for_the_use_is_an_error_that_says_so(ksef: FakeKsef, rsa_key: rsa.RSAPrivateKey) -> None:
    ksef.on("GET", PATH, json_answer(200, [published_key(rsa_key, TOKEN, START - DAY, START + DAY)]))
    with pytest.raises(Unreadable, match="SymmetricKeyEncryption") as caught:
        await PublicKeys(ksef.transport, now=ksef.clock.now).key_for(KeyUsage.SYMMETRIC_KEY)
    assert caught.value.outcome is Outcome.TRY_AGAIN
