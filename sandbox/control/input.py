"""What the endpoints of the control API share: reading a request, and the answer to one that cannot be read."""

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
    """A body of the control API; unknown members are refused, so that a typing error is no silent wish."""

    model_config = ConfigDict(extra="forbid")


class Unusable(Exception):
    """The control request gets this answer instead."""

    def __init__(self, response: Response) -> None:
        self.response = response
        super().__init__()


def sandbox_of(request: Request) -> Sandbox:
    """The running sandbox."""
    sandbox: Sandbox = request.app.state.sandbox
    return sandbox


async def read_input(request: Request, model: type[_B] | TypeAdapter[_B]) -> _B:
    """The body as a model; raises Unusable (422, one item a fault) for anything else."""
    adapter = model if isinstance(model, TypeAdapter) else TypeAdapter(model)
    try:
        return adapter.validate_json(await request.body())
    except ValidationError as error:
        body = {"errors": json.loads(error.json(include_url=False, include_input=False, include_context=False))}
        raise Unusable(JSONResponse(body, status_code=422)) from error


async def unusable(_request: Request, error: Exception) -> Response:
    """The answer to a control request that cannot be read."""
    if not isinstance(error, Unusable):
        raise error
    return error.response


EXCEPTION_HANDLERS = {Unusable: unusable}
