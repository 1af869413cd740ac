"""Fault rules: they make chosen requests, sessions or invoices fail in chosen ways.

A rule about requests (`on` is "request" or missing) matches by method and path. It answers without processing (`status`,
`error`, `page`), waits (`delay`), breaks the connection (`cut`), processes the request and then sends another answer
(`answer_status`, for example 502 after a successful close), or damages the real answer (`spoil`).

A rule about sessions (`on`: "session") is tied to the batch sessions that are opened after it was posted, and a rule
about invoices (`on`: "invoice") to those that are checked after it was posted.

Delays of requests are in real time, since they happen in the connection; delays of sessions follow the sandbox's clock.
"""

import re
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, TypeAdapter, field_validator, model_validator

from sandbox.errors import DESCRIPTIONS

Status: TypeAlias = Annotated[int, Field(ge=200, le=599)]


class _Rule(BaseModel):
    """Base of all rules: how often a rule applies."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    times: Annotated[int, Field(ge=1)] | None = None
    """How often it applies; None for always."""
    skip: Annotated[int, Field(ge=0)] = 0
    """The number of first matches to which it does not apply."""
    probability: Annotated[float, Field(gt=0, le=1)] = 1.0
    seed: int = 0


def _pattern(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    return value


class FaultRule(_Rule):
    """A rule about requests."""

    on: Literal["request"] = "request"
    method: str = "*"
    path: str
    """Regular expression, searched in the path without the `/v2` prefix."""
    status: Status | None = None
    answer_status: Status | None = None
    error: int | None = None
    """A KSeF code (21205, 21173, ...), answered as 400 in the format that the request asks for."""
    details: tuple[str, ...] = ()
    page: Literal["waf", "blocked", "too-many-requests", "expired-link"] | None = None
    """An answer of the layers in front of KSeF, or of storage: the WAF's HTML page (200, or `status`), its 403 "Request
    blocked", a 429 with `retry_after`, and 403 for an expired link."""
    retry_after: Annotated[int, Field(ge=0, le=86_400)] = 1
    delay: Annotated[float, Field(ge=0, le=3600)] = 0.0
    cut: Literal["before", "after", "within"] | None = None
    """Break the connection before the processing, after it without an answer, or in the middle of the answer."""
    spoil: Literal["json", "slow"] | None = None
    """Send half of the real body as a complete one, or send the real body over `slow_seconds`."""
    slow_seconds: Annotated[float, Field(gt=0, le=3600)] = 5.0
    body: str = ""
    content_type: str = "application/json"
    headers: dict[str, str] = Field(default_factory=dict)

    _path_compiles = field_validator("path")(_pattern)

    @field_validator("error")
    @classmethod
    def _is_known(cls, value: int | None) -> int | None:
        if value is not None and value not in DESCRIPTIONS:
            raise ValueError("not an error code of the sandbox")
        return value


class SessionScript(BaseModel):
    """Faults of one batch session. A script without members changes nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    status: Literal[405, 415, 420, 430, 435, 440, 445, 500] | None = None
    """The final status, independent of the package; no invoice is accepted."""
    details: tuple[str, ...] = ()
    at_open: bool = False
    """Whether the session has that status right after opening instead of after processing."""
    hold_at: Literal[100, 150] | None = None
    """The status at which the session stays after closing."""
    hold_seconds: Annotated[float, Field(ge=0)] | None = None
    """How long it stays there, in the sandbox's time; None until it is released."""
    release_on_close: bool = False
    """Whether another close releases a session that is held at 100."""
    processing_seconds: Annotated[float, Field(ge=0)] | None = None
    """How long the session stays at 150, in the sandbox's time, instead of the delay of the options."""
    shown: tuple[Literal[100, 150], ...] = ()
    """The statuses that the first status calls after closing show, independent of the real one."""
    looks_without_upo: Annotated[int, Field(ge=0)] = 0
    """The number of status calls of the final session that show no receipt yet."""
    null_failed_count: bool = False
    """Whether `failedInvoiceCount` stays null where it would be 0 (ksef-api, issue 193)."""
    duplicates_name_this_session: bool = False
    """Whether duplicates name this session instead of the original's (ksef-api, issue 450)."""

    @model_validator(mode="after")
    def _fits(self) -> "SessionScript":
        if self.at_open and self.status is None:
            raise ValueError("at_open needs a status")
        if self.release_on_close and self.hold_at != 100:
            raise ValueError("only a session that is held at 100 can be closed again")
        return self


class SessionRule(_Rule, SessionScript):
    """A rule about sessions: the script of the sessions that it applies to."""

    on: Literal["session"]
    nip: str | None = None
    """The NIP of the context; None for any."""

    def script(self) -> SessionScript:
        """Return the rule's script, without its filters and counts."""
        return SessionScript.model_validate(self.model_dump(include=set(SessionScript.model_fields)))


class InvoiceRule(_Rule):
    """A rule about single invoices: they get this status, independent of their content.

    With 440 the sandbox takes the invoice, gives it a KSeF number, and reports it as a duplicate of itself (KSeF in April 2026).
    """

    on: Literal["invoice"]
    status: Literal[405, 410, 415, 430, 435, 440, 450, 500, 550]
    details: tuple[str, ...] = ()
    has_receipt: bool = False
    """With 440: whether its session gives the receipt of the invoice that was taken."""
    nip: str | None = None
    """The NIP of the context; None for any."""
    number: str = ""
    """Regular expression, searched in `P_2`; invoices without `P_2` match only the empty expression."""
    invoice_hash: str | None = None

    _number_compiles = field_validator("number")(_pattern)


def _kind(value: Any) -> str:
    kind = value.get("on", "request") if isinstance(value, dict) else "request"
    return kind if isinstance(kind, str) else "unknown"


AnyRule: TypeAlias = Annotated[
    Annotated[FaultRule, Tag("request")]
    | Annotated[SessionRule, Tag("session")]
    | Annotated[InvoiceRule, Tag("invoice")],
    Discriminator(_kind),
]
RULE: TypeAdapter[FaultRule | SessionRule | InvoiceRule] = TypeAdapter(AnyRule)


@dataclass(slots=True)
class ActiveRule:
    """A rule and how often it has been applied."""

    rule: FaultRule | SessionRule | InvoiceRule
    number: int
    applied: int = 0
    passed: int = 0
    drawn: int = 0

    def applies(self) -> bool:
        """Count a match and return whether the rule applies to it."""
        rule = self.rule
        if rule.times is not None and self.applied >= rule.times:
            return False
        if self.passed < rule.skip:
            self.passed += 1
            return False
        if rule.probability < 1 and self._chance() >= rule.probability:
            return False
        self.applied += 1
        return True

    def _chance(self) -> float:
        """Draw a number from 0 to 1 by the seed and the count of draws, so that a restart continues the sequence."""
        self.drawn += 1
        digest = blake2b(f"{self.rule.seed}:{self.drawn}".encode(), digest_size=7).digest()
        return int.from_bytes(digest) / 2**56


@dataclass(slots=True)
class FaultBook:
    """The active rules, in the order in which they were posted; the first match applies."""

    rules: list[ActiveRule] = field(default_factory=list)
    following: int = 1
    """The number of the next rule."""

    def add(self, rule: FaultRule | SessionRule | InvoiceRule) -> int:
        """Activate a rule and return its number."""
        number, self.following = self.following, self.following + 1
        self.rules.append(ActiveRule(rule, number))
        return number

    def listed(self) -> list[dict[str, object]]:
        """Return every rule and how often it has been applied."""
        return [{"id": item.number, "applied": item.applied, **item.rule.model_dump()} for item in self.rules]

    def remove(self, number: int) -> bool:
        """Deactivate one rule; return False for an unknown number."""
        before = len(self.rules)
        self.rules = [item for item in self.rules if item.number != number]
        return len(self.rules) < before

    def clear(self) -> None:
        """Deactivate every rule."""
        self.rules.clear()

    def choose(self, method: str, path: str) -> FaultRule | None:
        """Return the rule for this request, or None; counts it as applied."""
        for item in self.rules:
            rule = item.rule
            if not isinstance(rule, FaultRule) or rule.method not in {"*", method}:
                continue
            if re.search(rule.path, path) is not None and item.applies():
                return rule
        return None

    def script_for(self, nip: str | None) -> SessionScript:
        """Return the script for a new session of a context; counts its rule as applied."""
        for item in self.rules:
            rule = item.rule
            if isinstance(rule, SessionRule) and rule.nip in {None, nip} and item.applies():
                return rule.script()
        return SessionScript()

    def invoice_status(self, nip: str | None, number: str | None, invoice_hash: str) -> InvoiceRule | None:
        """Return the rule for an invoice, or None; counts it as applied."""
        for item in self.rules:
            rule = item.rule
            if (
                isinstance(rule, InvoiceRule)
                and rule.nip in {None, nip}
                and rule.invoice_hash in {None, invoice_hash}
                and (not rule.number or (number is not None and re.search(rule.number, number) is not None))
                and item.applies()
            ):
                return rule
        return None
