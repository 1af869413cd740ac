"""What can be set when the sandbox starts."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class LimitProfile(StrEnum):
    """Which request limits are enforced. Test and production have been equal since API 2.5."""

    OFF = "off"
    TEST = "test"
    PRODUCTION = "production"


class ApiVersion(StrEnum):
    """Which version of the contract is spoken; they differ in limit groups and in what the limits list."""

    V2_7 = "2.7"
    V2_9 = "2.9"


class Validation(StrEnum):
    """How deep a document is checked: `off` leaves out the XSD only, every other rule stays."""

    FULL = "full"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class SandboxOptions:
    """All settings. Durations are seconds, sizes are bytes."""

    host: str = "127.0.0.1"
    port: int = 8099
    limits: LimitProfile = LimitProfile.OFF
    api: ApiVersion = ApiVersion.V2_9
    state: Path | None = None
    """File that keeps everything across restarts, a folder `<file>.files` beside it; None for memory only."""
    validation: Validation = Validation.FULL
    pool_processes: int = 1
    enforce_identifiers: bool = False
    """Check NIP checksums on every session, as production does; otherwise only with X-KSeF-Feature."""
    access_token_seconds: int = 900
    auth_delay_seconds: float = 0.0
    """How long a login stays at 100."""
    processing_delay_seconds: float = 0.0
    """How long a closed session stays at 150 before the work on it starts, in the sandbox's own time."""
    storage_delay_seconds: float = 0.0
    """How long an accepted invoice cannot be read back yet, in the sandbox's own time."""
    max_invoices: int = 10_000
    record: str = ""
    """File for every request and answer, or a folder in which each process makes a file of its own; empty for none."""
    log_level: str = "warning"
