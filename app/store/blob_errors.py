"""Errors of the object store, translated from obstore's."""

from collections.abc import Iterator
from contextlib import contextmanager

from obstore.exceptions import BaseError, NotFoundError

from app.errors import TryLater


class BlobStoreUnavailable(TryLater):
    """The blob store cannot be written or read; nothing was acknowledged."""

    code = "blob-store-unavailable"
    title = "Blob store unavailable"


class BlobMissing(TryLater):
    """A blob to which a row refers is missing."""

    status = 500
    code = "blob-missing"
    title = "Blob missing"


@contextmanager
def reading(key: str) -> Iterator[None]:
    """Raise BlobMissing or BlobStoreUnavailable in place of the errors of a read."""
    try:
        yield
    except (FileNotFoundError, NotFoundError) as error:
        raise BlobMissing(f"the blob {key} is missing") from error
    except (BaseError, OSError) as error:
        raise BlobStoreUnavailable("the blob store did not give the bytes") from error


@contextmanager
def writing() -> Iterator[None]:
    """Raise BlobStoreUnavailable in place of the errors of a write."""
    try:
        yield
    except (BaseError, OSError) as error:
        raise BlobStoreUnavailable("the blob store did not take the bytes") from error
