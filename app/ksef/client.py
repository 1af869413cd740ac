"""Client of KSeF for the workers: one tenant's calls, each with a valid token.

It repeats a call only once, after a 401, which proves that the call was not carried out. The worker decides on every other
repetition, by the error's `outcome` and by the steps that it stored before the call.
"""

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from typing import TypeVar

from pydantic import SecretStr

from app.ksef import batch, limits, permissions, sessions
from app.ksef.batch import BatchSpec, OpenedSession, PartUpload
from app.ksef.errors import Unauthenticated
from app.ksef.keys import PublicKeys
from app.ksef.limits import ContextLimits, RateLimits
from app.ksef.login.auth import Authenticator, LoginInfo
from app.ksef.models import SessionInvoice, SessionStatus
from app.ksef.permissions import AttachmentConsent
from app.ksef.sessions import InvoicePage
from app.ksef.storage import DownloadedUpo, Sink, StorageClient
from app.ksef.transport import KsefTransport

T = TypeVar("T")


class KsefClient:
    """Calls of one tenant to KSeF. The errors of a call and the meaning of no answer are in the docstring of its function."""

    def __init__(
        self,
        *,
        transport: KsefTransport,
        storage: StorageClient,
        authenticator: Authenticator,
        keys: PublicKeys,
    ) -> None:
        """Create the client. All tenants of one environment may share `transport`, `storage` and `keys`."""
        self.keys = keys
        self.authenticator = authenticator
        self._transport = transport
        self._storage = storage

    async def open_batch_session(self, spec: BatchSpec) -> OpenedSession:
        """Open a session for a package; see `batch.open_batch_session`."""
        return await self._with_token(
            lambda token, attempt: batch.open_batch_session(self._transport, token, spec, attempt=attempt)
        )

    async def upload_part(self, upload: PartUpload, body: AsyncIterable[bytes], size: int) -> None:
        """Store one part, without a token; see `storage.StorageClient.upload_part`."""
        await self._storage.upload_part(upload, body, size)

    async def close_batch_session(self, reference_number: str) -> None:
        """Close a session; see `batch.close_batch_session`, also for its outcome UNKNOWN."""
        await self._with_token(
            lambda token, attempt: batch.close_batch_session(self._transport, token, reference_number, attempt=attempt)
        )

    async def session_status(self, reference_number: str) -> SessionStatus:
        """Return a session's status; see `sessions.session_status`."""
        return await self._with_token(
            lambda token, attempt: sessions.session_status(self._transport, token, reference_number, attempt=attempt)
        )

    async def session_invoices_page(
        self, reference_number: str, *, failed_only: bool, continuation_token: str | None = None
    ) -> InvoicePage:
        """Return one page of a session's invoices, for callers that reserve quota for every request; see `sessions`."""
        return await self._with_token(
            lambda token, attempt: sessions.session_invoices_page(
                self._transport,
                token,
                reference_number,
                failed_only=failed_only,
                continuation_token=continuation_token,
                attempt=attempt,
            )
        )

    async def failed_invoices(self, reference_number: str) -> AsyncIterator[SessionInvoice]:
        """Yield the rejected invoices of a session, page after page; every 1,000 count as one request."""
        async for invoice in self._invoices(reference_number, failed_only=True):
            yield invoice

    async def session_invoices(self, reference_number: str) -> AsyncIterator[SessionInvoice]:
        """Yield all invoices of a session, page after page. For large sessions read the UPO, which is not counted."""
        async for invoice in self._invoices(reference_number, failed_only=False):
            yield invoice

    async def upo_by_api(self, reference_number: str, upo_reference_number: str, sink: Sink) -> DownloadedUpo:
        """Download a page of a session's UPO through the API, which is counted against a limit.

        After a 401 the call is made again before anything reached `sink`.
        """
        return await self._with_token(
            lambda token, attempt: sessions.upo_by_api(
                self._transport, token, reference_number, upo_reference_number, sink, attempt=attempt
            )
        )

    async def download_upo(self, url: SecretStr, sink: Sink) -> DownloadedUpo:
        """Download a page of a session's UPO by its link, uncounted and without a token; see `storage.StorageClient`."""
        return await self._storage.download_upo(url, sink)

    async def context_limits(self) -> ContextLimits:
        """Return the limits of one session's content; see `limits.context_limits`."""
        return await self._with_token(
            lambda token, attempt: limits.context_limits(self._transport, token, attempt=attempt)
        )

    async def rate_limits(self) -> RateLimits:
        """Return the request limits; see `limits.rate_limits`."""
        return await self._with_token(
            lambda token, attempt: limits.rate_limits(self._transport, token, attempt=attempt)
        )

    async def attachment_consent(self) -> AttachmentConsent:
        """Return whether this context may send attachments; see `permissions.attachment_consent`."""
        return await self._with_token(
            lambda token, attempt: permissions.attachment_consent(self._transport, token, attempt=attempt)
        )

    async def login(self) -> LoginInfo:
        """Log in anew and return the identity that KSeF reports."""
        return await self.authenticator.login()

    async def _invoices(self, reference_number: str, *, failed_only: bool) -> AsyncIterator[SessionInvoice]:
        continuation: str | None = None
        while True:
            page = await self.session_invoices_page(
                reference_number, failed_only=failed_only, continuation_token=continuation
            )
            for invoice in page.invoices:
                yield invoice
            # A repeated continuation token would make this loop endless.
            if page.continuation_token is None or page.continuation_token == continuation:
                return
            continuation = page.continuation_token

    async def _with_token(self, call: Callable[[str, int], Awaitable[T]]) -> T:
        token = await self.authenticator.access_token()
        try:
            return await call(token, 1)
        except Unauthenticated:
            self.authenticator.invalidate(token)
        token = await self.authenticator.access_token()
        try:
            return await call(token, 2)
        except Unauthenticated:
            # KSeF refused a new token too, so the login that it came from is not valid.
            self.authenticator.invalidate(token, drop_login=True)
            raise
