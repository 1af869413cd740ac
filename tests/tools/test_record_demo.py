"""The recording of the demo: what a terminal would show, as a picture that needs nothing else."""

import re
import sys
from pathlib import Path

from lxml import etree

from tools.record_demo import ROWS, frames, picture, record
from tools.terminal import Style, Terminal

ROOT = Path(__file__).resolve().parents[2]
SVG = "{http://www.w3.org/2000/svg}"


def shown(terminal: Terminal) -> list[str]:
    return ["".join(character for character, _ in line) for line in terminal.screen(ROWS)]


def test_a_line_that_is_written_again_replaces_the_first() -> None:
    terminal = Terminal()
    terminal.write("one\r\n0/10\r\n")
    terminal.write("\x1b[1A\x1b[2K10/10\r\nend")
    assert shown(terminal) == ["one", "10/10", "end"]
    terminal.write("\rEN")
    assert shown(terminal)[-1] == "ENd"


def test_colours_and_weights_are_those_of_the_program() -> None:
    terminal = Terminal()
    terminal.write("\x1b[1;32mgood\x1b[0m \x1b[38;5;197mbar\x1b[0m\x1b[2;3m!")
    styles = [style for _, style in terminal.screen(1)[0]]
    assert styles[0] == Style("green", bold=True)
    assert styles[5] == Style("red")
    assert styles[-1] == Style(dim=True, italic=True)


def test_a_program_is_recorded_and_its_characters_are_whole(tmp_path: Path) -> None:
    program = "import os; os.write(1, b'z\\xc5'); os.write(1, b'\\x82oty\\n'); print(os.get_terminal_size().columns)"
    chunks = record([sys.executable, "-c", program], tmp_path)
    assert "".join(text for _, text in chunks) == "złoty\r\n100\r\n"


def test_the_end_of_a_run_is_scrolled_through_to_its_last_line() -> None:
    chunks = [(0.0, "start\r\n"), (10.0, "".join(f"line {number}\r\n" for number in range(100)))]
    screens = [["".join(character for character, _ in line) for line in screen] for screen, _ in frames(chunks, "demo")]
    assert screens[0][0] == "$ demo"
    assert screens[-1][-1] == "line 99"
    assert {f"line {number}" for number in range(100)} <= {line for screen in screens for line in screen}


def test_the_picture_escapes_what_it_shows() -> None:
    text = picture(frames([(0.0, "<script>&\r\n")], "demo"), "A <run>")
    root = etree.fromstring(text.encode())
    assert root.findtext(f"{SVG}title") == "A <run>"
    assert "<script>&" in "".join(str(part) for part in root.itertext())


def test_the_pictures_of_the_readme_refer_to_nothing_outside_and_name_no_folder_of_a_machine() -> None:
    for name in ("demo.svg", "way.svg"):
        text = (ROOT / "docs" / name).read_text("utf-8")
        root = etree.fromstring(text.encode())
        assert [
            item for item in root.iter() if item.tag in {f"{SVG}script", f"{SVG}image", f"{SVG}foreignObject"}
        ] == []
        assert [link for link in re.findall(r'href="([^"]*)"', text) if not link.startswith("#")] == []
        assert not re.search(r"url\((?!#)|@import", text)
        assert not re.search(r"/(home|root|tmp|work|usr|var|Users)/", text)
        assert root.findtext(f"{SVG}title")
        assert len(text) < 150_000
    demo = (ROOT / "docs" / "demo.svg").read_text("utf-8")
    assert "0 sent twice" in demo
    assert "�" not in demo
