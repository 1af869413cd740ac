"""Reader of the control API's requests, and the answer to an unreadable one."""

import json
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sandbox.ids import NIP
from sandbox.service import Sandbox

Nip = Annotated[str, Field(pattern=NIP.pattern)]
_B = TypeVar("_B")


class ControlInput(BaseModel):
    """Base of the control API's bodies. Unknown members are rejected, so that a typing error is noticed."""

    model_config = ConfigDict(extra="forbid")


class Unusable(Exception):
    """A control request is unreadable; carries the answer to send."""

    def __init__(self, response: Response) -> None:
        self.response = response
        super().__init__()


def sandbox_of(request: Request) -> Sandbox:
    """Return the running sandbox."""
    sandbox: Sandbox = request.app.state.sandbox
    return sandbox


async def read_input(request: Request, model: type[_B] | TypeAdapter[_B]) -> _B:
    """Read the body as a model; raises Unusable (422, one item for each fault)."""
    adapter = model if isinstance(model, TypeAdapter) else TypeAdapter(model)
    try:
        return adapter.validate_json(await request.body())
    except ValidationError as error:
        body = {"errors": json.loads(error.json(include_url=False, include_input=False, include_context=False))}
        raise Unusable(JSONResponse(body, status_code=422)) from error


async def unusable(_request: Request, error: Exception) -> Response:
    """Return the answer to an unreadable control request."""
    if not isinstance(error, Unusable):
        raise error
    return error.response


EXCEPTION_HANDLERS = {Unusable: unusable}
