"""The check of one document while its request waits: `POST /v1/validate` and strict single posts.

The check service does it; this module limits how many documents wait, because each is held in the memory of the API.
"""

from collections import Counter
from typing import Final

import anyio
import anyio.to_thread

from app.api.http.errors import Busy, TenantLimitReached
from app.checking.check_documents import DocumentsTask
from app.checking.service import CheckService
from app.domain.findings import Finding
from app.errors import TryLater
from app.forms.form import CheckContext
from app.observability.metrics import REFUSED_REQUESTS, count_checks
from app.reading.entry import Encoding, RawEntry
from app.settings import Settings
from app.store.installed_schemas import schema_loader

ANSWER_SECONDS: Final = 60.0
"""Longest time from a request to its findings; the search for a culprit takes half of it at most."""

WAITING_DOCUMENTS: Final = 64
WAITING_DOCUMENTS_OF_A_TENANT: Final = 16
WAITING_DOCUMENTS_FOR_NEWCOMERS: Final = 32
"""More documents for tenants of which none waits, so that a few tenants do not stop all others."""

# One process, of which a tenant has one turn at a time, and the service's reserve for another tenant: a document that hangs stops only
# its own tenant's checks.
_PROCESSES: Final = 1
_DOCUMENTS_AHEAD: Final = 0
_DOCUMENTS_OF_A_PROCESS: Final = 20_000


class ValidationPool:
    """Checks one document a request, of one tenant one at a time; tenants take turns."""

    def __init__(self, settings: Settings) -> None:
        self._service = CheckService(
            _PROCESSES,
            schema_loader(settings),
            fast_path=settings.uses_fast_path,
            ahead=_DOCUMENTS_AHEAD,
            tasks_of_a_process=_DOCUMENTS_OF_A_PROCESS,
            count_checks=count_checks,
        )
        self._waiting: Counter[str] = Counter()

    async def check(self, document: bytes, context: CheckContext) -> list[Finding]:
        """Return all findings of a document.

        Raises TenantLimitReached or Busy when too many wait, TryLater when the findings do not come in time.
        """
        owner = context.tenant_nip
        self._refuse_too_many(owner)
        self._waiting[owner] += 1
        entry = RawEntry(0, "", Encoding.PLAIN, document, len(document))
        try:
            with anyio.fail_after(ANSWER_SECONDS):
                outcome = await self._service.check_documents(DocumentsTask(owner, (entry,), context))
        except TimeoutError as error:
            raise TryLater("the document was not checked in time") from error
        finally:
            self._waiting[owner] -= 1
            if not self._waiting[owner]:
                del self._waiting[owner]
        return list(outcome.documents[0].findings)

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
        most = WAITING_DOCUMENTS if self._waiting[owner] else WAITING_DOCUMENTS + WAITING_DOCUMENTS_FOR_NEWCOMERS
        if self._waiting.total() >= most:
            REFUSED_REQUESTS.labels(reason="busy").inc()
            raise Busy("too many documents wait for their check")

    async def close(self) -> None:
        """End the processes. Safe to call twice."""
        await anyio.to_thread.run_sync(self._service.close)
