"""Parsing of times on the command line: an absolute time, or a time span before now."""

import re
from datetime import datetime, timedelta
from typing import Final

from app.cli.exit_codes import UsageProblem
from app.clock import WARSAW
from app.domain.timestamps import bounded_utc

_AGO: Final = re.compile(r"(\d{1,6})\s*([smhdw])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_time(text: str, *, option: str, now: datetime) -> datetime:
    """Parse `2026-02-01T06:00` (Polish time unless it has an offset) or `90m`, `2h`, `7d` before now; return UTC.

    Raises UsageProblem that names the option.
    """
    ago = _AGO.fullmatch(text.strip())
    try:
        if ago is not None:
            return bounded_utc(now - timedelta(**{_UNITS[ago[2]]: int(ago[1])}))
        return parse_moment(text)
    except (ValueError, OverflowError) as error:
        raise UsageProblem(
            f"{option} {text[:40]}: not a time from 1970 to 2100; write it as 2026-02-01T06:00, or as 90m, 2h or 7d ago"
        ) from error


def parse_moment(text: str) -> datetime:
    """Parse `2026-02-01T06:00`, which is Polish time unless it has an offset; return UTC. Raises ValueError."""
    return bounded_utc(datetime.fromisoformat(text.strip()), zone=WARSAW)
