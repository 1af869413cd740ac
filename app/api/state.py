"""The parts of a running API that all requests share; endpoints get them through `dependencies`."""

from dataclasses import dataclass

from app.api.authentication import Authenticator
from app.api.database_gauges import DatabaseGauges
from app.api.event_watcher import EventWatcher
from app.api.intake.admission import Admission
from app.api.intake.group_commit import SinglesGrouping
from app.api.intake.request_body import Receiver
from app.api.intake.validation_pool import ValidationPool
from app.api.readiness import Readiness
from app.clock import Clock
from app.settings import Settings
from app.store.store import Store


@dataclass(frozen=True, slots=True)
class ApiState:
    """The store, settings and services of a running API."""

    store: Store
    settings: Settings
    clock: Clock
    authenticator: Authenticator
    admission: Admission
    receiver: Receiver
    singles: SinglesGrouping
    checking: ValidationPool
    gauges: DatabaseGauges
    watcher: EventWatcher
    readiness: Readiness
