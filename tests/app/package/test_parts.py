"""Joining the decrypted parts gives the package; limits hold; a failed sealing leaves no open part."""

import hashlib
import tracemalloc
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7
from hypothesis import given
from hypothesis import strategies as st

from app.package.errors import PackageLimitExceeded, PartMismatch
from app.package.limits import DEFAULT_PART_PLAIN_BYTES, MAX_PART_PLAIN_BYTES
from app.package.parts import seal_parts, verify_part

KEY = bytes(range(32))
IV = bytes(range(16))


class Sinks:
    """Keeps what is written, and what became of each part."""

    def __init__(self, fail_at: int | None = None, fail_close: bool = False) -> None:
        self.data: dict[int, bytearray] = {}
        self.ends: dict[int, list[str]] = {}
        self.fail_at = fail_at
        self.fail_close = fail_close

    def __call__(self, ordinal_number: int) -> "Sink":
        assert ordinal_number not in self.data
        self.data[ordinal_number] = bytearray()
        self.ends[ordinal_number] = []
        return Sink(self, ordinal_number)


class Sink:
    def __init__(self, sinks: Sinks, number: int) -> None:
        self.sinks = sinks
        self.number = number

    def write(self, data: bytes) -> None:
        if self.sinks.fail_at == self.number:
            raise OSError("disk full")
        self.sinks.data[self.number] += data

    def close(self) -> None:
        if self.sinks.fail_close:
            raise OSError("disk full")
        self.sinks.ends[self.number].append("closed")

    def abort(self) -> None:
        self.sinks.ends[self.number].append("aborted")


def decrypt(encrypted: bytes) -> bytes:
    decryptor = Cipher(AES256(KEY), CBC(IV)).decryptor()
    unpadder = PKCS7(128).unpadder()
    return unpadder.update(decryptor.update(encrypted) + decryptor.finalize()) + unpadder.finalize()


@given(st.lists(st.binary(max_size=300), max_size=20).filter(any), st.integers(1, 700))
def test_decrypting_and_joining_the_parts_gives_the_package(chunks: list[bytes], part_bytes: int) -> None:
    package = b"".join(chunks)
    sinks = Sinks()
    sealed = seal_parts(chunks, key=KEY, iv=IV, part_bytes=part_bytes, open_part=sinks, max_parts=10_000)

    assert b"".join(decrypt(bytes(sinks.data[part.ordinal_number])) for part in sealed.parts) == package
    assert (sealed.size, sealed.sha256) == (len(package), hashlib.sha256(package).digest())
    assert [part.ordinal_number for part in sealed.parts] == list(range(1, len(sinks.data) + 1))
    for part in sealed.parts:
        stored = bytes(sinks.data[part.ordinal_number])
        assert 1 <= part.plain_size <= part_bytes
        assert part.size == len(stored) == _encrypted_size(part.plain_size)
        assert part.sha256 == hashlib.sha256(stored).digest()
        assert sinks.ends[part.ordinal_number] == ["closed"]
        verify_part([stored[:7], stored[7:]], part.size, part.sha256)
    assert all(part.plain_size == part_bytes for part in sealed.parts[:-1])


@given(st.integers(1, 200), st.integers(1, 20), st.integers(1, 8), st.integers(1, 300))
def test_no_limit_is_ever_exceeded(size: int, part_bytes: int, max_parts: int, max_bytes: int) -> None:
    sinks = Sinks()
    fits = size <= max_bytes and -(-size // part_bytes) <= max_parts
    try:
        sealed = seal_parts(
            [bytes(size)],
            key=KEY,
            iv=IV,
            part_bytes=part_bytes,
            open_part=sinks,
            max_parts=max_parts,
            max_package_bytes=max_bytes,
        )
    except PackageLimitExceeded:
        assert not fits
    else:
        assert fits
        assert len(sealed.parts) <= max_parts
    assert len(sinks.data) <= max_parts


def test_a_package_that_ends_on_a_cut_has_no_empty_part() -> None:
    sinks = Sinks()
    sealed = seal_parts([bytes(96)], key=KEY, iv=IV, part_bytes=48, open_part=sinks)
    assert [(part.plain_size, part.size) for part in sealed.parts] == [(48, 64), (48, 64)]


def test_an_empty_package_is_refused() -> None:
    with pytest.raises(PackageLimitExceeded, match="empty"):
        seal_parts([b"", b""], key=KEY, iv=IV, open_part=Sinks())


def test_the_default_part_keeps_within_the_limit_after_encryption_too() -> None:
    assert _encrypted_size(DEFAULT_PART_PLAIN_BYTES) == MAX_PART_PLAIN_BYTES


@pytest.mark.parametrize(("plain", "encrypted"), [(1, 16), (15, 16), (16, 32), (17, 32)])
def test_padding_always_adds_something(plain: int, encrypted: int) -> None:
    [part] = seal_parts([bytes(plain)], key=KEY, iv=IV, open_part=Sinks()).parts
    assert part.size == encrypted == _encrypted_size(plain)


def _encrypted_size(plain: int) -> int:
    """Return the bytes that `plain` bytes take after AES-CBC and PKCS#7: always 1 to 16 more."""
    return 16 * (plain // 16 + 1)


def test_an_error_in_the_package_aborts_the_part_that_is_open() -> None:
    def broken() -> Iterator[bytes]:
        yield bytes(3 << 20)
        raise OSError("blob lost")

    sinks = Sinks()
    with pytest.raises(OSError, match="blob lost"):
        seal_parts(broken(), key=KEY, iv=IV, part_bytes=2 << 20, open_part=sinks)
    assert sinks.ends == {1: ["closed"], 2: ["aborted"]}


def test_an_error_of_a_sink_aborts_it() -> None:
    sinks = Sinks(fail_at=2)
    with pytest.raises(OSError, match="disk full"):
        seal_parts([bytes(100)], key=KEY, iv=IV, part_bytes=64, open_part=sinks)
    assert sinks.ends == {1: ["closed"], 2: ["aborted"]}


def test_a_part_that_cannot_be_closed_is_aborted() -> None:
    sinks = Sinks(fail_close=True)
    with pytest.raises(OSError, match="disk full"):
        seal_parts([bytes(10)], key=KEY, iv=IV, open_part=sinks)
    assert sinks.ends == {1: ["aborted"]}


@pytest.mark.parametrize(("key", "iv"), [(KEY[:16], IV), (KEY, IV[:12]), (KEY + b"x", IV), (KEY, b"")])
def test_a_wrong_length_of_key_or_iv_is_refused_before_anything_is_written(key: bytes, iv: bytes) -> None:
    sinks = Sinks()
    with pytest.raises(ValueError, match="the key must have 32 bytes"):
        seal_parts([b"x"], key=key, iv=iv, open_part=sinks)
    assert not sinks.data


@pytest.mark.parametrize("part_bytes", [0, -1, MAX_PART_PLAIN_BYTES + 1])
def test_a_part_size_that_ksef_refuses_is_refused(part_bytes: int) -> None:
    with pytest.raises(ValueError, match="a part must have"):
        seal_parts([b"x"], key=KEY, iv=IV, part_bytes=part_bytes, open_part=Sinks())


@pytest.mark.parametrize("stored", [b"", b"abc", b"abcde", b"abcx"])
def test_a_stored_part_that_changed_is_found(stored: bytes) -> None:
    with pytest.raises(PartMismatch):
        verify_part([stored], 4, hashlib.sha256(b"abcd").digest())


def test_memory_does_not_grow_with_the_package() -> None:
    class Nowhere:
        def write(self, data: bytes) -> None: ...
        def close(self) -> None: ...
        def abort(self) -> None: ...

    chunk = bytes(1000)
    tracemalloc.start()
    try:
        sealed = seal_parts(
            (chunk for _ in range(60_000)),
            key=KEY,
            iv=IV,
            part_bytes=7_000_000,
            open_part=lambda _: Nowhere(),
        )
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(sealed.parts) == 9
    assert peak < 6_000_000
