"""What a measurement gives: figures beside their yardsticks, held against the goals; and how much is measured."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

Say = Callable[[str], None]
"""Tells the person who watches what is being done now."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured. The defaults take some six minutes on two cores."""

    count: int = 20_000
    """Invoices of the pipeline, a round."""
    rounds: int = 3
    """Rounds of the pipeline and of packing; the median is shown."""
    session_invoices: int = 10_000
    """Invoices of a session, for packing and webhooks."""
    upload_bytes: int = 200_000_000
    """XML bytes of the large upload, for memory (half as many before it) and for latency."""
    seconds: float = 10.0
    """How long single posts are sent."""
    rate: int = 200
    """Single posts a second."""
    fast_rate: int = 1_000
    """Single posts a second when only errors count."""
    in_flight: int = 100_000
    """Invoices under way when everything is killed."""
    largest: int = 100_000
    """Invoices of the largest upload of the cost curve."""

    def full(self) -> "Scale":
        """Return the sizes that the goals speak of, which take an hour or two."""
        return replace(self, count=100_000, rounds=5, upload_bytes=2_000_000_000, seconds=60.0, largest=1_000_000)

    def quick(self) -> "Scale":
        """Return a smaller scale that shows the way of things in about a minute and a half."""
        return replace(
            self,
            count=5_000,
            rounds=1,
            session_invoices=2_500,
            upload_bytes=30_000_000,
            seconds=3.0,
            in_flight=20_000,
            largest=10_000,
        )


@dataclass(frozen=True, slots=True)
class Yardstick:
    """Something measured in the same run that the figure is compared with."""

    what: str
    value: float
    unit: str


@dataclass(frozen=True, slots=True)
class Goal:
    """What DESIGN asks for: a limit for the figure, or for its ratio to the yardstick."""

    limit: float
    at_least: bool = False
    of_ratio: bool = False
    full_size: bool = True
    """False when less was measured than the goal speaks of: then it says nothing about the goal."""

    def met_by(self, figure: "Figure") -> bool | None:
        """Tell whether the figure reaches the goal; None when it cannot tell."""
        value = figure.ratio if self.of_ratio else figure.value
        if value is None or not self.full_size:
            return None
        return value >= self.limit if self.at_least else value < self.limit

    def text(self, unit: str) -> str:
        """Say the goal in a few characters."""
        if self.of_ratio:
            return f"{'≥' if self.at_least else '<'} {self.limit:g} ×"
        return f"{'≥' if self.at_least else '<'} {self.limit:g} {unit}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure, with all that is needed to judge it."""

    name: str
    """Of the measurement, as `--only` takes it."""
    what: str
    value: float
    unit: str
    yardstick: Yardstick | None = None
    goal: Goal | None = None
    note: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)
    """More numbers, for the JSON file."""
    measured_ratio: float | None = None
    """The ratio, when it is not simply that of the two values: a median of ratios, say."""

    @property
    def ratio(self) -> float | None:
        """The figure divided by its yardstick."""
        if self.measured_ratio is not None:
            return self.measured_ratio
        if self.yardstick is None or not self.yardstick.value:
            return None
        return self.value / self.yardstick.value

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None without a goal, or when this run cannot tell."""
        return self.goal.met_by(self) if self.goal else None

    def as_dict(self) -> dict[str, Any]:
        """Return the figure as JSON has it."""
        yardstick = self.yardstick
        return {
            "name": self.name,
            "what": self.what,
            "value": self.value,
            "unit": self.unit,
            "yardstick": (
                {"what": yardstick.what, "value": yardstick.value, "unit": yardstick.unit} if yardstick else None
            ),
            "ratio": self.ratio,
            "goal": self.goal.text(self.unit) if self.goal else None,
            "met": self.met,
            "note": self.note,
            "detail": dict(self.detail),
        }


class MeasurementFailed(Exception):
    """What was to be measured did not happen, so there is no figure."""


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` (0 to 1) of all values do not exceed (nearest rank)."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
