"""Webhook endpoints of tenants, the deliveries owed to them and every attempt."""

from typing import Final

from app.store.database import Database, queries
from app.store.jobs import JobQueue
from app.store.secrets import SecretBox

_SQL: Final = queries("webhooks")


class WebhookStore:
    """Rows of endpoints, deliveries and attempts."""

    def __init__(self, database: Database, jobs: JobQueue, box: SecretBox) -> None:
        self._database = database
        self._jobs = jobs
        self._box = box
