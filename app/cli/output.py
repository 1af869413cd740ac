"""Output of the commands: consoles for people, one line of JSON for programs, and what happens when the reader has left."""

import io
import json
import os
import shutil
import sys
from typing import Any, BinaryIO, Final, NoReturn, TextIO

from rich.console import Console
from rich.text import Text

from app.cli.formats import printable

# Rich has no width without an end: this is wider than any row, so that a row in a pipe is one line.
_WIDTH_WITHOUT_TERMINAL: Final = 100_000


class OutputClosed(Exception):
    """The reader of the output has ended (`| head`). Not an OSError: those end a command with a verdict's exit code in typer."""


class _Console(Console):
    def on_broken_pipe(self) -> NoReturn:
        raise OutputClosed


def prepare_streams() -> None:
    """Let both streams replace what their encoding cannot hold, so that no command fails after its work is done.

    A stream that was closed before the start (`>&-`) takes everything and keeps nothing.
    """
    sys.stdout = sys.stdout or _nowhere()
    sys.stderr = sys.stderr or _nowhere()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in {"strict", "surrogateescape"}:
            stream.reconfigure(errors="replace")


def flush_output() -> None:
    """Write what is still buffered. Raises OutputClosed."""
    try:
        sys.stdout.flush()
    except BrokenPipeError as error:
        raise OutputClosed from error


def drop_output() -> None:
    """Send what is left to nowhere, or Python would complain of the closed pipe at its exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def stdout_console() -> Console:
    """Create the console for results."""
    return _console(sys.stdout)


def stderr_console() -> Console:
    """Create the console for progress and errors, which must not mix with results in a pipe."""
    return _console(sys.stderr)


def print_json(data: Any) -> None:
    """Print data as one line of JSON, times in ISO 8601. Characters that the stream cannot hold are escaped."""
    text = json.dumps(data, ensure_ascii=False, default=_plain)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(data, default=_plain)
    try:
        sys.stdout.write(text + "\n")
    except BrokenPipeError as error:
        raise OutputClosed from error
    flush_output()


def write_bytes(source: BinaryIO) -> None:
    """Write a file's bytes to the standard output as they are."""
    try:
        shutil.copyfileobj(source, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    except BrokenPipeError as error:
        raise OutputClosed from error


def print_error(message: str) -> None:
    """Print one red line on the error stream; line ends inside the message are folded."""
    stderr_console().print(Text(f"ksefd: {_one_line(message)}", style="bold red"), soft_wrap=True)


def print_warning(message: str) -> None:
    """Print one yellow line on the error stream."""
    stderr_console().print(Text(f"ksefd: {_one_line(message)}", style="yellow"), soft_wrap=True)


def print_note(message: str) -> None:
    """Print one plain line on the error stream: what happens now, or what can be done next."""
    stderr_console().print(Text(_one_line(message)), soft_wrap=True)


def _console(stream: TextIO) -> Console:
    # The file is left to rich, which takes the stream that is in place when it prints.
    return _Console(
        stderr=stream is sys.stderr, width=None if stream.isatty() else _WIDTH_WITHOUT_TERMINAL, highlight=False
    )


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")


def _one_line(message: str) -> str:
    return printable(" ".join(message.split(None)))


def _plain(value: object) -> str:
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    raise TypeError(f"{type(value).__name__} has no JSON form")
