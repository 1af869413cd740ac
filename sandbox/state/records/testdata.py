"""Records of test data and of the control API's orders."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sandbox.state.records.common import Status


@dataclass(frozen=True, slots=True)
class MadeSubject:
    """A subject or person made by `/testdata`."""

    created: datetime
    nips: tuple[str, ...]
    """Its own NIP, then those of its subunits."""
    pesel: str | None = None


@dataclass(slots=True)
class ForcedOutcome:
    """An outcome that the control API ordered for the next operations of a kind."""

    operation: Literal["login", "enrollment"]
    status: Status
    times: int
