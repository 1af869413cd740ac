"""What the application holds between its start and its end; endpoints get it through `dependencies`."""

from dataclasses import dataclass

from app.api.admission import Admission
from app.api.authentication import Authenticator
from app.api.checking import CheckingProcess
from app.api.event_waiting import EventWatcher
from app.api.gauges import DatabaseGauges
from app.api.receiving import Receiver
from app.api.singles import SinglesGrouping
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
