"""Reading a body from memory, as the tests of every reader do it."""

import io
from collections.abc import Callable
from typing import Any

import pytest

from app.errors import UnreadableUpload
from app.reading.entry import Document, RawEntry, decode_entry
from app.reading.faults import EntryUnreadable
from app.reading.kinds import BodyKind
from app.reading.limits import ReadingLimits
from app.reading.reader import read_entries

LIMITS = ReadingLimits(max_document_bytes=100_000)


@pytest.fixture
def limits() -> ReadingLimits:
    return LIMITS


@pytest.fixture
def entries_of(limits: ReadingLimits) -> Callable[..., list[RawEntry]]:
    """Read a body to its end: `entries_of(kind, body, **options of read_entries)`."""

    def read(kind: BodyKind, body: bytes, **options: Any) -> list[RawEntry]:
        options.setdefault("limits", limits)
        return list(read_entries(kind, io.BytesIO(body), size=len(body), **options))

    return read


@pytest.fixture
def verdicts_of(entries_of: Callable[..., list[RawEntry]]) -> Callable[..., list[tuple[str, bytes | str]]]:
    """Read and decode a body: (name, document) for each entry, or (name, rule) if it is unreadable."""

    def verdict(entry: RawEntry) -> tuple[str, bytes | str]:
        try:
            document: Document = decode_entry(entry, LIMITS.max_document_bytes)
        except EntryUnreadable as error:
            return entry.name, error.rule
        return document.name, document.content

    return lambda kind, body, **options: [verdict(entry) for entry in entries_of(kind, body, **options)]


@pytest.fixture
def reason_of(entries_of: Callable[..., list[RawEntry]]) -> Callable[..., str]:
    """Read a body that cannot be read to its end, and return the reason."""

    def read(kind: BodyKind, body: bytes, **options: Any) -> str:
        with pytest.raises(UnreadableUpload) as caught:
            entries_of(kind, body, **options)
        assert caught.value.errors is not None
        (error,) = caught.value.errors
        assert error["message"]
        assert error["message_pl"]
        assert error["offset"] is None or 0 <= error["offset"] <= len(body)
        return str(error["reason"])

    return read
