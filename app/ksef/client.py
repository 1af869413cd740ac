"""KSeF as the workers see it: one tenant's calls, each with a valid token.

Repeats nothing, except once after a 401, which proves that the call was not carried out. All else is the
worker's to decide, by the error's `outcome` and by what it wrote down before the call.
"""

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from datetime import datetime
from typing import TypeVar

from pydantic import SecretStr

from app.ksef import batch, limits, permissions, sessions
from app.ksef.batch import BatchSpec, OpenedSession, PartUpload
from app.ksef.errors import Unauthenticated
from app.ksef.keys import PublicKeys
from app.ksef.limits import ContextLimits, RateLimits
from app.ksef.login.auth import Authenticator, LoginInfo
from app.ksef.models import ListedSession, SessionInvoice, SessionStatus
from app.ksef.permissions import AttachmentConsent
from app.ksef.sessions import InvoicePage, SessionPage
from app.ksef.storage import DownloadedUpo, Sink, StorageClient
from app.ksef.transport import KsefTransport

T = TypeVar("T")


class KsefClient:
    """One tenant's view of KSeF. What each call raises, and what no answer means, is said where it is made."""

    def __init__(
        self,
        *,
        transport: KsefTransport,
        storage: StorageClient,
        authenticator: Authenticator,
        keys: PublicKeys,
    ) -> None:
        """`transport`, `storage` and `keys` may be shared by all tenants of one environment."""
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
        """Close a session; see `batch.close_batch_session`, and mind its UNKNOWN."""
        await self._with_token(
            lambda token, attempt: batch.close_batch_session(self._transport, token, reference_number, attempt=attempt)
        )

    async def session_status(self, reference_number: str) -> SessionStatus:
        """How far a session is; see `sessions.session_status`."""
        return await self._with_token(
            lambda token, attempt: sessions.session_status(self._transport, token, reference_number, attempt=attempt)
        )

    async def session_invoices_page(
        self, reference_number: str, *, failed_only: bool, continuation_token: str | None = None
    ) -> InvoicePage:
        """One page of a session's invoices, for callers that book every request; see `sessions`."""
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
        """The refused invoices of a session, page after page; every 1,000 count as one request."""
        async for invoice in self._invoices(reference_number, failed_only=True):
            yield invoice

    async def session_invoices(self, reference_number: str) -> AsyncIterator[SessionInvoice]:
        """All invoices of a session, page after page. For volume read the UPO instead: it costs nothing."""
        async for invoice in self._invoices(reference_number, failed_only=False):
            yield invoice

    async def session_invoice(self, reference_number: str, invoice_reference_number: str) -> SessionInvoice:
        """One invoice of a session; see `sessions.session_invoice`."""
        return await self._with_token(
            lambda token, attempt: sessions.session_invoice(
                self._transport, token, reference_number, invoice_reference_number, attempt=attempt
            )
        )

    async def list_sessions(
        self,
        *,
        created_from: datetime | None = None,
        created_to: datetime | None = None,
        reference_number: str | None = None,
        statuses: Iterable[str] = (),
    ) -> AsyncIterator[ListedSession]:
        """The context's batch sessions, newest first; a tight limit: every 1,000 count as one request."""
        wanted = tuple(statuses)
        continuation: str | None = None
        while True:
            page = await self._sessions_page(created_from, created_to, reference_number, wanted, continuation)
            for session in page.sessions:
                yield session
            if page.continuation_token is None or page.continuation_token == continuation:
                return
            continuation = page.continuation_token

    async def upo_by_api(self, reference_number: str, upo_reference_number: str, sink: Sink) -> DownloadedUpo:
        """A page of a session's UPO by the counted way.

        After a 401 the call is made again before anything reached `sink`.
        """
        return await self._with_token(
            lambda token, attempt: sessions.upo_by_api(
                self._transport, token, reference_number, upo_reference_number, sink, attempt=attempt
            )
        )

    async def download_upo(self, url: SecretStr, sink: Sink) -> DownloadedUpo:
        """A page of a session's UPO by its free link, without a token; see `storage.StorageClient.download_upo`."""
        return await self._storage.download_upo(url, sink)

    async def context_limits(self) -> ContextLimits:
        """How much one session may hold; see `limits.context_limits`."""
        return await self._with_token(
            lambda token, attempt: limits.context_limits(self._transport, token, attempt=attempt)
        )

    async def rate_limits(self) -> RateLimits:
        """How often one may ask; see `limits.rate_limits`."""
        return await self._with_token(
            lambda token, attempt: limits.rate_limits(self._transport, token, attempt=attempt)
        )

    async def attachment_consent(self) -> AttachmentConsent:
        """Whether this context may send attachments; see `permissions.attachment_consent`."""
        return await self._with_token(
            lambda token, attempt: permissions.attachment_consent(self._transport, token, attempt=attempt)
        )

    async def login(self) -> LoginInfo:
        """Log in anew and tell as whom."""
        return await self.authenticator.login()

    async def ensure_token(self) -> None:
        """Make sure that a token is there, so that the next call, booked to the second, need not log in first."""
        await self.authenticator.access_token()

    async def _invoices(self, reference_number: str, *, failed_only: bool) -> AsyncIterator[SessionInvoice]:
        continuation: str | None = None
        while True:
            page = await self.session_invoices_page(
                reference_number, failed_only=failed_only, continuation_token=continuation
            )
            for invoice in page.invoices:
                yield invoice
            # The same token twice would be read for ever.
            if page.continuation_token is None or page.continuation_token == continuation:
                return
            continuation = page.continuation_token

    async def _sessions_page(
        self,
        created_from: datetime | None,
        created_to: datetime | None,
        reference_number: str | None,
        statuses: tuple[str, ...],
        continuation_token: str | None,
    ) -> SessionPage:
        return await self._with_token(
            lambda token, attempt: sessions.sessions_page(
                self._transport,
                token,
                created_from=created_from,
                created_to=created_to,
                reference_number=reference_number,
                statuses=statuses,
                continuation_token=continuation_token,
                attempt=attempt,
            )
        )

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
            # A fresh token was not taken either: what it was made from is no good.
            self.authenticator.invalidate(token, drop_login=True)
            raise
