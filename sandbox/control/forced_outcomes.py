"""`/_sandbox/outcomes`: sets the results of the next logins or certificate requests.

It serves for results that no request can cause: 500, 550 and a certificate chain that cannot be verified.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.service import Sandbox
from sandbox.state.records.common import Status
from sandbox.state.records.testdata import ForcedOutcome

_TEXTS = {
    "login": {
        415: "Uwierzytelnianie zakończone niepowodzeniem",
        450: "Uwierzytelnianie zakończone niepowodzeniem z powodu błędnego tokenu",
        460: "Uwierzytelnianie zakończone niepowodzeniem z powodu błędu certyfikatu",
        470: "Uwierzytelnianie zakończone niepowodzeniem",
        480: "Uwierzytelnienie zablokowane",
        500: "Nieznany błąd",
        550: "Operacja została anulowana przez system",
    },
    "enrollment": {
        400: "Wniosek odrzucony",
        500: "Nieznany błąd",
        550: "Operacja została anulowana przez system",
    },
}
_CANCELLED = "Przetwarzanie zostało przerwane z przyczyn wewnętrznych systemu. Spróbuj ponownie"


class _Outcome(BaseModel):
    model_config = ConfigDict(extra="forbid")

    operation: Literal["login", "enrollment"]
    status: int
    details: list[str] = Field(default_factory=list)
    """In KSeF's words; a 550 without details gets its usual sentence."""
    times: int = Field(1, ge=1)


async def force_outcomes(request: Request) -> Response:
    """POST outcomes: let the next `times` operations of the kind end with this status."""
    sandbox: Sandbox = request.app.state.sandbox
    try:
        wanted = _Outcome.model_validate_json(await request.body())
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        return JSONResponse({"errors": faults}, status_code=422)
    text = _TEXTS[wanted.operation].get(wanted.status)
    if text is None:
        known = sorted(_TEXTS[wanted.operation])
        return JSONResponse({"errors": [{"loc": ["status"], "msg": f"one of {known}"}]}, status_code=422)
    details = tuple(wanted.details) or ((_CANCELLED,) if wanted.status == 550 else ())
    outcome = ForcedOutcome(wanted.operation, Status(wanted.status, text, details), wanted.times)
    sandbox.state.forced_outcomes.append(outcome)
    return Response(status_code=204)


ROUTES = [Route("/_sandbox/outcomes", force_outcomes, methods=["POST"])]
