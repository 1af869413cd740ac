"""Options of the sandbox, set at its start."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class LimitProfile(StrEnum):
    """The enforced request limits. Those of test and production have been equal since API 2.5."""

    OFF = "off"
    TEST = "test"
    PRODUCTION = "production"


class ApiVersion(StrEnum):
    """The version of the contract. The versions differ in limit groups and in the lists of limits."""

    V2_7 = "2.7"
    V2_9 = "2.9"


class Validation(StrEnum):
    """The checks of an invoice: `off` skips only the XSD, all other rules apply."""

    FULL = "full"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class SandboxOptions:
    """All options. Durations are seconds, sizes are bytes."""

    host: str = "127.0.0.1"
    port: int = 8099
    limits: LimitProfile = LimitProfile.OFF
    api: ApiVersion = ApiVersion.V2_9
    state: Path | None = None
    """File that keeps the state across restarts, with a folder `<file>.files`; None for memory only."""
    validation: Validation = Validation.FULL
    schemas: Path | None = None
    """Folder with the official XSD files of forms besides FA(3); sessions can have those that are found."""
    pool_processes: int = 1
    enforce_identifiers: bool = False
    """Whether NIP checksums are checked in every session, as in production; otherwise only with X-KSeF-Feature."""
    access_token_seconds: int = 900
    auth_delay_seconds: float = 0.0
    """How long a login stays at 100."""
    processing_delay_seconds: float = 0.0
    """How long a closed session stays at 150 before its processing starts, in the sandbox's time."""
    storage_delay_seconds: float = 0.0
    """How long after its acceptance an invoice cannot be downloaded yet, in the sandbox's time."""
    max_invoices: int = 10_000
    record: str = ""
    """File for all requests and answers, or a folder in which each process creates its own file; empty for none."""
    log_level: str = "warning"
