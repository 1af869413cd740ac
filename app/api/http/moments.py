"""The one type of times in queries and bodies: in UTC, and within bounds that every part of the service can hold."""

from datetime import datetime
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, AwareDatetime

from app.domain.timestamps import bounded_utc

Moment: TypeAlias = Annotated[AwareDatetime, AfterValidator(bounded_utc)]
"""A time with an offset."""

MomentOrUtc: TypeAlias = Annotated[datetime, AfterValidator(bounded_utc)]
"""A time that is UTC without an offset."""


def read_moment(text: str) -> datetime:
    """Parse a time of ISO 8601, which is UTC without an offset. Raises ValueError."""
    return bounded_utc(datetime.fromisoformat(text))
