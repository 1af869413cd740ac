"""`python -m benchmarks.sink --port N`: a KSeF that accepts and discards invoices.

It serves measurements in which KSeF must use little CPU. Logins, sessions, storage and all answers are the sandbox's. Only the
processing of a closed package is different: invoices are not checked, and only their hashes are stored. Every invoice is still
decrypted, unpacked and hashed, gets its own KSeF number, and is on a signed receipt.
"""

import argparse
import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from benchmarks._sink_package import SinkJob, TakenPackage, seal_page, take_package
from sandbox.app import PREFIX, create_app
from sandbox.clock import polish_stamp, warsaw_day
from sandbox.endpoints.batch import CLOSE, close_session
from sandbox.guard import Call, guarded
from sandbox.ids import new_reference
from sandbox.options import SandboxOptions, Validation
from sandbox.pool.outcome import UpoJob
from sandbox.processing.batch import PROCESSED, SESSION_TEXTS, UPO_PAGE_DOCUMENTS
from sandbox.service import Sandbox
from sandbox.state.records.common import Status
from sandbox.state.records.sessions import Session, UpoPage

_SHA256_BYTES: Final = 32
_KEEP_ALIVE_SECONDS: Final = 65

logger = logging.getLogger("sink")


class Ledger:
    """Ledger of accepted invoices: each hash and its count."""

    def __init__(self) -> None:
        self._seen: Counter[bytes] = Counter()
        self._sessions = 0

    def enter(self, hashes: bytes) -> None:
        """Add the invoices of one session."""
        self._sessions += 1
        self._seen.update(hashes[at : at + _SHA256_BYTES] for at in range(0, len(hashes), _SHA256_BYTES))

    async def show(self, _request: Request) -> Response:
        """GET /_sink/ledger: return the counts."""
        documents, distinct = self._seen.total(), len(self._seen)
        return JSONResponse({"documents": documents, "distinct": distinct, "sessions": self._sessions})


class Sink:
    """Processing of closed packages."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._serial = 0

    async def close(self, call: Call) -> Response:
        """POST /sessions/batch/{referenceNumber}/close: check the request as the sandbox does, and start the processing."""
        return await close_session(call, self._process)

    async def _process(self, sandbox: Sandbox, session: Session) -> None:
        try:
            await self._take(sandbox, session)
        except Exception:
            # The error becomes the session's status, as in the sandbox, and a log line for the measurement.
            logger.exception("session %s cannot be taken", session.reference_number)
            session.status = Status(500, SESSION_TEXTS[500])
        session.updated = sandbox.clock.now()
        for part in session.parts.values():
            if part.path is not None:
                await asyncio.to_thread(part.path.unlink, missing_ok=True)

    async def _take(self, sandbox: Sandbox, session: Session) -> None:
        self._serial += 1
        taken = await sandbox.in_pool(take_package, _job(sandbox, session, self._serial))
        self._ledger.enter(taken.hashes)
        session.upo_pages = await _receipt(sandbox, session, taken)
        count = len(taken.hashes) // _SHA256_BYTES
        session.counts = count, count, 0
        session.status = PROCESSED


def create_sink() -> Starlette:
    """Create the sandbox's application with another processing of packages and its own ledger."""
    app = create_app(SandboxOptions(validation=Validation.OFF))
    ledger = Ledger()
    closing = replace(CLOSE, handler=Sink(ledger).close)
    app.router.routes[:0] = [
        Route(PREFIX + closing.path, guarded(closing, app.state.sandbox), methods=[closing.method]),
        Route("/_sink/ledger", ledger.show, methods=["GET"]),
    ]
    return app


def _job(sandbox: Sandbox, session: Session, serial: int) -> SinkJob:
    paths = [part.path for _, part in sorted(session.parts.items()) if part.path is not None]
    return SinkJob(
        parts=tuple(paths),
        key=session.key or b"",
        iv=session.iv,
        compression=session.compression,
        serial=serial,
        opened_on=warsaw_day(session.created),
        offline_mode=session.offline_mode,
        sent=polish_stamp(session.created),
        acquired=polish_stamp(sandbox.clock.now()),
        page_documents=UPO_PAGE_DOCUMENTS,
    )


async def _receipt(sandbox: Sandbox, session: Session, taken: TakenPackage) -> list[UpoPage]:
    total = sum(count for count, _ in taken.pages)
    first = 1
    pages: list[UpoPage] = []
    for number, (count, elements) in enumerate(taken.pages, start=1):
        job = UpoJob(
            target=sandbox.new_file("upo"),
            session_reference_number=session.reference_number,
            context=(session.context.type, session.context.value),
            token_reference=session.opened_by.token_reference,
            document_hash=session.opened_by.document_hash,
            page=(number, len(taken.pages), first, first + count - 1, total),
            documents=(),
            seal_key_pem=sandbox.keys.seal.private_key_pem,
            seal_certificate_pem=sandbox.keys.seal.certificate_pem,
        )
        # The page is sealed in a thread, because sending the elements back to the pool would cost more.
        digest = await asyncio.to_thread(seal_page, job, elements)
        pages.append(UpoPage(new_reference("EU", sandbox.clock.now().date()), job.target, digest))
        first += count
    return pages


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `python -m benchmarks.sink`: serve until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="benchmarks.sink", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level="ERROR", format="%(levelname)s %(name)s: %(message)s")
    uvicorn.run(
        create_sink(),
        host="127.0.0.1",
        port=chosen.port,
        log_level="error",
        access_log=False,
        date_header=False,  # the sandbox writes its own
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=2,
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
