"""Result of an action on a session."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.domain.session_machine import Event
from app.ksef.errors import KsefError, Outcome, QuotaExhausted, RateLimited
from app.ksef.models import SessionStatus


@dataclass(frozen=True, slots=True)
class Result:
    """The event that an action led to, with the detail for the history and the pause that KSeF's answer asks for."""

    event: Event
    detail: Mapping[str, Any] = field(default_factory=dict)
    wait_seconds: float | None = None
    status: SessionStatus | None = None
    """The status that a poll has just read. The next action takes it from here, since another poll would count again."""


def result_of_error(error: KsefError) -> Result:
    """Turn an error that can meet every call, and that concerns no session in particular, into its event."""
    wait = float(error.retry_after_seconds) if error.retry_after_seconds else None
    if isinstance(error, QuotaExhausted):
        wait = error.wait_seconds
    if isinstance(error, RateLimited) or (error.outcome is Outcome.TRY_AGAIN and wait is not None):
        event = Event.RATE_LIMITED
    else:
        event = {
            Outcome.TRY_AGAIN: Event.NOT_DONE,
            Outcome.UNKNOWN: Event.NO_ANSWER,
            Outcome.BLOCKED: Event.BLOCKED,
            Outcome.REFUSED: Event.REFUSED,
        }[error.outcome]
    return Result(event, error.as_dict(), wait)
