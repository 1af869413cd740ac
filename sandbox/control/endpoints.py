"""Operations of `/_sandbox/`: health, the ledger of accepted invoices, reset, tokens and permissions."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from sandbox.clock import stamp
from sandbox.control import trouble as control_trouble
from sandbox.control.input import ControlInput, Nip, read_input, sandbox_of
from sandbox.endpoints.ksef_tokens import make_token
from sandbox.state.memory import OWNER_PERMISSIONS
from sandbox.state.records.common import Identifier
from sandbox.state.records.sessions import Accepted

_LINES = 500


class _TokenInput(ControlInput):
    nip: Nip
    permissions: set[str] = Field(default_factory=lambda: set(OWNER_PERMISSIONS))
    description: str = "made by the control API"


class _AttachmentInput(ControlInput):
    nip: Nip
    allowed: bool = True


class _GrantInput(ControlInput):
    nip: Nip
    """The context in which the permissions are valid."""
    subject_type: Literal["Nip", "Pesel", "Fingerprint"]
    subject: str
    permissions: set[str]


class _AuthorizationInput(ControlInput):
    seller_nip: Nip
    nip: Nip
    kind: Literal["SelfInvoicing", "TaxRepresentative"]


async def health(request: Request) -> Response:
    """GET health: answer that the sandbox runs."""
    return JSONResponse({"status": "ok", "time": stamp(sandbox_of(request).clock.now())})


async def ledger(request: Request) -> Response:
    """GET ledger: counts of accepted invoices, repetitions and requests; `?full=1` streams every accepted invoice."""
    sandbox = sandbox_of(request)
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
                for session in state.sessions.peek()
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
    """POST reset: delete all state except the keys."""
    await sandbox_of(request).reset()
    return Response(status_code=204)


async def tokens(request: Request) -> Response:
    """POST tokens: create an active KSeF token of a NIP's owner."""
    wanted = await read_input(request, _TokenInput)
    owner = Identifier("Nip", wanted.nip)
    token = make_token(
        sandbox_of(request),
        owner,
        owner,
        permissions=frozenset(wanted.permissions),
        description=wanted.description,
        activation=timedelta(0),
    )
    return JSONResponse({"reference_number": token.reference_number, "token": token.secret}, status_code=201)


async def attachments(request: Request) -> Response:
    """POST attachments: give or revoke the consent to invoices with attachments."""
    wanted = await read_input(request, _AttachmentInput)
    allowed = sandbox_of(request).state.attachments
    (allowed.add if wanted.allowed else allowed.discard)(wanted.nip)
    return Response(status_code=204)


async def grants(request: Request) -> Response:
    """POST grants: set a subject's permissions in a context that is not its own."""
    wanted = await read_input(request, _GrantInput)
    subject = Identifier(wanted.subject_type, wanted.subject)
    sandbox_of(request).state.grants[subject, Identifier("Nip", wanted.nip)] = frozenset(wanted.permissions)
    return Response(status_code=204)


async def authorizations(request: Request) -> Response:
    """POST authorizations: allow a NIP to issue invoices in a seller's name."""
    wanted = await read_input(request, _AuthorizationInput)
    sandbox_of(request).state.authorizations.add((wanted.seller_nip, wanted.nip, wanted.kind))
    return Response(status_code=204)


ROUTES = [
    Route("/_sandbox/health", health, methods=["GET"]),
    Route("/_sandbox/ledger", ledger, methods=["GET"]),
    Route("/_sandbox/reset", reset, methods=["POST"]),
    Route("/_sandbox/tokens", tokens, methods=["POST"]),
    Route("/_sandbox/attachments", attachments, methods=["POST"]),
    Route("/_sandbox/grants", grants, methods=["POST"]),
    Route("/_sandbox/authorizations", authorizations, methods=["POST"]),
    *control_trouble.ROUTES,
]
