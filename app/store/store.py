"""Container of all stores (PostgreSQL, blobs, disk, secrets); opens and closes them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio.to_thread

from app.errors import ConfigurationError
from app.settings import Settings
from app.store.audit.record import Seal
from app.store.audit.store import AuditStore
from app.store.blobs import BlobStore
from app.store.data_folder import prepare_data_folder
from app.store.database import Database
from app.store.disk import Disk
from app.store.events.deliveries import DeliveryStore
from app.store.events.delivery_queue import DeliveryQueue
from app.store.events.endpoints import WebhookStore
from app.store.events.feed import EventFeed
from app.store.events.outbox import Outbox
from app.store.events.replays import ReplayStore
from app.store.installation import find_installation, read_box
from app.store.jobs import JobQueue
from app.store.keys.envelope import Envelope
from app.store.keys.ring import open_envelope
from app.store.keys.store import KeyStore
from app.store.ksef.outages import OutageStore
from app.store.ksef.quota import QuotaStore
from app.store.secrets import SecretBox
from app.store.sessions.dispatch import DispatchStore
from app.store.sessions.duplicates import DuplicateStore
from app.store.sessions.invoice_receipts import ReceiptStore
from app.store.sessions.ownership import OwnershipStore
from app.store.sessions.packages import PackageStore
from app.store.sessions.reconciling import ReconcilingStore
from app.store.sessions.sealing import SealingStore
from app.store.sessions.settlements import SettlementStore
from app.store.sessions.store import SessionStore
from app.store.sessions.upo_links import UpoLinks
from app.store.sessions.verdicts import VerdictStore
from app.store.tenants.limits import LimitsStore
from app.store.tenants.permissions import PermissionStore
from app.store.tenants.tenants import TenantStore
from app.store.uploads.admission import AdmissionStore
from app.store.uploads.chunks import ChunkStore
from app.store.uploads.invoices import InvoiceStore
from app.store.uploads.late_invoices import LateInvoiceStore
from app.store.uploads.resumable import ResumableStore
from app.store.uploads.singles import SingleStore
from app.store.uploads.uploads import UploadStore


@dataclass(frozen=True, slots=True)
class Store:
    """The parts of the store, by noun."""

    database: Database
    blobs: BlobStore
    disk: Disk
    admission: AdmissionStore
    secrets: Envelope
    master: SecretBox
    jobs: JobQueue
    outbox: Outbox
    feed: EventFeed
    tenants: TenantStore
    uploads: UploadStore
    resumable: ResumableStore
    chunks: ChunkStore
    singles: SingleStore
    invoices: InvoiceStore
    sessions: SessionStore
    ownership: OwnershipStore
    sealing: SealingStore
    packages: PackageStore
    dispatch: DispatchStore
    verdicts: VerdictStore
    duplicates: DuplicateStore
    receipts: ReceiptStore
    settlements: SettlementStore
    reconciling: ReconcilingStore
    late_invoices: LateInvoiceStore
    webhooks: WebhookStore
    deliveries: DeliveryStore
    delivery_queue: DeliveryQueue
    replays: ReplayStore
    upo_links: UpoLinks
    quota: QuotaStore
    limits: LimitsStore
    permissions: PermissionStore
    outages: OutageStore
    audit: AuditStore
    keys: KeyStore


@asynccontextmanager
async def open_store(settings: Settings, *, max_connections: int = 10) -> AsyncIterator[Store]:
    """Open the store on `settings.database_url`; the process that starts the embedded server sets it.

    It makes no installation. Raises DatabaseUnavailable, NoInstallation, WrongMasterKey when the master key is missing or another one,
    or ConfigurationError when the blob store is unusable.
    """
    if settings.database_url is None:
        raise ConfigurationError("KSEFD_DATABASE_URL: no database; start through `ksefd serve` to get the embedded one")
    found = await anyio.to_thread.run_sync(find_installation, settings.database_url)
    master = read_box(settings, found)
    prepare_data_folder(settings.data_dir)
    database = Database(settings.database_url, max_connections=max_connections)
    jobs = JobQueue(settings.database_url)
    outbox = Outbox()
    uploads = UploadStore(database, jobs, outbox)
    receipts = ReceiptStore(database)
    blobs = BlobStore(settings.blob_url, settings.data_dir)
    embedded = settings.data_dir.expanduser().resolve() / "postgres"
    watched = [folder for folder in (blobs.folder, embedded) if folder is not None and folder.is_dir()]
    await database.open()
    try:
        box = await open_envelope(database, master)
        database.write_acts = Seal(box)
        yield Store(
            database=database,
            blobs=blobs,
            disk=Disk(watched),
            admission=AdmissionStore(database),
            secrets=box,
            master=master,
            jobs=jobs,
            outbox=outbox,
            feed=EventFeed(database),
            tenants=TenantStore(database, box),
            uploads=uploads,
            resumable=ResumableStore(database, jobs, uploads),
            chunks=ChunkStore(database, jobs, uploads),
            singles=SingleStore(database, jobs, uploads),
            invoices=InvoiceStore(database),
            sessions=SessionStore(database),
            ownership=OwnershipStore(database),
            sealing=SealingStore(),
            packages=PackageStore(database, box),
            dispatch=DispatchStore(database, box),
            verdicts=VerdictStore(database),
            duplicates=DuplicateStore(database),
            receipts=receipts,
            settlements=SettlementStore(database, outbox, uploads, receipts),
            reconciling=ReconcilingStore(database),
            late_invoices=LateInvoiceStore(database, jobs, uploads),
            webhooks=WebhookStore(database, outbox, box),
            deliveries=DeliveryStore(database),
            delivery_queue=DeliveryQueue(database, outbox, box),
            replays=ReplayStore(database, jobs),
            upo_links=UpoLinks(box),
            quota=QuotaStore(database),
            limits=LimitsStore(database),
            permissions=PermissionStore(database),
            outages=OutageStore(database, jobs, outbox),
            audit=AuditStore(database, box),
            keys=KeyStore(database, box),
        )
    finally:
        await database.close()
