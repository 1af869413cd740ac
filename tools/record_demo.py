"""Records a run of `ksefd demo` as docs/demo.svg: `python -m tools.record_demo` (about a minute; Linux).

The picture shows the run faster than it was, then scrolls through what it printed at its end. It needs no font and no script, and
shows its last screen where animations are off.
"""

import codecs
import fcntl
import itertools
import os
import pty
import struct
import sys
import tempfile
import termios
import time
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Final

from tools.terminal import Line, Style, Terminal

TARGET: Final = Path("docs/demo.svg")
COLUMNS: Final = 100
ROWS: Final = 30

_RUNNING_FRAMES: Final = 14
_RUNNING_SECONDS: Final = 0.6
_SCROLLED: Final = 22
_SCROLLED_SECONDS: Final = 2.0
_LAST_SECONDS: Final = 8.0

_CHARACTER: Final = 7.8
_LEADING: Final = 17.0
_MARGIN: Final = 14.0
_BAR: Final = 30.0
_STYLES: Final = {
    "red": "#ff6b6b", "green": "#5fd38d", "yellow": "#e5c07b", "blue": "#61afef", "magenta": "#c678dd", "cyan": "#56b6c2",
    "dim": "#4b5263",
}  # fmt: skip

Chunk = tuple[float, str]
Frame = tuple[tuple[Line, ...], float]


def record(command: Sequence[str], folder: Path) -> list[Chunk]:
    """Run a command in a terminal in a folder; return what it wrote, each piece with its time. Raises RuntimeError if it fails."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        os.environ.update(TERM="xterm-256color", COLUMNS=str(COLUMNS), LINES="60")
        os.execvp(command[0], list(command))  # noqa: S606 - the command is this module's own
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 60, COLUMNS, 0, 0))
    started = time.monotonic()
    pieces: list[tuple[float, bytes]] = []
    try:
        while piece := os.read(terminal, 65_536):
            pieces.append((time.monotonic() - started, piece))
    except OSError:
        # Linux ends a terminal whose program has ended with an error instead of an empty read.
        os.close(terminal)
    if os.waitpid(child, 0)[1] != 0:
        raise RuntimeError(f"{' '.join(command)} failed")
    return _decoded(pieces)


def frames(chunks: Sequence[Chunk], prompt: str) -> list[Frame]:
    """Return the screens of a recording with the seconds that each is shown: a selection of the run, then all of its end."""
    terminal = Terminal()
    terminal.write(f"\x1b[32m$\x1b[0m {prompt}\r\n")
    shown: list[Frame] = [(terminal.screen(ROWS), _RUNNING_SECONDS)]
    last, size = chunks[-1][0], len(terminal.lines)
    ticks = [last * number / _RUNNING_FRAMES for number in range(1, _RUNNING_FRAMES)]
    for at, text in chunks:
        # All that was due before this piece was written looks alike.
        while ticks and ticks[0] <= at:
            ticks.pop(0)
            if terminal.screen(ROWS) != shown[-1][0]:
                shown.append((terminal.screen(ROWS), _RUNNING_SECONDS))
                size = len(terminal.lines)
        terminal.write(text)
    while terminal.lines and not terminal.lines[-1]:
        terminal.lines.pop()
    shown += [
        (terminal.screen(ROWS, end=end), _SCROLLED_SECONDS)
        for end in range(size + _SCROLLED, len(terminal.lines), _SCROLLED)
    ]
    shown.append((terminal.screen(ROWS), _LAST_SECONDS))
    return shown


def picture(shown: Sequence[Frame], title: str) -> str:
    """Return an animated SVG of the screens, which refers to nothing outside itself. Equal lines are written once."""
    height = ROWS * _LEADING
    known: dict[Line, str] = {}
    body = []
    for number, (screen, _) in enumerate(shown):
        for row, line in enumerate(screen):
            if any(character != " " for character, _ in line):
                name = known.setdefault(line, f"l{len(known)}")
                body.append(f'<use href="#{name}" y="{number * height + (row + 1) * _LEADING:g}"/>')
    width = COLUMNS * _CHARACTER + 2 * _MARGIN
    full = height + _BAR + 2 * _MARGIN
    lines = "\n".join(f'<text id="{name}">{_spans(line)}</text>' for line, name in known.items())
    colours = "".join(f".{name}{{fill:{colour}}}" for name, colour in _STYLES.items())
    dots = "".join(
        f'<circle cx="{18 + 18 * place}" cy="16" r="5.5" fill="{colour}"/>'
        for place, colour in enumerate(("#ff5f57", "#febc2e", "#28c840"))
    )
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {full:g}" width="{width:g}" height="{full:g}" role="img">
<title>{escape(title)}</title>
<style>
text{{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;fill:#d7dae0;white-space:pre}}
{colours}.bold{{font-weight:700}}.italic{{font-style:italic}}.faint{{opacity:.65}}
{_animation(shown, height)}
</style>
<defs>
{lines}
<clipPath id="window"><rect width="{width:g}" height="{height + 4:g}"/></clipPath>
</defs>
<rect width="{width:g}" height="{full:g}" rx="8" fill="#1e2127"/>
{dots}
<g transform="translate({_MARGIN:g} {_BAR + _MARGIN / 2:g})" clip-path="url(#window)"><g class="film">
{chr(10).join(body)}
</g></g>
</svg>
"""


def _animation(shown: Sequence[Frame], height: float) -> str:
    whole = sum(seconds for _, seconds in shown)
    starts = itertools.accumulate((seconds for _, seconds in shown), initial=0.0)
    steps = "".join(
        f"{100 * start / whole:.2f}%{{transform:translateY({-number * height:g}px)}}"
        for number, (start, _) in enumerate(zip(starts, shown, strict=False))
    )
    rest = -(len(shown) - 1) * height
    return (
        f".film{{transform:translateY({rest:g}px);animation:film {whole:g}s steps(1) infinite}}\n"
        f"@keyframes film{{{steps}100%{{transform:translateY({rest:g}px)}}}}\n"
        "@media (prefers-reduced-motion:reduce){.film{animation:none}}"
    )


def _spans(line: Line) -> str:
    spans, column = [], 0
    for style, cells in itertools.groupby(line, key=lambda cell: cell[1]):
        text = "".join(character for character, _ in cells)
        # Each run begins at its column, so that columns stay straight in any font.
        spans.append(f'<tspan x="{column * _CHARACTER:g}"{_classes(style)}>{escape(text, quote=False)}</tspan>')
        column += len(text)
    return "".join(spans)


def _classes(style: Style) -> str:
    names = [style.colour, "bold" if style.bold else "", "italic" if style.italic else "", "faint" if style.dim else ""]
    given = " ".join(name for name in names if name)
    return f' class="{given}"' if given else ""


def _decoded(pieces: Iterable[tuple[float, bytes]]) -> list[Chunk]:
    """Decode pieces that may end within a character."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    return [(at, decoder.decode(piece)) for at, piece in pieces]


def main() -> int:
    """Record a run and write the picture."""
    ksefd = Path(sys.executable).with_name("ksefd")
    with tempfile.TemporaryDirectory() as folder:
        chunks = record([str(ksefd), "demo", *sys.argv[1:]], Path(folder))
    title = f"A run of ksefd demo, shortened from {chunks[-1][0]:.0f} seconds"
    TARGET.write_text(picture(frames(chunks, "make demo"), title), encoding="utf-8")
    print(f"{TARGET}: {TARGET.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
