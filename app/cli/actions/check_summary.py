"""The summary of a check of files: counts of all documents, and the findings as far as there is room for them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from app.cli.actions.checking import CheckedFile
from app.cli.actions.verdicts import Language
from app.cli.client.folder_walk import PassedOver
from app.domain.findings import Finding, Severity

MOST_DOCUMENTS: Final = 10_000
"""Documents whose findings are kept, the first ones in the order of reading."""
_MOST_FINDINGS: Final = 25_000
"""Findings that are kept of all invalid documents, and again of all others: one document may have a hundred."""
_MOST_PLACES: Final = 20
_DIGITS: Final = re.compile("([0-9]{1,18})")


@dataclass(slots=True)
class WarningSum:
    """All warnings of one rule: how many documents have it, the first finding, and the first places."""

    first: Finding
    documents: int = 0
    places: list[tuple[str, int | None]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class PlacedError:
    """An error and the document that it is in."""

    file: CheckedFile
    finding: Finding


@dataclass(frozen=True, slots=True)
class BrokenArchive:
    """An archive that could not be read to its end, and why."""

    name: str
    english: str
    polish: str | None

    def words(self, language: Language) -> str:
        """Return the archive's name and the reason."""
        return f"{self.name}: {self.polish if self.polish and language is Language.PL else self.english}"


class CheckSummary:
    """The findings so far."""

    def __init__(self) -> None:
        self.valid = 0
        self.invalid = 0
        self.with_warnings = 0
        """Valid documents that have warnings."""
        self.broken: list[BrokenArchive] = []
        self.passed_over = PassedOver()
        self.warnings: dict[str, WarningSum] = {}
        self._kept: dict[bool, list[CheckedFile]] = {True: [], False: []}
        self._room = {True: _MOST_FINDINGS, False: _MOST_FINDINGS}

    @property
    def checked(self) -> int:
        """The number of documents."""
        return self.valid + self.invalid

    @property
    def failed(self) -> bool:
        """Something is invalid, an archive could not be read to its end, or a file named .xml not at all."""
        return bool(self.invalid or self.broken or self.passed_over.misses_invoices)

    def add(self, one: CheckedFile) -> None:
        """Count one document, and keep it when it has findings and there is room for it."""
        document = one.document
        valid, findings = document.valid, document.findings
        if valid:
            self.valid += 1
            self.with_warnings += bool(findings)
        else:
            self.invalid += 1
        self._sum_warnings(one)
        kept = self._kept[valid]
        if findings and len(kept) < MOST_DOCUMENTS and len(findings) <= self._room[valid]:
            kept.append(one)
            self._room[valid] -= len(findings)

    def documents(self) -> list[CheckedFile]:
        """Return the kept documents: invalid ones first, those with warnings in the room that is left; each sorted."""
        invalid, warned = (sorted(self._kept[valid], key=_order) for valid in (False, True))
        return [*invalid, *warned][:MOST_DOCUMENTS]

    def errors(self) -> Iterator[PlacedError]:
        """Yield the errors of the kept documents, sorted by document and line."""
        for one in sorted(self._kept[False], key=_order):
            found = [finding for finding in one.document.findings if finding.severity is Severity.ERROR]
            for finding in sorted(found, key=lambda finding: finding.line or 0):
                yield PlacedError(one, finding)

    @property
    def not_kept(self) -> int:
        """The number of invalid documents whose findings are not kept."""
        return self.invalid - len(self._kept[False])

    def _sum_warnings(self, one: CheckedFile) -> None:
        counted: set[str] = set()
        for finding in one.document.findings:
            if finding.severity is not Severity.WARNING or finding.rule in counted:
                continue
            counted.add(finding.rule)
            known = self.warnings.setdefault(finding.rule, WarningSum(finding))
            known.documents += 1
            if len(known.places) < _MOST_PLACES:
                known.places.append((one.place, finding.line))


def _order(one: CheckedFile) -> list[tuple[int, str]]:
    """Return the sorting key of a place, in which 10.xml follows 9.xml."""
    return [(int(piece) if odd % 2 else 0, piece) for odd, piece in enumerate(_DIGITS.split(one.place))]
