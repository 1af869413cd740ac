"""Computes and verifies the SHA-256 of a resumable upload, whose segments arrive in any order."""

import hashlib
from typing import Final

import anyio.to_thread

from app.observability.logs import get_logger
from app.reading.faults import unreadable
from app.reading.source import SeekableFile
from app.store.uploads.uploads import Upload
from workers.context import WorkerContext

log = get_logger(__name__)

_BLOCK_BYTES: Final = 1 << 20
_BLOCKS_AT_ONCE: Final = 32
"""Blocks that are hashed in the thread before a stop of the worker can take effect."""


async def verify_hash(context: WorkerContext, upload: Upload, source: SeekableFile) -> Upload:
    """Return the upload with the hash of its body, which is computed and recorded if that was not done yet.

    Raises UnreadableUpload when the sender declared another hash: then no document of the body may be processed.
    """
    if upload.sha256 is None:
        sha256 = await _hash(source)
        upload = await context.store.uploads.set_hash(upload, sha256, now=context.clock())
        log.info("resumable_body_hashed", upload=upload.public_id, bytes=upload.size)
    if upload.declared_sha256 is not None and upload.sha256 != upload.declared_sha256:
        raise unreadable(
            "digest-mismatch",
            "The bytes that arrived do not have the SHA-256 that the sender declared; nothing of them was taken.",
            "Otrzymane bajty nie mają skrótu SHA-256 podanego przez nadawcę; niczego z nich nie przyjęto.",
        )
    return upload


async def _hash(source: SeekableFile) -> bytes:
    digest = hashlib.sha256()
    source.seek(0)

    def hash_blocks() -> bool:
        for _ in range(_BLOCKS_AT_ONCE):
            piece = source.read(_BLOCK_BYTES)
            if not piece:
                return False
            digest.update(piece)
        return True

    while await anyio.to_thread.run_sync(hash_blocks):
        pass
    return digest.digest()
