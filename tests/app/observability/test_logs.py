"""Log lines: ours and the libraries' alike, for machines and for people."""

import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from app.observability.logs import configure_logging, get_logger
from app.observability.printable import escape, escape_json
from app.settings import LogFormat, Settings


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    yield
    root.handlers[:], level = before
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()


def test_json_lines_carry_fields_context_and_the_error(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(log_format=LogFormat.JSON))
    with structlog.contextvars.bound_contextvars(request_id="r1"):
        get_logger("app.one").info("session_opened", session="ses_1")
        logging.getLogger("library").warning("slow %s", "query")
        try:
            raise ValueError("łódź")
        except ValueError:
            get_logger("app.two").exception("request_crashed")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in lines] == ["session_opened", "slow query", "request_crashed"]
    assert {line["request_id"] for line in lines} == {"r1"}
    assert (lines[0]["session"], lines[0]["level"], lines[0]["logger"]) == ("ses_1", "info", "app.one")
    assert "ValueError: łódź" in lines[2]["exception"]
    assert lines[0]["timestamp"].endswith("Z")


def test_lines_below_the_level_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(log_format=LogFormat.JSON, log_level="WARNING"))
    get_logger("app.one").info("session_sealed")
    get_logger("app.one").warning("session_ended")
    assert [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == ["session_ended"]


def test_console_lines_are_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(log_format=LogFormat.CONSOLE))
    get_logger("app.one").info("session_opened", session="ses_1")
    line = capsys.readouterr().err
    assert "session_opened" in line
    assert not line.startswith("{")


HOSTILE = "\x1b[2J\x1b]0;owned\x07 \x9b31m \x7f \u202e \u2066 \u2028 \u2029 \x85 \ud800 \ufeff \u00ad \U000e0041 \r\nforged [info] api_started"


def _raise() -> None:
    raise ValueError(HOSTILE)


@pytest.mark.parametrize("form", [LogFormat.CONSOLE, LogFormat.JSON])
def test_nothing_that_is_not_printable_reaches_the_terminal_from_any_field(
    capsys: pytest.CaptureFixture[str], form: LogFormat
) -> None:
    configure_logging(Settings(log_format=form))
    log = get_logger("app.one")
    fields = {
        "path": HOSTILE,
        "errors": [{"message": HOSTILE}],
        "raw": HOSTILE.encode("utf-8", "surrogatepass"),
        HOSTILE: "x",
    }
    log.info("request_served", **fields)
    with structlog.contextvars.bound_contextvars(request_id=HOSTILE):
        logging.getLogger("library").warning("a library says %s", HOSTILE)
    try:
        _raise()
    except ValueError:
        log.exception("request_crashed")
    written = capsys.readouterr().err
    lines = written.split("\n")
    assert [character for line in lines for character in line if not character.isprintable()] == []
    assert [line for line in lines if line.lstrip(" ").startswith("forged") and not line.startswith("    ")] == []
    if form is LogFormat.JSON:
        shown = [json.loads(line) for line in lines if line]
        assert shown[0]["path"] == HOSTILE
        assert shown[1]["event"] == f"a library says {HOSTILE}"
    else:
        assert r"\x1b[2J" in lines[0]
        assert r"\u202e" in lines[0]
        assert r"\x9b31m" in lines[0]


@given(st.text())
def test_any_text_becomes_printable_and_a_printable_one_stays(text: str) -> None:
    assert escape(text).isprintable()
    assert text.isprintable() == (escape(text) == text)
    assert json.loads(escape_json(json.dumps(text, ensure_ascii=False))) == text
