"""The walk through files and folders of a command line, and what it passes over."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from app.cli.exit_codes import UsageProblem
from app.reading.kinds import names_archive

_NAMES_SHOWN: Final = 5


class Why(StrEnum):
    """The reasons why a walk passes something over, the most serious first."""

    UNREADABLE = "unreadable"
    LINKED_FOLDER = "linked-folder"
    ARCHIVE = "archive"
    HIDDEN = "hidden"
    OTHER = "other"


_WORDS: Final = {
    Why.UNREADABLE: (".xml file that cannot be read", ".xml files that cannot be read"),
    Why.LINKED_FOLDER: ("linked folder (links are not followed)", "linked folders (links are not followed)"),
    Why.ARCHIVE: (
        "archive in a folder (name it on the command line)",
        "archives in a folder (name them on the command line)",
    ),
    Why.HIDDEN: ("hidden .xml file", "hidden .xml files"),
    Why.OTHER: ("file that is no .xml", "files that are no .xml"),
}
"""The words of a message for one and for several."""


@dataclass(slots=True)
class PassedOver:
    """Files and folders that a walk passed over: how many for each reason, and the first names."""

    counts: dict[Why, int] = field(default_factory=dict)
    names: dict[Why, list[str]] = field(default_factory=dict)
    misses_invoices: bool = False
    """Whether a file named .xml was among them that its sender surely meant."""

    def note(self, why: Why, name: str, *, is_invoice: bool = False) -> None:
        """Count one. `is_invoice` says that it is, or holds, a file named .xml that nothing else sends."""
        self.counts[why] = self.counts.get(why, 0) + 1
        names = self.names.setdefault(why, [])
        if len(names) < _NAMES_SHOWN:
            names.append(name)
        self.misses_invoices = self.misses_invoices or is_invoice

    def lines(self) -> Iterator[str]:
        """Yield one line for each reason, the most serious first."""
        for why in Why:
            if count := self.counts.get(why, 0):
                names = self.names[why]
                more = f" and {count - len(names):,} more" if count > len(names) else ""
                yield f"{count:,} {_WORDS[why][count > 1]}: {', '.join(names)}{more}"


@dataclass(frozen=True, slots=True)
class LooseFile:
    """An XML file outside an archive, and its name in the upload."""

    path: Path
    name: str


def loose_files(roots: Sequence[Path], passed_over: PassedOver | None = None) -> Iterator[LooseFile]:
    """Walk files and folders in sorted order, with one folder's names in memory at a time.

    Files without the ending .xml, hidden ones, and links to folders are passed over and noted in `passed_over`, as is a
    file named .xml that cannot be read.
    """
    noted = PassedOver() if passed_over is None else passed_over
    for root in roots:
        if root.is_dir():
            yield from _below(root, "", roots, noted)
        else:
            yield LooseFile(root, root.name)


def _below(folder: Path, prefix: str, roots: Sequence[Path], noted: PassedOver) -> Iterator[LooseFile]:
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda one: one.name)
    except OSError as error:
        raise UsageProblem(f"cannot read {folder}: {error.strerror}") from error
    for entry in entries:
        path, name = Path(entry.path), prefix + entry.name
        if entry.is_dir(follow_symlinks=False):
            if not entry.name.startswith("."):
                yield from _below(path, f"{name}/", roots, noted)
        elif entry.name.startswith("."):
            if _is_xml(entry.name):
                noted.note(Why.HIDDEN, name)
        elif _links_to_folder(path):
            noted.note(Why.LINKED_FOLDER, name, is_invoice=_holds_more_xml(path, roots))
        elif not _is_xml(entry.name):
            noted.note(Why.ARCHIVE if names_archive(entry.name) else Why.OTHER, name)
        elif (fault := _fault_of(path)) is not None:
            noted.note(Why.UNREADABLE, f"{name} ({fault})", is_invoice=True)
        else:
            yield LooseFile(path, name)


def _is_xml(name: str) -> bool:
    return name.lower().endswith(".xml")


def _links_to_folder(path: Path) -> bool:
    return path.is_symlink() and os.path.isdir(path)


def _fault_of(path: Path) -> str | None:
    """Return why a file cannot be read, None if it can."""
    try:
        if not path.is_file():
            return "a link to nothing" if path.is_symlink() and not path.exists() else "not a regular file"
    except OSError as error:
        return error.strerror or "cannot be opened"
    return None if os.access(path, os.R_OK) else "permission denied"


def _holds_more_xml(link: Path, roots: Iterable[Path]) -> bool:
    """Return whether the folder of a link has a file named .xml that the walk does not reach on its own way."""
    target = link.resolve()
    for root in roots:
        base = root.resolve()
        if target.is_relative_to(base) and not any(part.startswith(".") for part in target.relative_to(base).parts):
            return False
    return any(_is_xml(name) and not name.startswith(".") for _, _, names in os.walk(target) for name in names)
