"""A finding: one fault (or oddity) of one invoice, explained in English and Polish."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple


class Severity(StrEnum):
    """An error keeps the invoice from being sent; a warning travels with it."""

    ERROR = "error"
    WARNING = "warning"


class Compared(NamedTuple):
    """The value in the document and the value wanted there, in English and Polish; empty where there is none."""

    found: str
    wanted: str
    wanted_pl: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault found in one document.

    `rule` is a stable id in kebab case. `line` counts from 1 and `path` is an XPath without namespaces
    (`/Faktura/Fa/P_1`); either is None when the fault has no place in the document. `raw` keeps the
    words of the tool or service that reported it, when they are not ours. `compared` is for reports on this
    machine: it is neither stored nor part of the API's JSON.
    """

    rule: str
    severity: Severity
    message: str
    message_pl: str
    line: int | None = None
    path: str | None = None
    raw: str | None = None
    ksef_number: str | None = None
    """KSeF number of the invoice that the finding is about, when it is another one or was found late."""
    session_reference: str | None = None
    """KSeF's reference number of that invoice's session. KSeF sometimes names the wrong one."""
    compared: Compared | None = field(default=None, compare=False)

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON shape of the API; `raw`, `ksef_number` and `session_reference` only if they are known."""
        shape: dict[str, Any] = {
            "rule": self.rule,
            "severity": self.severity.value,
            "message": self.message,
            "message_pl": self.message_pl,
            "line": self.line,
            "path": self.path,
        }
        for name in ("raw", "ksef_number", "session_reference"):
            value = getattr(self, name)
            if value is not None:
                shape[name] = value
        return shape


def has_errors(findings: Iterable[Finding]) -> bool:
    """Return whether any finding is an error."""
    return any(finding.severity is Severity.ERROR for finding in findings)
