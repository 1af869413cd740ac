"""Checking one document at once, in a process of its own: parsing and validating would hold up the event loop.

The process is started by the first document, keeps the compiled schema, and ends with its parent, however that ends.
"""

import asyncio
import multiprocessing
import os
import resource
import threading
from collections import Counter
from concurrent.futures import CancelledError
from multiprocessing.connection import wait
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread
from pebble import ProcessExpired, ProcessPool

from app.api.http.errors import Busy, TenantLimitReached
from app.domain.findings import Finding, Severity
from app.errors import TryLater
from app.forms.checker import CheckContext, DocumentChecker, make_checker
from app.observability.metrics import REFUSED_REQUESTS
from app.process.fair_slots import FairSemaphore
from app.schema_files import load_schema_files
from app.settings import Settings

DOCUMENT_SECONDS: Final = 10.0
"""A document that takes longer is no invoice: 3 MB of FA(3) take well under a second."""

WAITING_DOCUMENTS: Final = 64
WAITING_DOCUMENTS_OF_A_TENANT: Final = 16
_PROCESSES: Final = 2
"""One would be stopped for seconds by a document that hangs; a tenant has only one of them at a time."""

TURN_SECONDS: Final = 60.0

MEMORY_BYTES: Final = 2 << 30
"""Address space of the process. libxml2 answers an allocation beyond it with an error, which is a finding."""

_RESTART_AFTER: Final = 20_000

_checker: DocumentChecker | None = None


class CheckingProcess:
    """Checks documents in two processes, of one tenant one at a time; tenants take turns."""

    def __init__(self, settings: Settings) -> None:
        self._schema_dir = settings.schema_dir
        self._pool: ProcessPool | None = None
        self._turns = FairSemaphore(_PROCESSES, most_of_one=1)
        self._waiting: Counter[str] = Counter()

    async def check(self, document: bytes, context: CheckContext) -> list[Finding]:
        """Return all findings of a document.

        Raises TenantLimitReached or Busy when too many wait, TryLater when the process does not answer.
        """
        owner = context.tenant_nip
        self._refuse_too_many(owner)
        self._waiting[owner] += 1
        try:
            with anyio.fail_after(TURN_SECONDS):
                turn = await self._turns.take(owner)
            try:
                return await self._check(document, context)
            finally:
                turn.give_back()
        except TimeoutError as error:
            raise TryLater("the check did not begin in time") from error
        finally:
            self._waiting[owner] -= 1
            if not self._waiting[owner]:
                del self._waiting[owner]

    def _refuse_too_many(self, owner: str) -> None:
        if self._waiting[owner] >= WAITING_DOCUMENTS_OF_A_TENANT:
            REFUSED_REQUESTS.labels(reason="tenant-busy").inc()
            raise TenantLimitReached(
                f"{self._waiting[owner]} documents of this tenant wait for their check; send fewer at a time",
                errors=[
                    {
                        "limit": "waiting_checks",
                        "used": self._waiting[owner],
                        "most": WAITING_DOCUMENTS_OF_A_TENANT,
                    }
                ],
            )
        if self._waiting.total() >= WAITING_DOCUMENTS:
            REFUSED_REQUESTS.labels(reason="busy").inc()
            raise Busy("too many documents wait for their check")

    async def _check(self, document: bytes, context: CheckContext) -> list[Finding]:
        try:
            if self._pool is None:
                self._pool = ProcessPool(
                    max_workers=_PROCESSES,
                    max_tasks=_RESTART_AFTER,
                    initializer=_prepare,
                    initargs=(self._schema_dir,),
                    context=multiprocessing.get_context("spawn"),
                )
            future = self._pool.schedule(_check, args=(document, context), timeout=DOCUMENT_SECONDS)
            with anyio.fail_after(4 * DOCUMENT_SECONDS):
                return await asyncio.wrap_future(future)
        except ProcessExpired:
            return [_unbearable("stopped the check")]
        except TimeoutError as error:
            if error.args:
                # The pool's own: this document ran too long and its process was replaced.
                return [_unbearable(f"took longer than {DOCUMENT_SECONDS:.0f} seconds to check")]
            raise TryLater("the check did not answer in time") from error
        except CancelledError as error:
            raise TryLater("the check was stopped") from error

    async def close(self) -> None:
        """End the process. Safe to call twice."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.stop()  # type: ignore[no-untyped-call]  # pebble leaves it untyped
            await anyio.to_thread.run_sync(pool.join)


def _unbearable(what: str) -> Finding:
    return Finding(
        rule="not-checkable",
        severity=Severity.ERROR,
        message=f"The document {what}; it cannot be an invoice.",
        message_pl="Nie udało się sprawdzić dokumentu; to nie może być faktura.",
    )


def _prepare(schema_dir: Path | None) -> None:
    global _checker  # noqa: PLW0603 - a pool process has one checker, made once
    threading.Thread(target=_end_with_parent, daemon=True).start()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    _checker = make_checker(load_schema_files(schema_dir))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _check(document: bytes, context: CheckContext) -> list[Finding]:
    if _checker is None:
        raise RuntimeError("the process was not prepared")
    return list(_checker.check(document, context).findings)
