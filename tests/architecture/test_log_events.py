"""Log events are declared in one place and all used."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from app.observability.log_events import LogEvent

ROOT = Path(__file__).resolve().parents[2]
DECLARED = {name for group in get_args(LogEvent) for name in (get_args(group) or (group,))}

LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}


def _log_calls() -> Iterator[tuple[str, ast.expr]]:
    for top in ("app", "workers"):
        for path in sorted((ROOT / top).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                match node:
                    case ast.Call(func=ast.Attribute(value=ast.Name(id="log"), attr=level), args=[event, *_]) if (
                        level in LEVELS
                    ):
                        yield f"{path.relative_to(ROOT)}:{node.lineno}", event


def test_each_line_that_is_logged_is_a_declared_event() -> None:
    undeclared = [
        place for place, event in _log_calls() if not (isinstance(event, ast.Constant) and event.value in DECLARED)
    ]
    assert undeclared == []


def test_each_declared_event_is_logged_somewhere() -> None:
    logged = {event.value for _, event in _log_calls() if isinstance(event, ast.Constant)}
    assert DECLARED - logged == set()


def test_modules_get_their_logger_in_one_way() -> None:
    others = [
        str(path.relative_to(ROOT))
        for top in ("app", "workers")
        for path in sorted((ROOT / top).rglob("*.py"))
        if "structlog" in path.read_text(encoding="utf-8") and path.name != "logs.py"
    ]
    assert others == ["app/api/http/middleware.py"], "middleware binds the request id; the rest uses get_logger"
