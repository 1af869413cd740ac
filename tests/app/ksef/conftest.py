"""Fixtures for the client's tests."""

from collections.abc import AsyncIterator

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from app.ksef.login.certificates import SigningIdentity, load_certificate, self_signed_seal
from tests.app.ksef.fake_ksef import START, Clock, FakeKsef


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def ksef(clock: Clock) -> AsyncIterator[FakeKsef]:
    fake = FakeKsef(clock)
    yield fake
    await fake.http.aclose()


@pytest.fixture(scope="session")
def seal() -> SigningIdentity:
    return load_certificate(*self_signed_seal("5265877635", "Zażółć & Synowie", now=START))


@pytest.fixture(scope="session")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture(scope="session")
def other_rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)
