"""What the application holds between its start and its end; endpoints get it through `dependencies`."""

from dataclasses import dataclass

from app.api.authentication import Authenticator
from app.api.database_gauges import DatabaseGauges
from app.api.event_watcher import EventWatcher
from app.api.intake.admission import Admission
from app.api.intake.group_commit import SinglesGrouping
from app.api.intake.request_body import Receiver
from app.api.intake.validation_pool import CheckingProcess
from app.clock import Clock
from app.settings import Settings
from app.store.store import Store


@dataclass(frozen=True, slots=True)
class ApiState:
    """The parts of a running API, by noun."""

    store: Store
    settings: Settings
    clock: Clock
    authenticator: Authenticator
    admission: Admission
    receiver: Receiver
    singles: SinglesGrouping
    checking: CheckingProcess
    gauges: DatabaseGauges
    watcher: EventWatcher
