"""Operations of `/_sandbox/` for faults, session scripts, keys and the clock."""

import asyncio
import math
from datetime import timedelta
from typing import Annotated, Any

from pydantic import AwareDatetime, Field, model_validator
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.clock import MovableClock, stamp
from sandbox.control.input import ControlInput, Unusable, read_input, sandbox_of
from sandbox.keys import Rotation, Usage
from sandbox.state.faults import RULE, SessionScript
from sandbox.state.records.sessions import Session

_YEARS_SECONDS = 10 * 366 * 86_400


# Time


class _ClockInput(ControlInput):
    """Changes of the clock; several are carried out in the order of the members."""

    reset: bool = False
    """Whether to return to the machine's time and rate."""
    freeze: bool | None = None
    """Whether to stop the clock (true) or run it at the machine's rate (false)."""
    rate: Annotated[float, Field(ge=0, le=100_000)] | None = None
    """Seconds of the sandbox in one second of the machine."""
    set: AwareDatetime | None = None
    offset_seconds: Annotated[float, Field(ge=-_YEARS_SECONDS, le=_YEARS_SECONDS)] | None = None
    """The difference to the machine's clock (positive: ahead)."""
    advance_seconds: Annotated[float, Field(ge=-_YEARS_SECONDS, le=_YEARS_SECONDS)] | None = None

    @model_validator(mode="after")
    def _fits(self) -> "_ClockInput":
        if not self.model_fields_set:
            raise ValueError("nothing to do")
        if self.set is not None and self.offset_seconds is not None:
            raise ValueError("set and offset_seconds exclude each other")
        if self.freeze is not None and self.rate is not None:
            raise ValueError("freeze and rate exclude each other")
        return self


async def show_clock(request: Request) -> Response:
    """GET clock: return the time, its difference to the machine's time, and its rate."""
    return _clock_answer(sandbox_of(request).clock)


async def move_clock(request: Request) -> Response:
    """POST clock: move, stop or speed up the time, so that tests need not wait."""
    wanted = await read_input(request, _ClockInput)
    clock = sandbox_of(request).clock
    if wanted.reset:
        clock.reset()
    if wanted.freeze is not None:
        clock.run(0 if wanted.freeze else 1)
    if wanted.rate is not None:
        clock.run(wanted.rate)
    if wanted.set is not None:
        clock.show(wanted.set)
    if wanted.offset_seconds is not None:
        clock.advance(timedelta(seconds=wanted.offset_seconds) - clock.offset)
    if wanted.advance_seconds is not None:
        clock.advance(timedelta(seconds=wanted.advance_seconds))
    return _clock_answer(clock)


def _clock_answer(clock: MovableClock) -> Response:
    offset = math.floor(clock.offset.total_seconds() * 1000 + 0.5) / 1000
    return JSONResponse({"time": stamp(clock.now()), "offset_seconds": offset, "rate": clock.rate})


# Faults


async def list_faults(request: Request) -> Response:
    """GET faults: list the rules and how often each has been applied."""
    return JSONResponse({"items": sandbox_of(request).faults.listed()})


async def add_fault(request: Request) -> Response:
    """POST faults: add a rule about requests, sessions or invoices."""
    number = sandbox_of(request).faults.add(await read_input(request, RULE))
    return JSONResponse({"id": number}, status_code=201)


async def remove_fault(request: Request) -> Response:
    """DELETE faults/{id}: remove one rule."""
    found = sandbox_of(request).faults.remove(int(request.path_params["id"]))
    return Response(status_code=204 if found else 404)


async def clear_faults(request: Request) -> Response:
    """DELETE faults: remove all rules. Sessions keep their scripts."""
    sandbox_of(request).faults.clear()
    return Response(status_code=204)


# Sessions


async def show_session(request: Request) -> Response:
    """GET sessions/{reference}: return a session's real status, which may differ from the one shown, and its script."""
    session = _session(request)
    body: dict[str, Any] = {
        "reference_number": session.reference_number,
        "status": session.status.body(),
        "closed_at": stamp(session.closed) if session.closed else None,
        "released": session.released,
        "looks": session.looks,
        "script": session.script.model_dump(mode="json", exclude_unset=True),
    }
    return JSONResponse(body)


async def write_script(request: Request) -> Response:
    """POST sessions/{reference}/script: set the script of faults of an open session."""
    wanted = await read_input(request, SessionScript)
    session = _session(request)
    if session.closed is not None or session.is_final:
        return JSONResponse({"errors": [{"msg": "the session has been closed"}]}, status_code=409)
    session.script = wanted
    return Response(status_code=204)


async def release_session(request: Request) -> Response:
    """POST sessions/{reference}/release: let a session continue that its script holds. A second call changes nothing."""
    _session(request).released = True
    sandbox_of(request).clock.wake()
    return Response(status_code=204)


def _session(request: Request) -> Session:
    session = sandbox_of(request).state.sessions.get(request.path_params["reference"])
    if session is None:
        raise Unusable(Response(status_code=404))
    return session


# Keys


class _KeysInput(ControlInput):
    usage: Usage
    rotation: Rotation
    """`recertified`: a new certificate for the same key. `planned`: a new key in addition to the old one, until `withdraw`.
    `emergency`: a new key in place of the old one."""


async def rotate_keys(request: Request) -> Response:
    """POST keys: change the public keys and return the ids listed afterwards, the latest last."""
    wanted = await read_input(request, _KeysInput)
    sandbox = sandbox_of(request)
    await asyncio.to_thread(sandbox.keys.rotate, wanted.usage, wanted.rotation, sandbox.clock.now())
    listed = [key.public_key_id for key in sandbox.keys.published if key.usage == wanted.usage]
    return JSONResponse({"public_key_ids": listed})


ROUTES = [
    Route("/_sandbox/clock", show_clock, methods=["GET"]),
    Route("/_sandbox/clock", move_clock, methods=["POST"]),
    Route("/_sandbox/faults", list_faults, methods=["GET"]),
    Route("/_sandbox/faults", add_fault, methods=["POST"]),
    Route("/_sandbox/faults", clear_faults, methods=["DELETE"]),
    Route("/_sandbox/faults/{id:int}", remove_fault, methods=["DELETE"]),
    Route("/_sandbox/sessions/{reference}", show_session, methods=["GET"]),
    Route("/_sandbox/sessions/{reference}/script", write_script, methods=["POST"]),
    Route("/_sandbox/sessions/{reference}/release", release_session, methods=["POST"]),
    Route("/_sandbox/keys", rotate_keys, methods=["POST"]),
]
