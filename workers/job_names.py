"""The names of a job's work in log lines: its tenant, and its session, upload or replay, as users see them."""

from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final
from uuid import UUID

from app.domain.ids import public_id
from app.errors import DispatchError
from app.observability.logs import log_fields
from app.store.store import Store

_CAPACITY: Final = 10_000

_PUBLIC: Final = {
    "session_id": ("session", "ses"),
    "upload_id": ("upload", "upl"),
    "replay_id": ("replay", "rpl"),
    "endpoint_id": ("webhook", "whk"),
}
"""Name of a log field and prefix of its value, by the argument of a job."""


def public_names(arguments: Mapping[str, Any]) -> dict[str, str]:
    """Return the log fields that the arguments of a job name by themselves; a tenant's number and a lane's are no such name."""
    return {
        field: public_id(prefix, UUID(str(arguments[argument])))
        for argument, (field, prefix) in _PUBLIC.items()
        if argument in arguments
    }


class JobNames:
    """Log fields of jobs. The tenants of the last ten thousand jobs are kept, since a job's tenant never changes."""

    def __init__(self) -> None:
        self._tenants: OrderedDict[tuple[str, str], str] = OrderedDict()

    def known(self, arguments: Mapping[str, Any]) -> dict[str, str]:
        """Return the log fields of a job without asking the database: without the tenant if the job is new here."""
        tenants = [self._tenants[key] for key in _keys(arguments) if key in self._tenants]
        return ({"tenant": tenants[0]} if tenants else {}) | public_names(arguments)

    @asynccontextmanager
    async def logged(self, store: Store, **arguments: int | str | UUID) -> AsyncIterator[None]:
        """Add the log fields of a job to every line that is logged inside."""
        await self._learn(store, arguments)
        with log_fields(**self.known(arguments)):
            yield

    async def _learn(self, store: Store, arguments: Mapping[str, Any]) -> None:
        if any(key in self._tenants for key in _keys(arguments)):
            return
        try:
            tenant = await store.tenants.public_id_for_job(arguments)
        except DispatchError:
            # A line without a tenant is better than a job that fails for its log line.
            return
        if tenant is not None:
            self._tenants |= dict.fromkeys(_keys(arguments), tenant)
        while len(self._tenants) > _CAPACITY:
            self._tenants.popitem(last=False)


def _keys(arguments: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(name, str(value)) for name, value in arguments.items() if name.endswith("_id")]
