"""Log events are declared in one place and all used."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from app.observability.log_events import LogEvent

ROOT = Path(__file__).resolve().parents[2]
DECLARED = {name for group in get_args(LogEvent) for name in (get_args(group) or (group,))}

OF_EVERY_LINE = {"event", "level", "logger", "timestamp", "exception", "stack", "method_name"}
"""Names that structlog gives its own meaning. A field of such a name breaks the call, or is overwritten."""
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}


def _all_calls() -> Iterator[tuple[str, ast.Call]]:
    for top in ("app", "workers"):
        for path in sorted((ROOT / top).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call):
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", node


def _calls() -> Iterator[tuple[str, ast.Call]]:
    for place, call in _all_calls():
        match call.func:
            case ast.Attribute(value=ast.Name(id="log"), attr=level) if level in LEVELS:
                yield place, call


def _calls_that_bind() -> Iterator[tuple[str, ast.Call]]:
    for place, call in _all_calls():
        match call.func:
            case (
                ast.Name(id="log_fields" | "add_log_fields")
                | ast.Attribute(attr="bind_contextvars" | "bound_contextvars")
            ):
                yield place, call


def _log_calls() -> Iterator[tuple[str, ast.expr]]:
    yield from ((place, call.args[0]) for place, call in _calls())


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


def test_fields_that_name_a_thing_have_its_public_id() -> None:
    named = {"tenant", "session", "upload", "invoice", "webhook", "replay", "delivery"}
    raw = [
        f"{place}: {keyword.arg}"
        for place, call in _calls()
        for keyword in call.keywords
        if keyword.arg in named
        and not re.search(r"public_id|\bknown\.get\(|f'(ses|upl|inv)_", ast.unparse(keyword.value))
    ]
    assert raw == [], "a row's number or a bare UUID is not found by a search for a public id"


def test_no_field_has_a_name_that_structlog_uses_itself() -> None:
    assert [
        f"{place}: {keyword.arg}"
        for place, call in (*_calls(), *_calls_that_bind())
        for keyword in call.keywords
        if keyword.arg in OF_EVERY_LINE
    ] == []


def test_no_field_is_called_by_a_raw_id() -> None:
    fields = {(place, keyword.arg) for place, call in _calls() for keyword in call.keywords}
    assert [
        found for found in sorted(fields, key=str) if (found[1] or "").endswith("_id") and found[1] != "incident_id"
    ] == []
