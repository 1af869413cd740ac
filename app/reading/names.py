"""Names of entries. They are for information only, so an unsafe name is cleaned and not refused."""

import re
import unicodedata
from collections.abc import Sequence
from typing import Final

_DRIVE: Final = re.compile(r"[A-Za-z]:")
_HARMLESS: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. ()+-]*")
"""Names that need no cleaning: most of them."""
_JUNK_FOLDERS: Final = {"__MACOSX"}
_JUNK_FILES: Final = {".ds_store", "thumbs.db", "desktop.ini"}
_MAX_SHOWN: Final = 255
_MAX_COMPOSED: Final = 1_024
_MAX_JUDGED: Final = 200
_POLISH: Final = frozenset("ąćęłńóśźżĄĆĘŁŃÓŚŹŻ")

WINDOWS: Final = ("cp852", "cp1250", "iso8859_2")
"""Code pages of names in what Windows programs write, the likeliest first."""

UNIX: Final = ("iso8859_2", "cp1250", "cp852")
"""Code pages of names in tars."""


def decode_name(raw: bytes, code_pages: Sequence[str] = WINDOWS) -> str:
    """Return the text of a stored name: UTF-8 if it is that, else by the code page in which it reads most like Polish.

    Archivers write UTF-8 without saying so more often than they write a code page. Where they do write one, no field says
    which: Polish Windows has CP852 in its own archiver and CP1250 in most programs. So the letters decide, and where they
    do not, the first of `code_pages`.
    """
    if raw.isascii():
        return raw.decode("ascii")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        pass
    end = raw[-_MAX_JUDGED:]
    likeliest = max(code_pages, key=lambda code_page: _plausibility(end.decode(code_page, "replace")))
    return raw.decode(likeliest, "replace")


def _plausibility(text: str) -> int:
    """Return how much a name reads like Polish: its own letters count for it, box drawing and capitals in words against."""
    score = 0
    before = ""
    for char in text:
        if not char.isascii():
            if char not in _POLISH:
                score -= 1 if char.isalpha() else 3
            elif char.isupper() and before.islower():
                score -= 1
            else:
                score += 2
        before = char
    return score


def clean_name(name: str, index: int) -> str:
    """Return a name that can be shown, stored and logged: no roots, no `..`, no control characters.

    Folders are kept, with forward slashes. Letters that macOS writes in two pieces become one. A name longer than 255 characters keeps its end, which differs more often
    than its beginning; an empty one becomes `entry-<index>`.
    """
    if len(name) <= _MAX_SHOWN and _HARMLESS.fullmatch(name):
        return name
    # Composing a name of many combining marks takes long. The characters cut here would not be shown anyway.
    name = name[-_MAX_COMPOSED:]
    if not name.isascii():
        name = unicodedata.normalize("NFC", name)
    parts = [part for part in name.replace("\\", "/").split("/") if part not in {"", ".", ".."}]
    if parts and _DRIVE.fullmatch(parts[0]):
        del parts[0]
    joined = "".join(char if char.isprintable() else "\ufffd" for char in "/".join(parts))
    if len(joined) > _MAX_SHOWN:
        joined = "…" + joined[1 - _MAX_SHOWN :]
    return joined or f"entry-{index}"


def is_junk(name: str) -> bool:
    """Return whether the entry is a system file that macOS or Windows add to archives by themselves."""
    if "/" not in name and "\\" not in name:
        return name.lower() in _JUNK_FILES or name in _JUNK_FOLDERS
    parts = name.replace("\\", "/").split("/")
    return parts[-1].lower() in _JUNK_FILES or not _JUNK_FOLDERS.isdisjoint(parts)
