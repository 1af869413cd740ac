"""A body that came in pieces, looked at as a whole: its hash, which nobody could know while it was arriving."""

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
_BLOCKS_A_TURN: Final = 32
"""Between turns in the thread a stop of the worker is noticed."""


async def settle_hash(context: WorkerContext, upload: Upload, source: SeekableFile) -> Upload:
    """Give the upload with its hash, read and recorded if that was not done yet.

    Raises UnreadableUpload when it is not the hash that the sender declared: then nothing of the body may be taken.
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

    def turn() -> bool:
        for _ in range(_BLOCKS_A_TURN):
            piece = source.read(_BLOCK_BYTES)
            if not piece:
                return False
            digest.update(piece)
        return True

    while await anyio.to_thread.run_sync(turn):
        pass
    return digest.digest()
