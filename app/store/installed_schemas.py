"""Reads the official schema files that an operator installed.

They are kept in the blob store, so that every process of an installation has them.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from app.schema_files import load_schema_files
from app.settings import Settings
from app.store.blob_errors import BlobMissing
from app.store.blobs import BlobStore, is_local, local_folder

_MAX_BYTES = 4_000_000


class InstalledSchemas:
    """Reads installed schema files by key, for any process: it can be pickled, and opens nothing before it is called."""

    def __init__(self, blob_url: str | None, data_dir: Path) -> None:
        """Take the address of the blob store, and the data folder that has the blobs when there is no address."""
        self._blob_url = blob_url
        self._data_dir = data_dir

    def __call__(self, key: str) -> bytes | None:
        """Return a file, None when it was not installed. Raises BlobStoreUnavailable."""
        if is_local(self._blob_url):
            # Read as a file, since opening the store makes its folder, and some commands need no installation.
            path = local_folder(self._blob_url, self._data_dir) / key
            return path.read_bytes()[:_MAX_BYTES] if path.is_file() else None
        try:
            return BlobStore(self._blob_url, self._data_dir).read_whole_blocking(key)
        except BlobMissing:
            return None


def schema_loader(settings: Settings) -> Callable[[], dict[str, dict[str, bytes]]]:
    """Return a function, for any process, that reads the schema files of all forms that are on."""
    return partial(load_schema_files, settings.schema_dir, InstalledSchemas(settings.blob_url, settings.data_dir))
