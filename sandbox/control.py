"""`/_sandbox/`: what a test or a demo may see and do that a taxpayer may not."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from sandbox.clock import stamp
from sandbox.faults import FaultRule
from sandbox.ids import NIP
from sandbox.ksef_tokens import make_token
from sandbox.service import Sandbox
from sandbox.state import OWNER_PERMISSIONS, Accepted, Identifier

Nip = Annotated[str, Field(pattern=NIP.pattern)]
_LINES = 500
_B = TypeVar("_B", bound=BaseModel)


class _Input(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _TokenInput(_Input):
    nip: Nip
    permissions: set[str] = Field(default_factory=lambda: set(OWNER_PERMISSIONS))
    description: str = "made by the control API"


class _AttachmentInput(_Input):
    nip: Nip
    allowed: bool = True


class _GrantInput(_Input):
    nip: Nip
    """The context in which the permissions are good."""
    subject_type: Literal["Nip", "Pesel", "Fingerprint"]
    subject: str
    permissions: set[str]


class _AuthorizationInput(_Input):
    seller_nip: Nip
    nip: Nip
    kind: Literal["SelfInvoicing", "TaxRepresentative"]


class _ClockInput(_Input):
    advance_seconds: float


class _Unusable(Exception):
    def __init__(self, response: Response) -> None:
        self.response = response
        super().__init__()


def _sandbox(request: Request) -> Sandbox:
    sandbox: Sandbox = request.app.state.sandbox
    return sandbox


async def _read(request: Request, model: type[_B]) -> _B:
    try:
        return model.model_validate_json(await request.body())
    except ValidationError as error:
        body = {"errors": json.loads(error.json(include_url=False, include_input=False))}
        raise _Unusable(JSONResponse(body, status_code=422)) from error


async def health(request: Request) -> Response:
    """GET health: the sandbox answers."""
    return JSONResponse({"status": "ok", "time": stamp(_sandbox(request).clock.now())})


async def ledger(request: Request) -> Response:
    """GET ledger: what was accepted, how often, and what was asked; `?full=1` streams every accepted invoice."""
    sandbox = _sandbox(request)
    state = sandbox.state
    if request.query_params.get("full") == "1":
        return StreamingResponse(_accepted(list(state.by_ksef_number.items())), media_type="application/x-ndjson")
    return JSONResponse(
        {
            "accepted": len(state.by_ksef_number),
            "distinct": len(state.accepted_hashes),
            "duplicate_attempts": state.duplicate_attempts,
            "sessions": [
                {
                    "reference_number": session.reference_number,
                    "nip": session.context.nip,
                    "status": session.status.code,
                    "parts": len(session.parts),
                    "invoices": (session.counts or (0, 0, 0))[0],
                    "accepted": (session.counts or (0, 0, 0))[1],
                    "rejected": (session.counts or (0, 0, 0))[2],
                    "opened_at": stamp(session.created),
                    "closed_at": stamp(session.closed) if session.closed else None,
                    "updated_at": stamp(session.updated),
                }
                for session in state.sessions.values()
            ],
            "requests": {
                group: {str(status): count for status, count in sorted(counts.items())}
                for group, counts in sorted(state.requests.items())
            },
        }
    )


async def _accepted(items: list[tuple[str, Accepted]]) -> AsyncIterator[str]:
    for start in range(0, len(items), _LINES):
        lines = []
        for number, place in items[start : start + _LINES]:
            document = place.invoice.verdict
            line: dict[str, Any] = {
                "ksef_number": number,
                "invoice_hash": document.sha256,
                "seller_nip": document.seller_nip,
                "kind": document.kind,
                "number": document.number,
                "session": place.session.reference_number,
                "name": document.name,
                "mode": place.invoice.invoicing_mode,
            }
            lines.append(json.dumps(line, ensure_ascii=False))
        yield "\n".join(lines) + "\n"


async def reset(request: Request) -> Response:
    """POST reset: forget everything but the keys."""
    await _sandbox(request).reset()
    return Response(status_code=204)


async def tokens(request: Request) -> Response:
    """POST tokens: an active KSeF token for a NIP, as if its owner had made one."""
    wanted = await _read(request, _TokenInput)
    owner = Identifier("Nip", wanted.nip)
    token = make_token(
        _sandbox(request),
        owner,
        owner,
        permissions=frozenset(wanted.permissions),
        description=wanted.description,
        activation=timedelta(0),
    )
    return JSONResponse({"reference_number": token.reference_number, "token": token.secret}, status_code=201)


async def attachments(request: Request) -> Response:
    """POST attachments: give or take the consent to invoices with attachments."""
    wanted = await _read(request, _AttachmentInput)
    allowed = _sandbox(request).state.attachments
    (allowed.add if wanted.allowed else allowed.discard)(wanted.nip)
    return Response(status_code=204)


async def grants(request: Request) -> Response:
    """POST grants: what a subject may do in a context that is not its own."""
    wanted = await _read(request, _GrantInput)
    subject = Identifier(wanted.subject_type, wanted.subject)
    _sandbox(request).state.grants[subject, Identifier("Nip", wanted.nip)] = frozenset(wanted.permissions)
    return Response(status_code=204)


async def authorizations(request: Request) -> Response:
    """POST authorizations: who may issue invoices in a seller's name."""
    wanted = await _read(request, _AuthorizationInput)
    _sandbox(request).state.authorizations.add((wanted.seller_nip, wanted.nip, wanted.kind))
    return Response(status_code=204)


async def clock(request: Request) -> Response:
    """POST clock: move the sandbox's time, so that tests need not wait for anything to expire."""
    wanted = await _read(request, _ClockInput)
    sandbox = _sandbox(request)
    sandbox.clock.advance(timedelta(seconds=wanted.advance_seconds))
    return JSONResponse({"time": stamp(sandbox.clock.now())})


async def list_faults(request: Request) -> Response:
    """GET faults: the rules and how often each has been applied."""
    return JSONResponse({"items": _sandbox(request).faults.listed()})


async def add_fault(request: Request) -> Response:
    """POST faults: one more rule."""
    number = _sandbox(request).faults.add(await _read(request, FaultRule))
    return JSONResponse({"id": number}, status_code=201)


async def clear_faults(request: Request) -> Response:
    """DELETE faults: no rules."""
    _sandbox(request).faults.clear()
    return Response(status_code=204)


async def unusable(_request: Request, error: Exception) -> Response:
    """The answer to a control request that cannot be read."""
    if not isinstance(error, _Unusable):
        raise error
    return error.response


EXCEPTION_HANDLERS = {_Unusable: unusable}
ROUTES = [
    Route("/_sandbox/health", health, methods=["GET"]),
    Route("/_sandbox/ledger", ledger, methods=["GET"]),
    Route("/_sandbox/reset", reset, methods=["POST"]),
    Route("/_sandbox/tokens", tokens, methods=["POST"]),
    Route("/_sandbox/attachments", attachments, methods=["POST"]),
    Route("/_sandbox/grants", grants, methods=["POST"]),
    Route("/_sandbox/authorizations", authorizations, methods=["POST"]),
    Route("/_sandbox/clock", clock, methods=["POST"]),
    Route("/_sandbox/faults", list_faults, methods=["GET"]),
    Route("/_sandbox/faults", add_fault, methods=["POST"]),
    Route("/_sandbox/faults", clear_faults, methods=["DELETE"]),
]
