"""Times as texts that users read."""

from datetime import datetime


def iso_utc(moment: datetime | None) -> str | None:
    """Write a time as users see it: UTC, ISO 8601, milliseconds (as the database function of the same name does)."""
    if moment is None:
        return None
    offset = moment.utcoffset()
    naive = moment.replace(tzinfo=None) - offset if offset is not None else moment
    return naive.isoformat(timespec="milliseconds") + "Z"
