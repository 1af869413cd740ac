"""`/_sandbox/openapi.json`: the OpenAPI description of the sandbox, generated from its tables and models.

The bodies of requests are the handlers' models, the answers are the models of `sandbox.answers`, and the parameters are in
this module. KSeF's official OpenAPI file is not used: a test compares both if the file is present.
"""

import re
from collections.abc import Iterable
from types import FunctionType
from typing import Any

from pydantic import BaseModel, TypeAdapter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.answers.shapes import Answer, Status
from sandbox.answers.table import expected_answer
from sandbox.guard import Endpoint
from sandbox.ids import KSEF_NUMBER, REFERENCE
from sandbox.options import ApiVersion

_REFS = "#/components/schemas/{model}"
_JSON = "application/json"
_PROBLEM = "application/problem+json"
_PARAMETER = re.compile(r"\{(\w+)(:int)?\}")
_READERS = {"read_json": True, "read_optional_json": False, "read_input": True}
"""Function that reads a body -> whether the body is required."""


class Fault(Answer):
    """One coded fault of a request, in the older format."""

    exception_code: int
    exception_description: str | None = None
    details: list[str] | None = None


class ExceptionInfo(Answer):
    """All faults of a request, with service and time."""

    exception_detail_list: list[Fault]
    reference_number: str | None = None
    service_code: str | None = None
    service_ctx: str | None = None
    service_name: str | None = None
    timestamp: str


class ExceptionBody(Answer):
    """Body of a 400, unless the request asks for problem details."""

    exception: ExceptionInfo


class ProblemFault(Answer):
    """One coded fault of a request."""

    code: int
    description: str
    details: list[str] | None = None


class Problem(Answer):
    """Body of 401, 403 and 410; of 400 and 429 with `X-Error-Format: problem-details`."""

    title: str
    status: int
    detail: str
    instance: str | None = None
    timestamp: str
    trace_id: str | None = None
    errors: list[ProblemFault] | None = None
    reason_code: str | None = None
    security: dict[str, Any] | None = None


class TooMany(Answer):
    """Body of a 429, unless the request asks for problem details."""

    status: Status


_ERRORS: dict[int, tuple[str, dict[str, type[Answer]]]] = {
    400: ("The request is refused, with codes", {_JSON: ExceptionBody, _PROBLEM: Problem}),
    401: ("The token is missing or not valid", {_PROBLEM: Problem}),
    403: ("Not allowed", {_PROBLEM: Problem}),
    410: ("The operation is too old", {_PROBLEM: Problem}),
    413: ("The body is too large", {}),
    415: ("The media type is not supported", {}),
    429: ("Too many requests", {_JSON: TooMany, _PROBLEM: Problem}),
}
_GONE = frozenset({"/auth/{}", "/certificates/enrollments/{}"})

_REFERENCE = {"type": "string", "minLength": 36, "maxLength": 36, "pattern": f"^{REFERENCE.pattern}$"}
_SERIAL = {"type": "string", "pattern": "^[0-9A-F]{16}$", "minLength": 16, "maxLength": 16}
_PATH: dict[str, dict[str, Any]] = {
    "ksef_number": {"type": "string", "minLength": 35, "maxLength": 36, "pattern": f"^{KSEF_NUMBER.pattern}$"},
    "serial": _SERIAL,
}
"""Parameters of paths by name; all others are reference numbers."""

Parameter = tuple[str, str, bool, dict[str, Any]]
"""Place, name, whether it is required, schema."""


def _size(maximum: int) -> Parameter:
    return "query", "pageSize", False, {"type": "integer", "minimum": 10, "maximum": maximum, "default": 10}


def _one_of(*values: str) -> dict[str, Any]:
    return {"type": "string", "enum": list(values)}


_TOKEN: Parameter = ("header", "x-continuation-token", False, {"type": "string"})
_MOMENT = {"type": "string", "format": "date-time"}
_PERIODS = ("dateCreatedFrom", "dateCreatedTo", "dateClosedFrom", "dateClosedTo", "dateModifiedFrom", "dateModifiedTo")
PARAMETERS: dict[tuple[str, str], tuple[Parameter, ...]] = {
    ("GET", "/auth/sessions"): (_size(100), _TOKEN),
    ("POST", "/auth/xades-signature"): (("query", "verifyCertificateChain", False, {"type": "boolean"}),),
    ("GET", "/sessions"): (
        ("query", "sessionType", True, _one_of("Online", "Batch")),
        ("query", "referenceNumber", False, _REFERENCE),
        *(("query", name, False, _MOMENT) for name in _PERIODS),
        (
            "query",
            "statuses",
            False,
            {"type": "array", "items": _one_of("InProgress", "Succeeded", "Failed", "Cancelled")},
        ),
        _size(1000),
        _TOKEN,
    ),
    ("GET", "/sessions/{}/invoices"): (_size(1000), _TOKEN),
    ("GET", "/sessions/{}/invoices/failed"): (_size(1000), _TOKEN),
    ("GET", "/tokens"): (
        (
            "query",
            "status",
            False,
            {"type": "array", "items": _one_of("Pending", "Active", "Revoking", "Revoked", "Failed")},
        ),
        ("query", "description", False, {"type": "string", "minLength": 3}),
        ("query", "authorIdentifier", False, {"type": "string", "minLength": 3}),
        ("query", "authorIdentifierType", False, _one_of("Nip", "Pesel", "Fingerprint")),
        _size(100),
        _TOKEN,
    ),
    ("POST", "/invoices/query/metadata"): (
        _size(250),
        ("query", "pageOffset", False, {"type": "integer", "minimum": 0, "maximum": 2**31 - 1, "default": 0}),
        ("query", "sortOrder", False, _one_of("Asc", "Desc") | {"default": "Asc"}),
    ),
    ("POST", "/certificates/query"): (
        _size(50),
        ("query", "pageOffset", False, {"type": "integer", "minimum": 0, "maximum": 2**31 - 1, "default": 0}),
    ),
}
"""Operation, with `{}` for each parameter of its path -> its other parameters."""


Body = type[BaseModel] | TypeAdapter[Any]


def body_of(handler: Any) -> tuple[Body, bool] | None:
    """Return the model of a handler's body and whether the body is required; None for a handler without a body.

    The model is found in the code of the handler, or of the function of its module that reads the body, so the description
    always fits the handler.
    """
    names = {name: handler.__globals__.get(name) for name in handler.__code__.co_names}
    readers = _READERS.keys() & names.keys()
    if not readers:
        helpers = [item for item in names.values() if getattr(item, "__module__", "") == handler.__module__]
        bodies = (body_of(item) for item in helpers if isinstance(item, FunctionType) and item is not handler)
        return next((body for body in bodies if body is not None), None)
    for item in names.values():
        if isinstance(item, TypeAdapter) or (isinstance(item, type) and issubclass(item, BaseModel)):
            return item, all(_READERS[name] for name in readers)
    return None


def openapi_document(
    endpoints: Iterable[Endpoint], prefix: str, api: ApiVersion, control: Iterable[Route] = ()
) -> dict[str, Any]:
    """Build the OpenAPI 3.1 description of every operation below `prefix` and of the control API."""
    endpoints = list(endpoints)
    routes = [route for route in control if route.methods]
    named, definitions = _schemas(endpoints, routes, api)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        path = prefix + _PARAMETER.sub(r"{\1}", endpoint.path)
        paths.setdefault(path, {})[endpoint.method.lower()] = _operation(endpoint, api, named)
    for route in routes:
        for method in sorted((route.methods or set()) - {"HEAD"}):
            paths.setdefault(_PARAMETER.sub(r"{\1}", route.path), {})[method.lower()] = _control(route, method, named)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "KSeF sandbox",
            "version": str(api),
            "description": "A simulator of KSeF 2.0 for tests. It does not belong to the ministry, and its invoices are not issued.",
        },
        "paths": paths,
        "components": {
            "schemas": definitions,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def serving(document: dict[str, Any]) -> Route:
    """Build the route of the OpenAPI description."""

    async def openapi(_request: Request) -> Response:
        """GET openapi.json: return this description."""
        return JSONResponse(document)

    return Route("/_sandbox/openapi.json", openapi, methods=["GET"])


def _schemas(endpoints: list[Endpoint], routes: list[Route], api: ApiVersion) -> tuple[dict[int, Any], dict[str, Any]]:
    """Return the schemas of all bodies and answers, by the identity of their model, and the schemas they refer to."""
    handlers = [*(item.handler for item in endpoints), *(route.endpoint for route in routes)]
    bodies = [body[0] for handler in handlers if (body := body_of(handler))]
    wanted: list[Any] = [ExceptionBody, Problem, TooMany, *bodies]
    shapes = [expected_answer(endpoint.method, endpoint.path, api).shape for endpoint in endpoints]
    wanted += [shape for shape in shapes if shape is not None and shape != "xml"]
    adapters = {id(item): item if isinstance(item, TypeAdapter) else TypeAdapter(item) for item in wanted}
    schemas, shared = TypeAdapter.json_schemas(
        [(key, "validation", adapter) for key, adapter in adapters.items()], ref_template=_REFS
    )
    return {int(key): schema for (key, _), schema in schemas.items()}, shared["$defs"]


def _operation(endpoint: Endpoint, api: ApiVersion, named: dict[int, Any]) -> dict[str, Any]:
    plain = _PARAMETER.sub("{}", endpoint.path)
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": _PATH.get(name, _REFERENCE)}
        for name, _ in _PARAMETER.findall(endpoint.path)
    ]
    parameters += [
        {"name": name, "in": place, "required": must, "schema": schema}
        for place, name, must, schema in PARAMETERS.get((endpoint.method, plain), ())
    ]
    statuses = [400, 429, *([401, 403] if endpoint.tokens else []), *([410] if plain in _GONE else [])]
    operation: dict[str, Any] = {
        "summary": _first_line(endpoint.handler),
        "tags": [plain.split("/")[1]],
        "x-limit-group": endpoint.group,
        "parameters": parameters,
    }
    if endpoint.tokens:
        operation["security"] = [{"bearer": []}]
    body = body_of(endpoint.handler)
    if body is not None:
        operation["requestBody"] = {"required": body[1], "content": {_JSON: {"schema": named[id(body[0])]}}}
    elif plain == "/auth/xades-signature":
        operation["requestBody"] = {"required": True, "content": {"application/xml": {"schema": {"type": "string"}}}}
    if "requestBody" in operation:
        statuses += [413]
    statuses += [415]
    expected = expected_answer(endpoint.method, endpoint.path, api)
    answers: dict[str, Any] = {str(expected.status): _success(expected.shape, named)}
    for status in sorted(statuses):
        sentence, shapes = _ERRORS[status]
        answers[str(status)] = {"description": sentence}
        if shapes:
            answers[str(status)]["content"] = {media: {"schema": named[id(model)]} for media, model in shapes.items()}
    operation["responses"] = answers
    return operation


def _success(shape: Any, named: dict[int, Any]) -> dict[str, Any]:
    if shape is None:
        return {"description": "Done"}
    if shape == "xml":
        hash_header = {"x-ms-meta-hash": {"description": "Base64 SHA-256 of the body", "schema": {"type": "string"}}}
        return {
            "description": "The document",
            "headers": hash_header,
            "content": {"application/xml": {"schema": {"type": "string"}}},
        }
    return {"description": "Done", "content": {_JSON: {"schema": named[id(shape)]}}}


def _control(route: Route, method: str, named: dict[int, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {"summary": _first_line(route.endpoint), "tags": ["_sandbox"]}
    operation["parameters"] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name, _ in _PARAMETER.findall(route.path)
    ]
    body = body_of(route.endpoint) if method in {"POST", "PUT", "PATCH"} else None
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {_JSON: {"schema": named[id(body[0])]}}}
    operation["responses"] = {"2XX": {"description": "Done"}, "422": {"description": "The request cannot be read"}}
    return operation


def _first_line(handler: Any) -> str:
    return (handler.__doc__ or "").strip().partition("\n")[0]
