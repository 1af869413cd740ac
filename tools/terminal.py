"""A terminal small enough for what `ksefd demo` writes: lines, colours, and lines that are written again."""

import re
from dataclasses import dataclass, field, replace
from typing import Final

_PIECE: Final = re.compile(
    r"\x1b\[(?P<parameters>[0-9;?]*)(?P<command>[A-Za-z])|(?P<control>[\r\n])|(?P<text>[^\x1b\r\n]+)"
)

# The names are classes of the picture's style sheet; the numbers are those of SGR.
_COLOURS: Final = {31: "red", 32: "green", 33: "yellow", 34: "blue", 35: "magenta", 36: "cyan"}
_INDEXED: Final = {237: "dim", 70: "green", 197: "red"}
"""The colours of rich's progress bars."""


@dataclass(frozen=True, slots=True)
class Style:
    """How a character looks."""

    colour: str = ""
    bold: bool = False
    italic: bool = False
    dim: bool = False


Cell = tuple[str, Style]
Line = tuple[Cell, ...]


@dataclass(slots=True)
class Terminal:
    """All lines that were written, and the place where the next character goes. It is wide enough: no line is broken."""

    lines: list[list[Cell]] = field(default_factory=lambda: [[]])
    row: int = 0
    column: int = 0
    style: Style = Style()

    def write(self, text: str) -> None:
        """Write what a program sends."""
        for piece in _PIECE.finditer(text):
            if piece["text"] is not None:
                self._put(piece["text"])
            elif piece["control"] == "\r":
                self.column = 0
            elif piece["control"] == "\n":
                self.row += 1
                if self.row == len(self.lines):
                    self.lines.append([])
            else:
                self._obey(piece["command"], piece["parameters"])

    def screen(self, height: int, *, end: int | None = None) -> tuple[Line, ...]:
        """Return the last lines up to `end` (all), as many as a window of this height shows."""
        last = len(self.lines) if end is None else end
        return tuple(tuple(line) for line in self.lines[max(0, last - height) : last])

    def _put(self, text: str) -> None:
        line = self.lines[self.row]
        line.extend((" ", Style()) for _ in range(self.column - len(line)))
        line[self.column : self.column + len(text)] = [(character, self.style) for character in text]
        self.column += len(text)

    def _obey(self, command: str, parameters: str) -> None:
        if command == "m":
            self._look([int(number or 0) for number in parameters.split(";")])
        elif command == "A":
            self.row = max(0, self.row - int(parameters or 1))
        elif command == "K":
            self.lines[self.row] = []

    def _look(self, numbers: list[int]) -> None:
        if numbers[:2] == [38, 5]:
            self.style = replace(self.style, colour=_INDEXED.get(numbers[2], ""))
            return
        for number in numbers:
            match number:
                case 0:
                    self.style = Style()
                case 1:
                    self.style = replace(self.style, bold=True)
                case 2:
                    self.style = replace(self.style, dim=True)
                case 3:
                    self.style = replace(self.style, italic=True)
                case _:
                    self.style = replace(self.style, colour=_COLOURS.get(number, self.style.colour))
