"""Describes the faults of a JSON body: line and column of a wrong character, and the path of a wrong field."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError


def request_faults(error: RequestValidationError) -> list[dict[str, Any]]:
    """Return the faults of a request; values are left out, since they may be secrets."""
    return [_fault(fault, error.body) for fault in error.errors()]


def undecodable_body(error: BaseException | None) -> dict[str, Any] | None:
    """Return the fault of a JSON body that is not UTF-8, None for another error."""
    if not isinstance(error, UnicodeDecodeError):
        return None
    before = bytes(error.object[: error.start])
    line, column = before.count(b"\n") + 1, len(before.rpartition(b"\n")[2].decode("utf-8", "replace")) + 1
    return {
        "where": "body",
        "message": f"the body is not UTF-8: byte {error.object[error.start]:#04x}, line {line}, column {column}",
        "line": line,
        "column": column,
    }


def json_pointer(path: Sequence[str | int]) -> str:
    """Return the path of a field as a JSON Pointer (RFC 6901) in a fragment, as RFC 9457 shows it."""
    return "#" + "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def _fault(fault: Mapping[str, Any], body: Any) -> dict[str, Any]:
    place, message = fault["loc"], fault["msg"]
    where = ".".join(str(part) for part in place)
    if not place or place[0] != "body":
        return {"where": where, "message": message}
    if fault["type"] == "json_invalid":
        return _syntax_fault(body, place[-1], fault.get("ctx", {}).get("error", message))
    return {"where": where, "message": message, "pointer": json_pointer(place[1:])}


def _syntax_fault(body: Any, position: Any, reason: str) -> dict[str, Any]:
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body)
    before = text[: position if isinstance(position, int) else 0]
    line, column = before.count("\n") + 1, len(before.rpartition("\n")[2]) + 1
    return {
        "where": "body",
        "message": f"the body is not JSON: {reason}, line {line}, column {column}",
        "line": line,
        "column": column,
    }
