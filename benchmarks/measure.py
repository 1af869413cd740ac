"""Results of measurements: figures, their yardsticks and goals; and the scale of the measurements."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

Say = Callable[[str], None]
"""Function that prints the current step of a measurement."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Scale of the measurements. The defaults take about six minutes on two cores."""

    count: int = 20_000
    """Invoices of the pipeline, a round."""
    rounds: int = 3
    """Rounds of the pipeline and of packing; the median is shown."""
    session_invoices: int = 10_000
    """Invoices of a session, for packing and webhooks."""
    upload_bytes: int = 200_000_000
    """XML bytes of the large upload, for memory (half as many before it) and for latency."""
    seconds: float = 10.0
    """Duration of the single posts."""
    rate: int = 200
    """Single posts a second."""
    fast_rate: int = 1_000
    """Single posts a second in the run that only counts errors."""
    in_flight: int = 100_000
    """Unfinished invoices when all processes are killed."""
    largest: int = 100_000
    """Invoices of the largest upload of the cost curve."""

    def full(self) -> "Scale":
        """Return the sizes of the goals, which take an hour or two."""
        return replace(self, count=100_000, rounds=5, upload_bytes=2_000_000_000, seconds=60.0, largest=1_000_000)

    def quick(self) -> "Scale":
        """Return a smaller scale, which gives rough figures in about a minute and a half."""
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
    """A value measured in the same run, with which the figure is compared."""

    what: str
    value: float
    unit: str


@dataclass(frozen=True, slots=True)
class Goal:
    """A goal of DESIGN: a limit for the figure, or for its ratio to the yardstick."""

    limit: float
    at_least: bool = False
    of_ratio: bool = False
    full_size: bool = True
    """False when the run was smaller than the goal's size, so that it cannot decide on the goal."""

    def met_by(self, figure: "Figure") -> bool | None:
        """Return whether the figure reaches the goal; None when the run cannot decide."""
        value = figure.ratio if self.of_ratio else figure.value
        if value is None or not self.full_size:
            return None
        return value >= self.limit if self.at_least else value < self.limit

    def text(self, unit: str) -> str:
        """Format the goal in a few characters."""
        if self.of_ratio:
            return f"{'≥' if self.at_least else '<'} {self.limit:g} ×"
        return f"{'≥' if self.at_least else '<'} {self.limit:g} {unit}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure, with its yardstick and goal."""

    name: str
    """The measurement's name for `--only`."""
    what: str
    value: float
    unit: str
    yardstick: Yardstick | None = None
    goal: Goal | None = None
    note: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)
    """More numbers, for the JSON file."""
    measured_ratio: float | None = None
    """The ratio if it is not that of the two values, for example a median of ratios."""

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
        """Whether the goal is reached; None without a goal, or when this run cannot decide."""
        return self.goal.met_by(self) if self.goal else None

    def as_dict(self) -> dict[str, Any]:
        """Return the figure in its JSON form."""
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
    """A measurement could not be completed, so it has no figure."""


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` (0 to 1) of all values do not exceed (nearest rank)."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
