"""Refuses query parameters that an endpoint does not have: a misspelt filter would otherwise list everything."""

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import Any
from urllib.parse import unquote_plus

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from app.api.http.errors import InvalidRequest

_MOST_NAMED = 20


async def known_parameters_only(request: Request) -> None:
    """Raise InvalidRequest for query parameters that the endpoint of a request does not have, each with the nearest name."""
    query: bytes = request.scope["query_string"]
    route: Any = request.scope.get("route")
    if not query or not isinstance(route, APIRoute):
        return
    known = parameter_names(route)
    given = [unquote_plus(item.partition("=")[0]) for item in query.decode("latin-1").split("&") if item]
    unknown = [name for name in dict.fromkeys(given) if name not in known]
    if unknown:
        faults = [_fault(name, known) for name in unknown[:_MOST_NAMED]]
        takes = f"this address takes {', '.join(known)}" if known else "this address takes none"
        raise InvalidRequest(f"{faults[0]['message']}; {takes}", errors=faults)


def parameter_names(route: APIRoute) -> Sequence[str]:
    """Return the names of the query parameters of a route and its dependencies, in their order."""
    return tuple(
        dict.fromkeys(
            parameter.alias for dependant in dependants(route.dependant) for parameter in dependant.query_params
        )
    )


def dependants(dependant: Dependant) -> Iterator[Dependant]:
    """Yield the description of an endpoint's parameters, and those of its dependencies at any depth."""
    yield dependant
    for dependency in dependant.dependencies:
        yield from dependants(dependency)


def nearest(name: str, known: Sequence[str]) -> str | None:
    """Return the known name that is most like a name; `ksefNumber` and `ksef-number` are like `ksef_number`."""
    plain = _plain(name)
    return max(known, key=lambda one: SequenceMatcher(None, plain, _plain(one)).ratio(), default=None)


def _plain(name: str) -> str:
    return name[:64].lower().replace("_", "").replace("-", "")


def _fault(name: str, known: Sequence[str]) -> dict[str, Any]:
    shown = name[:64]
    message = f"there is no parameter {shown!r}"
    like = nearest(name, known)
    if like is None:
        return {"where": f"query.{shown}", "message": message}
    return {"where": f"query.{shown}", "message": f"{message}; did you mean {like}", "nearest": like}
