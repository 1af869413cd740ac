"""Client of KSeF for the workers: one tenant's calls, each with a valid token.

It repeats a call only once, after a 401, which proves that the call was not carried out. The worker decides on every other
repetition, by the error's `outcome` and by the steps that it stored before the call.
"""

import json
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import TypeVar

from pydantic import SecretStr

from app.ksef import batch, limits, originals, permissions, sessions
from app.ksef.answers import Answer
from app.ksef.batch import BatchSpec, OpenedSession, PartUpload
from app.ksef.errors import Unauthenticated
from app.ksef.keys import PublicKeys
from app.ksef.limits import ContextLimits, RateLimits
from app.ksef.login.auth import Authenticator, LoginInfo
from app.ksef.models import ListedSession, SessionInvoice, SessionStatus, read_model
from app.ksef.originals import MetadataPage, MetadataQuery
from app.ksef.permissions import AttachmentConsent
from app.ksef.sessions import InvoicePage
from app.ksef.storage import DownloadedUpo, Sink, StorageClient, save_upo
from app.ksef.transport import BeforeCall, Call, KsefTransport

T = TypeVar("T")


class KsefClient:
    """Calls of one tenant to KSeF. The modules `batch`, `sessions`, `limits` and `permissions` read their answers."""

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

    def guarded(self, before_call: BeforeCall) -> "KsefClient":
        """Return a client that calls a function right before each request of its own, but not before those of a login."""
        return KsefClient(
            transport=self._transport.guarded(before_call),
            storage=self._storage.guarded(before_call),
            authenticator=self.authenticator,
            keys=self.keys,
        )

    async def open_batch_session(self, spec: BatchSpec) -> OpenedSession:
        """Open a session for this package. Store the reference number before any part is uploaded.

        After no answer KSeF may have an empty session, which processes nothing and is cancelled by KSeF, so opening again is
        safe as long as no part was uploaded and no session closed. Raises KeyUnknown (fetch keys, wrap
        again), PartMismatch, RateLimited and the other errors of `app.ksef.errors`.
        """
        answer = await self._send(
            batch.OPEN,
            headers={} if spec.feature is None else {"X-KSeF-Feature": spec.feature},
            body=json.dumps(batch.open_request(spec)).encode(),
            content_type="application/json",
        )
        return batch.read_opened(answer, spec)

    async def upload_part(self, upload: PartUpload, body: AsyncIterable[bytes], size: int) -> None:
        """Store one part, without a token; see `storage.StorageClient.upload_part`."""
        await self._storage.upload_part(upload, body, size)

    async def close_batch_session(self, reference_number: str) -> None:
        """Close a session, which starts its processing. It returns after a 204: the session is closed, not yet processed.

        After no answer, a 5xx or a web page the outcome is UNKNOWN: poll the session's status; at 100 close again, from 150 on
        the session is closed. Raises StateForbids (closed already, or cancelled: poll the status), PartMissing and PartMismatch
        (upload again, close again), SessionNotFound (seconds after opening: close again),
        DeadlineExceeded (a new session). Never open a second session for the same invoices because of an error here.
        """
        await self._send(batch.CLOSE, path={"referenceNumber": reference_number})

    async def session_status(self, reference_number: str) -> SessionStatus:
        """Return a session's status. Raises SessionNotFound when KSeF does not find the session."""
        return read_model(await self._send(sessions.STATUS, path={"referenceNumber": reference_number}), SessionStatus)

    async def session_invoices_page(
        self, reference_number: str, *, failed_only: bool, continuation_token: str | None = None
    ) -> InvoicePage:
        """Return one page (up to 1,000) of a session's invoices, or of its rejected ones.

        Before the session's final status the list may be empty or incomplete. Its order is not that of the package.
        Raises ContinuationRefused when KSeF refuses the token: start the list again.
        """
        answer = await self._send(
            sessions.FAILED if failed_only else sessions.INVOICES,
            path={"referenceNumber": reference_number},
            query=(("pageSize", str(sessions.PAGE_SIZE)),),
            headers=sessions.continued(continuation_token),
        )
        return await sessions.read_invoice_page(answer)

    async def failed_invoices(self, reference_number: str) -> AsyncIterator[SessionInvoice]:
        """Yield the rejected invoices of a session, page after page; every 1,000 count as one request."""
        async for invoice in self._invoices(reference_number, failed_only=True):
            yield invoice

    async def session_invoices(self, reference_number: str) -> AsyncIterator[SessionInvoice]:
        """Yield all invoices of a session, page after page. For large sessions read the UPO, which is not counted."""
        async for invoice in self._invoices(reference_number, failed_only=False):
            yield invoice

    async def upo_by_api(self, reference_number: str, upo_reference_number: str, sink: Sink) -> DownloadedUpo:
        """Write one page of a session's UPO into `sink`, through the API. It is counted: use it when the free link fails.

        Raises the errors of `storage.StorageClient.download_upo`; the content of the sink must then be discarded. After a 401
        the call is made again before anything reached `sink`.
        """

        path = {"referenceNumber": reference_number, "upoReferenceNumber": upo_reference_number}
        return await self._download(sessions.UPO, path, sink)

    async def receipt_of_invoice(self, reference_number: str, ksef_number: str, sink: Sink) -> DownloadedUpo:
        """Write the receipt of one accepted invoice into `sink`. It is counted in the group of the status polls.

        Raises UpoNotFound when KSeF has no receipt with this number in this session, SessionNotFound or PermissionMissing when the
        session is not the caller's.
        """
        path = {"referenceNumber": reference_number, "ksefNumber": ksef_number}
        return await self._download(originals.RECEIPT, path, sink)

    async def invoice_metadata(self, query: MetadataQuery, *, page: int) -> MetadataPage:
        """Return one page (up to 250, counted from 0) of what KSeF lists of accepted invoices. Needs InvoiceRead."""
        answer = await self._send(
            originals.METADATA,
            query=(("sortOrder", "Asc"), ("pageOffset", str(page)), ("pageSize", str(originals.METADATA_PAGE))),
            body=query.body(),
            content_type="application/json",
        )
        return await originals.read_metadata_page(answer)

    async def invoice_sha256(self, ksef_number: str) -> bytes:
        """Return the SHA-256 of an accepted invoice as KSeF keeps it. Needs InvoiceRead; raises InvoiceNotAvailable."""

        async def discard(piece: bytes) -> None:
            """Keep nothing: only the hash is needed."""

        return (await self._download(originals.DOCUMENT, {"ksefNumber": ksef_number}, discard)).sha256

    async def sessions_since(self, kind: str, since: datetime) -> AsyncIterator[ListedSession]:
        """Yield the sessions of a kind (`Batch`, `Online`) created since a moment, newest first; every 1,000 are one request."""
        continuation: str | None = None
        while True:
            answer = await self._send(
                sessions.LIST,
                query=(
                    ("sessionType", kind),
                    ("dateCreatedFrom", since.isoformat(timespec="milliseconds")),
                    ("pageSize", str(sessions.PAGE_SIZE)),
                ),
                headers=sessions.continued(continuation),
            )
            page = await sessions.read_session_page(answer)
            for session in page.sessions:
                yield session
            if page.continuation_token is None or page.continuation_token == continuation:
                return
            continuation = page.continuation_token

    async def download_upo(self, url: SecretStr, sink: Sink) -> DownloadedUpo:
        """Download a page of a session's UPO by its link, uncounted and without a token; see `storage.StorageClient`."""
        return await self._storage.download_upo(url, sink)

    async def context_limits(self) -> ContextLimits:
        """Return the limits of a batch session of this context. A read, counted in `other`: call it once a login."""
        return limits.read_context_limits(await self._send(limits.CONTEXT))

    async def rate_limits(self) -> RateLimits:
        """Return the request limits of this context. A read, counted in `other`: call it once a login."""
        return limits.read_rate_limits(await self._send(limits.RATES))

    async def attachment_consent(self) -> AttachmentConsent:
        """Return whether this context may send attachments now. A read, counted in `other`.

        Raises PermissionMissing when the login has neither CredentialsManage nor CredentialsRead.
        """
        return permissions.read_attachment_consent(await self._send(permissions.ATTACHMENTS))

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

    async def _download(self, call: Call, path: Mapping[str, str], sink: Sink) -> DownloadedUpo:
        async def download(token: str, attempt: int) -> DownloadedUpo:
            async with self._transport.stream(
                call,
                path=path,
                headers={"Accept": "application/xml, application/json;q=0.5"},
                token=token,
                attempt=attempt,
            ) as response:
                return await save_upo(call.operation, response, sink)

        return await self._with_token(download)

    async def _send(
        self,
        call: Call,
        *,
        path: Mapping[str, str] | None = None,
        query: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        content_type: str | None = None,
    ) -> Answer:
        return await self._with_token(
            lambda token, attempt: self._transport.send(
                call,
                path=path,
                query=query,
                headers=headers,
                body=body,
                content_type=content_type,
                token=token,
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
            # KSeF refused a new token too, so the login that it came from is not valid.
            self.authenticator.invalidate(token, drop_login=True)
            raise
