"""Writes the headers `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class RateLimit:
    """One limit and the used part of it."""

    name: str
    most: int
    used: int
    unit: str | None = None
    """The unit of the quota if it is not requests: `content-bytes` or `concurrent-requests`."""
    window: int | None = None
    """Length of the window in seconds; None for a limit on what waits or runs at the same time."""

    @property
    def policy(self) -> str:
        """The item of `RateLimit-Policy`."""
        unit = f';qu="{self.unit}"' if self.unit else ""
        window = f";w={self.window}" if self.window is not None else ""
        return f'"{self.name}";q={self.most}{unit}{window}'

    def left(self, seconds: int | None) -> str:
        """Return the item of `RateLimit`; after `seconds` there may be more."""
        reset = f";t={seconds}" if seconds is not None else ""
        return f'"{self.name}";r={max(0, self.most - self.used)}{reset}'


UNITS: Final = {
    "concurrent_uploads": "concurrent-requests",
    "spooled_bytes": "content-bytes",
    "bytes_under_way": "content-bytes",
}
"""Units of the limits of a tenant; all others count requests."""


def limit_of_tenant(name: str, *, used: int, most: int) -> RateLimit:
    """Return a limit of a tenant under its name in the headers, which has hyphens."""
    return RateLimit(name.replace("_", "-"), most, used, UNITS.get(name))


def limit_headers(limits: Iterable[RateLimit], *, seconds: int | None = None) -> dict[str, str]:
    """Return both headers."""
    known = list(limits)
    return {
        "RateLimit-Policy": ", ".join(limit.policy for limit in known),
        "RateLimit": ", ".join(limit.left(seconds) for limit in known),
    }
