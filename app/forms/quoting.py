"""Values of a document as a message shows them: as they are, with all that cannot be seen made visible and named in words."""

import unicodedata
from collections.abc import Iterator
from typing import Final

MAX_VALUE: Final = 80
_MOST_NOTES: Final = 4
_XML_BLANKS: Final = " \t\r\n"

_NAMES: Final[dict[str, tuple[str, str]]] = {
    "\t": ("a tab", "tabulator"),
    "\n": ("a line end", "koniec wiersza"),
    "\r": ("a carriage return", "powrót karetki"),
    "\u00a0": ("U+00A0, a no-break space", "U+00A0, spację nierozdzielającą"),
    "\u2007": ("U+2007, a figure space", "U+2007, spację o szerokości cyfry"),
    "\u202f": ("U+202F, a narrow no-break space", "U+202F, wąską spację nierozdzielającą"),
    "\u2009": ("U+2009, a thin space", "U+2009, wąską spację"),
    "\u200b": ("U+200B, a zero-width space", "U+200B, spację zerowej szerokości"),
    "\u200c": ("U+200C, a zero-width non-joiner", "U+200C, niewidoczny znak rozdzielający"),
    "\u200d": ("U+200D, a zero-width joiner", "U+200D, niewidoczny znak łączący"),
    "\u2060": ("U+2060, a word joiner", "U+2060, niewidoczny łącznik wyrazów"),
    "\ufeff": ("U+FEFF, a byte order mark", "U+FEFF, znacznik kolejności bajtów (BOM)"),
    "\u00ad": ("U+00AD, a soft hyphen", "U+00AD, miękki łącznik"),
    "\u2010": ("U+2010, a hyphen that is not the ASCII one", "U+2010, łącznik inny niż w ASCII"),
    "\u2011": ("U+2011, a no-break hyphen", "U+2011, łącznik nierozdzielający"),
    "\u2012": ("U+2012, a figure dash", "U+2012, kreskę o szerokości cyfry"),
    "\u2013": ("U+2013, an en dash", "U+2013, półpauzę"),
    "\u2014": ("U+2014, an em dash", "U+2014, pauzę"),
    "\u2212": ("U+2212, a minus sign that is not the ASCII one", "U+2212, znak minus inny niż w ASCII"),
}
_ALIKE: Final = dict(
    zip(
        "АВЕЅЗІЈКМНОРСТУХЬаеіјорсухѕ" + "ΑΒΕΖΗΙΚΜΝΟΡΤΥΧο",
        "ABES3IJKMHOPCTYXbaeijopcyxs" + "ABEZHIKMNOPTYXo",
        strict=True,
    )
)
"""Cyrillic and Greek letters, and the Latin ones that they cannot be told from."""
_INVISIBLE: Final = ("an invisible character", "niewidoczny znak")
_CATEGORIES: Final = {
    "Nd": ("a digit of another script", "cyfrę innego pisma"),
    "Mn": ("a combining accent", "osobny znak diakrytyczny"),
    "Zs": ("a space that is not the ASCII one", "spację inną niż w ASCII"),
    **dict.fromkeys(("Cf", "Cc", "Zl", "Zp"), _INVISIBLE),
}
"""Categories of Unicode whose other characters are named, too."""
_FULL_WIDTH: Final = range(0xFF01, 0xFF5F)


class Quoted(str):
    """A value in quotes, with notes on what the eye does not see in it."""

    __slots__ = ("notes",)
    notes: tuple[tuple[str, str], ...]
    """The notes in English and Polish."""

    def noted(self, *, polish: bool) -> str:
        """Return the value followed by its notes in brackets."""
        return f"{self} ({', '.join(note[polish] for note in self.notes)})" if self.notes else str(self)


def quoted(value: str) -> Quoted:
    """Return a value of the document as it is shown in a message: in quotes, what cannot be seen as its code, cut when long."""
    visible = "".join(_visible(char) for char in value[: MAX_VALUE + 1])
    cut = visible if len(visible) <= MAX_VALUE else f"{visible[: MAX_VALUE - 1]}…"
    made = Quoted(f'"{cut}"')
    made.notes = tuple(_notes(value))[:_MOST_NOTES]
    return made


def _visible(char: str) -> str:
    return char if char.isprintable() else f"[U+{ord(char):04X}]"


def _notes(value: str) -> Iterator[tuple[str, str]]:
    if not value:
        return
    if value[0] == " ":
        yield "begins with a space", "zaczyna się spacją"
    if value[-1] == " " and value.strip(" "):
        yield "ends with a space", "kończy się spacją"
    if "  " in value.strip(" "):
        yield "two spaces in a row", "dwie spacje pod rząd"
    seen: set[str] = set()
    # A long value may hold anything: its first characters are those that are shown.
    for char in (*value[: 4 * MAX_VALUE], value[-1]):
        if char not in seen and (name := _name_of(char)) is not None:
            seen.add(char)
            yield _where(value, char, *name)


def _where(value: str, char: str, english: str, polish: str) -> tuple[str, str]:
    if char in _XML_BLANKS:
        if value.endswith(char):
            return f"ends with {english}", f"zawiera na końcu {polish}"
        if value.startswith(char):
            return f"begins with {english}", f"zawiera na początku {polish}"
    return f"contains {english}", f"zawiera {polish}"


def _name_of(char: str) -> tuple[str, str] | None:
    """Return the name of a character that is easily taken for another or for none; None for all others."""
    code = f"U+{ord(char):04X}"
    if char.isascii() and char.isprintable():
        return None
    if (known := _NAMES.get(char)) is not None:
        return known
    if (alike := _ALIKE.get(char)) is not None:
        greek = unicodedata.name(char, "").startswith("GREEK")
        english, polish = ("a Greek", "grecką") if greek else ("a Cyrillic", "cyrylicką")
        return f"{code}, {english} letter that looks like {alike}", f"{code}, {polish} literę podobną do {alike}"
    if ord(char) in _FULL_WIDTH:
        plain = chr(ord(char) - 0xFEE0)
        return f"{code}, a wide form of {plain}", f"{code}, szeroką odmianę znaku {plain}"
    words = _CATEGORIES.get(unicodedata.category(char))
    return None if words is None else (f"{code}, {words[0]}", f"{code}, {words[1]}")
