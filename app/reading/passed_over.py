"""Things that a body holds beside invoices: counts and first names, for the error of a body without any invoice."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from app.errors import UnreadableUpload
from app.reading.faults import unreadable

_NAMES_KEPT: Final = 5
_MAX_NAME: Final = 120


class Passed(StrEnum):
    """The kinds of things that are no invoices."""

    FOLDER = "folder"
    SYSTEM_FILE = "system-file"
    FORM_FIELD = "form-field"
    EMPTY_PART = "empty-part"
    ARCHIVE = "archive"
    BLANK_LINE = "blank-line"


_WORDS: Final = {
    Passed.FOLDER: ("folders", "foldery"),
    Passed.SYSTEM_FILE: ("system files", "pliki systemowe"),
    Passed.FORM_FIELD: ("form fields that are no files", "pola formularza, które nie są plikami"),
    Passed.EMPTY_PART: ("empty form parts", "puste części formularza"),
    Passed.ARCHIVE: ("archives without invoices", "archiwa bez faktur"),
    Passed.BLANK_LINE: ("blank lines", "puste wiersze"),
}


@dataclass(slots=True)
class _Tally:
    count: int = 0
    names: list[str] = field(default_factory=list)


class PassedOver:
    """Counts and first names of what a reader passed over, by kind."""

    def __init__(self) -> None:
        self._tallies: dict[Passed, _Tally] = {}
        self._has_path = False

    def note(self, kind: Passed, name: str = "", count: int = 1) -> None:
        """Count something; `name` is safe to show."""
        tally = self._tallies.setdefault(kind, _Tally())
        tally.count += count
        if name and len(tally.names) < _NAMES_KEPT:
            tally.names.append(name[:_MAX_NAME])

    def note_path(self) -> None:
        """Note that a form field holds the path of a file in place of the file."""
        self._has_path = True

    def no_invoices(self) -> UnreadableUpload:
        """Return the error of a body in which no invoice was found."""
        english, polish = "The body is empty", "Treść jest pusta"
        if self._tallies:
            english, polish = ("; ".join(self._words(language)) for language in (0, 1))
            english, polish = f"Passed over: {english}", f"Pominięto: {polish}"
        if self._has_path:
            english += ". A form field with a path is no file; curl sends the file with `-F file=@PATH`"
            polish += ". Pole formularza ze ścieżką nie jest plikiem; curl wysyła plik opcją `-F file=@ŚCIEŻKA`"
        error = unreadable(
            "no-invoices-found",
            f"No invoice was found in the upload. {english}",
            f"W przesyłce nie znaleziono żadnej faktury. {polish}",
        )
        for item in error.errors or ():
            item["passed_over"] = self._shape()
        return error

    def _words(self, language: int) -> list[str]:
        words = []
        for kind in Passed:
            if (tally := self._tallies.get(kind)) is not None:
                more = ", …" if tally.count > len(tally.names) else ""
                names = f" ({', '.join(tally.names)}{more})" if tally.names else ""
                words.append(f"{_WORDS[kind][language]}: {tally.count:,}{names}")
        return words

    def _shape(self) -> list[dict[str, Any]]:
        return [
            {"kind": kind.value, "count": self._tallies[kind].count, "names": self._tallies[kind].names}
            for kind in Passed
            if kind in self._tallies
        ]
