"""Names of entries: for information only, so made harmless rather than refused."""

import re
from typing import Final

_DRIVE: Final = re.compile(r"[A-Za-z]:")
_JUNK_FOLDERS: Final = {"__MACOSX"}
_JUNK_FILES: Final = {".ds_store", "thumbs.db", "desktop.ini"}
_MAX_SHOWN: Final = 255


def decode_name(raw: bytes, fallback: str = "cp852") -> str:
    """Return the text of a stored name: UTF-8 if it is that, else by `fallback`.

    Archivers write UTF-8 without saying so more often than they write a code page. Where they do write one,
    Polish Windows writes CP852, which differs from ZIP's nominal CP437 mostly in having Polish letters.
    """
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode(fallback, "replace")


def clean_name(name: str, index: int) -> str:
    """Return a name that can be shown, stored and logged: no roots, no `..`, no control characters.

    Folders are kept, with forward slashes. A name longer than 255 characters keeps its end, which tells more
    than its beginning; one that has nothing left becomes `entry-<index>`.
    """
    parts = [part for part in name.replace("\\", "/").split("/") if part not in {"", ".", ".."}]
    if parts and _DRIVE.fullmatch(parts[0]):
        del parts[0]
    joined = "".join(char if char.isprintable() else "\ufffd" for char in "/".join(parts))
    if len(joined) > _MAX_SHOWN:
        joined = "…" + joined[1 - _MAX_SHOWN :]
    return joined or f"entry-{index}"


def is_junk(name: str) -> bool:
    """Tell whether the entry is what macOS or Windows add to archives on their own."""
    parts = name.replace("\\", "/").split("/")
    return parts[-1].lower() in _JUNK_FILES or not _JUNK_FOLDERS.isdisjoint(parts)
