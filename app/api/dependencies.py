"""Dependencies of endpoints: the store, the settings, the time, and the tenant of the request's API key."""

from datetime import datetime
from typing import Annotated, Final, cast

from fastapi import Depends, Header, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.api.http.parameters import known_parameters_only
from app.api.state import ApiState
from app.errors import Unauthorized
from app.observability.logs import add_log_fields
from app.settings import Settings
from app.store.audit.actor import Actor, set_actor
from app.store.store import Store
from app.store.tenants.tenants import Tenant

_BEARER = HTTPBearer(auto_error=False, scheme_name="apiKey", description="An API key: `ksefd key create`.")


def api_state(request: Request) -> ApiState:
    """Return the parts that the application's lifespan opened."""
    return cast("ApiState", request.state.api)


async def current_state(request: Request) -> ApiState:
    """Return the parts that the application's lifespan opened, as a dependency."""
    return api_state(request)


async def current_store(request: Request) -> Store:
    """Return the store."""
    return api_state(request).store


async def current_settings(request: Request) -> Settings:
    """Return the settings of this process."""
    return api_state(request).settings


async def current_moment(request: Request) -> datetime:
    """Return the time of the application's clock."""
    return api_state(request).clock()


async def current_tenant(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)]
) -> Tenant:
    """Return the tenant of the request's API key. Raises Unauthorized, TooManyFailedKeys, TenantDisabled and InvalidRequest."""
    if credentials is None:
        raise Unauthorized
    tenant = await tenant_of_key(request, credentials.credentials)
    # After the key, so that a request without one learns nothing else.
    await known_parameters_only(request)
    return tenant


async def tenant_of_request(request: Request) -> Tenant:
    """Return the tenant of the request's API key outside an endpoint. Raises the errors of `current_tenant`."""
    return await current_tenant(request, await _BEARER(request))


async def tenant_of_key(request: Request, key: str) -> Tenant:
    """Return the tenant of an API key, and add it to the log line and the audit rows of the request.

    Raises the errors of `Authenticator`.
    """
    known = request.scope.setdefault("ksefd", {})
    tenant = await api_state(request).authenticator.authenticate(key, known.get("client"))
    known["tenant"], known["key"] = tenant.public_id, tenant.key_label
    add_log_fields(tenant=tenant.public_id)
    set_actor(Actor("key", tenant.key_label or "", known.get("request_id")))
    return tenant


CurrentState = Annotated[ApiState, Depends(current_state)]
CurrentStore = Annotated[Store, Depends(current_store)]
CurrentSettings = Annotated[Settings, Depends(current_settings)]
CurrentTenant = Annotated[Tenant, Depends(current_tenant)]
Now = Annotated[datetime, Depends(current_moment)]
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        pattern=r"^[\x20-\x7e]+$",
        description="A repeated request with the same key gets the first answer again, for seven days.",
    ),
]

REPLAYED: Final = {"Idempotency-Replayed": "true"}
"""Header of an answer that an earlier request with the same Idempotency-Key got."""
