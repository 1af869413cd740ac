"""Faults on demand: rules that make chosen requests fail in chosen ways.

A rule matches by method and path and does one thing: answers without processing (`status`), waits (`delay`), breaks
the connection before or after processing (`cut`), or processes and then answers something else (`answer_status`,
which is how a close that worked comes back as 502).
"""

import random
import re
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator


class FaultRule(BaseModel):
    """One rule, as posted to `/_sandbox/faults`."""

    model_config = ConfigDict(extra="forbid")

    method: str = "*"
    path: str
    """Regular expression, searched in the path without the `/v2` prefix."""
    times: Annotated[int, Field(ge=1)] | None = None
    """How often it still applies; None without end."""
    skip: Annotated[int, Field(ge=0)] = 0
    """How many matching requests pass untouched first."""
    probability: Annotated[float, Field(gt=0, le=1)] = 1.0
    seed: int = 0
    status: Annotated[int, Field(ge=200, le=599)] | None = None
    answer_status: Annotated[int, Field(ge=200, le=599)] | None = None
    delay: Annotated[float, Field(ge=0, le=3600)] = 0.0
    cut: Literal["before", "after"] | None = None
    body: str = ""
    content_type: str = "application/json"
    headers: dict[str, str] = Field(default_factory=dict)

    @field_validator("path")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        return value


@dataclass(slots=True)
class _Active:
    rule: FaultRule
    number: int
    chance: random.Random
    applied: int = 0
    passed: int = 0


@dataclass(slots=True)
class FaultBook:
    """The active rules, in the order in which they were posted; the first that matches applies."""

    _rules: list[_Active] = field(default_factory=list)
    _next: int = 1

    def add(self, rule: FaultRule) -> int:
        """Activate a rule; its number comes back."""
        number, self._next = self._next, self._next + 1
        # Chance only decides which requests of a test fail.
        self._rules.append(_Active(rule, number, random.Random(rule.seed)))  # noqa: S311
        return number

    def listed(self) -> list[dict[str, object]]:
        """Every rule with how often it has been applied."""
        return [{"id": item.number, "applied": item.applied, **item.rule.model_dump()} for item in self._rules]

    def clear(self) -> None:
        """Deactivate every rule."""
        self._rules.clear()

    def choose(self, method: str, path: str) -> FaultRule | None:
        """The rule for this request, if any; counts as applied."""
        for item in self._rules:
            rule = item.rule
            if rule.method not in {"*", method} or re.search(rule.path, path) is None:
                continue
            if rule.times is not None and item.applied >= rule.times:
                continue
            if item.passed < rule.skip:
                item.passed += 1
                continue
            if rule.probability < 1 and item.chance.random() >= rule.probability:
                continue
            item.applied += 1
            return rule
        return None
