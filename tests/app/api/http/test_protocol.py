"""The installed uvicorn has the internals that `BoundedHttpProtocol` overrides, calls and sets."""

import asyncio
import inspect
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from app.api.http import protocol
from app.api.http.protocol import BoundedHttpProtocol
from app.api.serve import ApiServer

PRIVATE = (
    "loop", "transport", "parser", "flow", "cycle", "server_state", "expect_100_continue", "app", "scope", "client",
    "pipeline",
)  # fmt: skip
CALLED = ("send_400_response", "_unset_keepalive_if_required")


async def _nothing(scope: Any, receive: Any, send: Any) -> None: ...


def _overridden(ours: type, base: type) -> list[str]:
    own = set(vars(ours)) - {"__init__", "__module__", "__doc__", "__qualname__"}
    return sorted(name for name in own if hasattr(base, name) and callable(getattr(base, name)))


def test_every_callback_that_the_protocol_overrides_exists_in_uvicorn_with_the_same_parameters() -> None:
    names = _overridden(BoundedHttpProtocol, HttpToolsProtocol)
    expected = {
        "connection_made", "connection_lost", "data_received", "on_message_begin", "on_header", "on_headers_complete",
        "on_body", "on_message_complete", "on_response_complete", "pause_writing", "resume_writing",
    }  # fmt: skip
    assert set(names) >= expected
    for name in expected:
        theirs, ours = (inspect.signature(getattr(one, name)) for one in (HttpToolsProtocol, BoundedHttpProtocol))
        assert list(theirs.parameters) == list(ours.parameters), name
        assert name in vars(HttpToolsProtocol), name


@pytest.mark.parametrize("name", CALLED)
def test_every_method_that_the_protocol_calls_exists_in_uvicorn(name: str) -> None:
    assert callable(vars(HttpToolsProtocol)[name])


async def test_every_attribute_that_the_protocol_uses_exists_in_uvicorn() -> None:
    made = HttpToolsProtocol(uvicorn.Config(_nothing), ServerState(), {}, _loop=asyncio.get_running_loop())
    assert [name for name in PRIVATE if name not in vars(made)] == []
    assert made.server_state.total_requests == 0
    assert FlowControl(asyncio.Transport()).read_paused is False
    made.on_message_begin()
    assert made.url == b""
    parameters: dict[str, Any] = dict.fromkeys(inspect.signature(RequestResponseCycle).parameters)
    cycle = RequestResponseCycle(**parameters)
    assert cycle.more_body is True
    assert cycle.response_started is False
    assert cycle.response_complete is False
    assert cycle.disconnected is False
    assert {"scope", "message_event"} <= set(vars(cycle))
    assert "keep_alive" in vars(cycle)
    assert list(inspect.signature(RequestResponseCycle.send).parameters) == ["self", "message"]


def test_the_list_in_the_module_is_complete() -> None:
    text = inspect.getdoc(protocol) or ""
    names = [*_overridden(BoundedHttpProtocol, HttpToolsProtocol), *CALLED, *PRIVATE]
    assert [name for name in names if f"`{name}`" not in text] == []


@pytest.mark.parametrize("name", ["startup", "shutdown", "capture_signals", "handle_exit"])
def test_every_method_of_the_server_that_is_overridden_or_called_exists_in_uvicorn(name: str) -> None:
    assert callable(vars(uvicorn.Server)[name])
    theirs, ours = (inspect.signature(getattr(one, name)) for one in (uvicorn.Server, ApiServer))
    assert list(theirs.parameters) == list(ours.parameters)
