"""Log lines: ours and the libraries' alike, for machines and for people."""

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from app.observability.logs import configure_logging, get_logger
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
