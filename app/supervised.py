"""How a process that `ksefd serve` started learns that nobody supervises it any more."""

import asyncio
import os
import sys


async def supervisor_gone() -> None:
    """Return when the supervisor that started this process is gone; never when nobody supervises it."""
    if os.environ.get("KSEFD_SUPERVISED") != "1":
        await asyncio.Event().wait()
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    # The supervisor holds the other end and never writes; the end of the stream is its end.
    await reader.read()
