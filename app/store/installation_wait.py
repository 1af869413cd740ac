"""Waiting of a process for an installation that it does not make.

The database may start, or be migrated, later than the process.
"""

from collections.abc import Awaitable, Callable
from typing import Final

import anyio
import anyio.to_thread

from app.observability.logs import get_logger
from app.settings import Settings
from app.store.data_folder import prepare_data_folder
from app.store.database_errors import DatabaseError
from app.store.installation import NoInstallation, find_installation, master_key_path, place_of, read_box

_PAUSE_SECONDS: Final = 1.0

log = get_logger(__name__)


async def reason_to_wait(settings: Settings) -> str | None:
    """Return the reason why the installation cannot be used yet, None when it can.

    Raises WrongMasterKey and ConfigurationError, which no waiting ends.
    """
    try:
        return await anyio.to_thread.run_sync(_reason, settings)
    except DatabaseError as error:
        return f"{place_of(settings.database_url or '')}: {error.detail}"


def _reason(settings: Settings) -> str | None:
    prepare_data_folder(settings.data_dir)
    try:
        found = find_installation(settings.database_url or "")
    except NoInstallation as error:
        return error.detail
    if found.key_check is None and not master_key_path(settings).exists():
        return f"{place_of(settings.database_url or '')} has no master key yet; `ksefd migrate` sees to it"
    read_box(settings, found)
    return None


async def wait_for_installation(settings: Settings, *, waits: Callable[[str], Awaitable[None]] | None = None) -> None:
    """Return when the installation can be used; `waits` is called with each reason why it cannot.

    Raises what `reason_to_wait` raises.
    """
    logged: str | None = None
    while (reason := await reason_to_wait(settings)) is not None:
        if reason != logged:
            log.warning("installation_awaited", reason=reason)
            logged = reason
        if waits is not None:
            await waits(reason)
        await anyio.sleep(_PAUSE_SECONDS)
