"""Faults of unreadable entries and uploads: stable ids with messages in English and Polish."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from app.domain.findings import Finding, Severity
from app.errors import DispatchError, UnreadableUpload

# The whole upload exceeds a limit, or its bytes are missing.
_END_EVERYTHING: Final = {"too-many-entries", "too-many-bytes", "too-much-else", "body-incomplete", "gzip-read-back"}


@dataclass(frozen=True, slots=True)
class EntryFault:
    """The reason why one entry cannot be used; it becomes the entry's finding. `rule` is a stable id in kebab case."""

    rule: str
    message: str
    message_pl: str


class EntryUnreadable(DispatchError):
    """One entry holds no document that can be checked. Other entries of the upload stay valid."""

    status = 422
    code = "entry-unreadable"
    title = "Unreadable entry"
    fault: EntryFault

    def __init__(self, fault: EntryFault) -> None:
        super().__init__(fault.message)
        self.fault = fault

    @property
    def rule(self) -> str:
        """Return the stable id of the fault."""
        return self.fault.rule

    @property
    def message(self) -> str:
        """Return the fault in English."""
        return self.fault.message

    @property
    def message_pl(self) -> str:
        """Return the fault in Polish."""
        return self.fault.message_pl

    def finding(self) -> Finding:
        """Return the fault as a finding of the invoice that the entry would have been."""
        return Finding(self.rule, Severity.ERROR, self.message, self.message_pl)


def unreadable(reason: str, message: str, message_pl: str, offset: int | None = None) -> UnreadableUpload:
    """Return the error that ends the reading of an upload.

    Its `errors` hold one item: `reason` (stable, kebab case), `message`, `message_pl`, and `offset`, the byte of
    the body near which reading stopped (None when there is no such place).
    """
    shape = {"reason": reason, "message": message, "message_pl": message_pl, "offset": offset}
    return UnreadableUpload(message, errors=[shape])


def together(broken: Sequence[UnreadableUpload]) -> UnreadableUpload:
    """Return one error for several independent faults of an upload."""
    if len(broken) == 1:
        return broken[0]
    message = f"{broken[0].detail} (and {len(broken) - 1} more faults)"
    return UnreadableUpload(message, errors=[item for error in broken for item in error.errors or ()])


def ends_everything(error: UnreadableUpload) -> bool:
    """Return whether this fault of one part ends the reading of the whole upload."""
    return any(item.get("reason") in _END_EVERYTHING for item in error.errors or ())


def too_large(limit: int) -> EntryFault:
    """Return the fault of a document of more than `limit` bytes."""
    return EntryFault(
        "entry-too-large",
        f"The document is larger than {limit:,} bytes, more than KSeF takes",
        f"Dokument ma ponad {limit:,} bajtów, czyli więcej, niż przyjmuje KSeF",
    )


def damaged(what: str, what_pl: str) -> EntryFault:
    """Return the fault of an entry whose data contradict the archive."""
    return EntryFault("entry-damaged", f"The entry is damaged: {what}", f"Pozycja archiwum jest uszkodzona: {what_pl}")


ENCRYPTED = EntryFault(
    "entry-encrypted",
    "The entry is protected by a password; send archives without encryption",
    "Pozycja archiwum jest zabezpieczona hasłem; archiwum nie może być szyfrowane",
)
NOT_A_FILE = EntryFault(
    "entry-not-a-file",
    "The entry is a link or a device, not a regular file",
    "Pozycja archiwum jest dowiązaniem lub urządzeniem, a nie zwykłym plikiem",
)
METHOD_UNSUPPORTED = EntryFault(
    "entry-method-unsupported",
    "The entry is compressed by a method other than Deflate, or stored in pieces",
    "Pozycja archiwum jest skompresowana metodą inną niż Deflate albo zapisana we fragmentach",
)
NAME_UNUSABLE = EntryFault(
    "entry-name-unusable",
    "The entry's name is too long",
    "Nazwa pozycji archiwum jest za długa",
)
OVERLAPS = EntryFault(
    "entry-overlaps",
    "The entry shares bytes with another entry of the archive",
    "Pozycja archiwum zachodzi na inną pozycję",
)
RATIO = EntryFault(
    "entry-ratio",
    "The entry is compressed far more than invoices can be",
    "Pozycja archiwum jest skompresowana znacznie mocniej, niż to możliwe w przypadku faktur",
)
IS_AN_ARCHIVE = EntryFault(
    "entry-is-an-archive",
    "The entry is an archive itself; send it as an upload of its own",
    "Pozycja jest archiwum; należy je wysłać jako osobną paczkę",
)
LINE_TOO_LONG = EntryFault(
    "line-too-long",
    "The line is too long to hold a document that KSeF takes",
    "Wiersz jest za długi, aby zawierał dokument, który przyjmuje KSeF",
)


def line_not_json(english: str = "", polish: str = "") -> EntryFault:
    """Return the fault of a line that is no JSON object, with the reason if it is known."""
    return EntryFault(
        "line-not-json",
        f"The line is not a JSON object{english}",
        f"Wiersz nie jest obiektem JSON{polish}",
    )


def line_not_utf8(byte: bytes) -> EntryFault:
    """Return the fault of a line with a byte that is not UTF-8."""
    shown = byte.hex().upper()
    return line_not_json(
        f": it is not UTF-8, byte {shown}. Save the file as UTF-8",
        f": nie jest zapisany w UTF-8, bajt {shown}. Należy zapisać plik w UTF-8",
    )


LINE_KEY_TWICE = EntryFault(
    "line-key-twice",
    "The line has the same key twice, so nobody can tell which of the two is meant",
    "Wiersz zawiera dwa razy ten sam klucz; nie wiadomo, która wartość jest właściwa",
)
LINE_SHAPE = EntryFault(
    "line-shape",
    'The line must have the text "name" and either "xml_base64" or "xml", also a text',
    'Wiersz musi zawierać tekst "name" oraz jedno z pól "xml_base64" albo "xml", również tekstowe',
)
LINE_BASE64 = EntryFault(
    "line-base64",
    'The value of "xml_base64" is not Base64',
    'Wartość pola "xml_base64" nie jest zapisem Base64',
)
LINE_TEXT = EntryFault(
    "line-text",
    'The value of "xml" holds characters that cannot be written in UTF-8',
    'Wartość pola "xml" zawiera znaki, których nie można zapisać w UTF-8',
)
PART_ENCODING = EntryFault(
    "part-encoding",
    "The part has a Content-Transfer-Encoding; form parts are sent as they are (RFC 7578, section 4.7)",
    "Część ma nagłówek Content-Transfer-Encoding; części formularza przesyła się bez kodowania (RFC 7578)",
)
PART_TOO_LARGE_CODED = EntryFault(
    "part-too-large-coded",
    "The part is too large for a form that is gzip-coded; send the archive as an upload of its own",
    "Część jest za duża dla formularza skompresowanego gzip; archiwum należy wysłać jako osobną przesyłkę",
)
