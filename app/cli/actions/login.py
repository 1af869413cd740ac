"""`ksefd auth check`: one login to KSeF, printed with all its details."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import typer

from app.cli.actions.accounts import in_store
from app.cli.actions.credentials import certificate_end, login_credentials
from app.cli.exit_codes import REFUSED
from app.cli.formats import shown
from app.cli.output import print_error, print_json, print_warning, stdout_console
from app.cli.tables import print_fields
from app.clock import utc_now
from app.ksef.client import KsefClient
from app.ksef.errors import KsefError, Outcome, PermissionMissing
from app.ksef.keys import PublicKeys
from app.ksef.login.auth import Authenticator, LoginInfo
from app.ksef.login.login import AuthContext
from app.ksef.storage import StorageClient
from app.ksef.transport import KsefTransport, make_http_client
from app.settings import Settings, load_settings
from app.store.store import Store
from app.store.tenants.permissions import KnownPermissions
from app.store.tenants.tenants import Tenant


def check_login(nip: str, *, as_json: bool) -> None:
    """Log in with the tenant's credential and print KSeF's answer.

    Exits with REFUSED when KSeF rejects the login. Raises KsefError when KSeF cannot be reached or its answer cannot be
    read: the credential may be good. Tokens of the running service are not touched.
    """
    settings = load_settings()

    async def work(store: Store) -> tuple[LoginInfo, KnownPermissions, datetime | None]:
        tenant = await store.tenants.by_nip(nip)
        kind, parts = await store.tenants.credential(tenant.id)
        async with _client(settings, nip, kind, parts) as client:
            login = await client.login()
            await _ask_permissions(store, tenant, client)
        return login, await store.permissions.of(tenant.id), certificate_end(kind, parts)

    try:
        login, permissions, certificate_ends = in_store(settings, work)
    except KsefError as error:
        if error.outcome is not Outcome.REFUSED:
            raise
        if as_json:
            print_json({"ok": False, "nip": nip, "environment": settings.ksef_base_url, "reason": error.detail})
        print_error(f"KSeF refused the login for NIP {nip}: {error.detail}")
        raise typer.Exit(REFUSED) from error
    if as_json:
        print_json(_shape(settings, login, permissions, certificate_ends))
        return
    lines: dict[str, object] = {
        "KSeF": settings.ksef_base_url,
        "Logged in as": f"{login.context_type} {login.context_value}",
        "Method": login.method,
        "Login": login.reference_number,
        "Access until": login.access_valid_until,
        "Renewable until": login.refresh_valid_until,
        "Certificate ends": certificate_ends,
        "Permissions": ", ".join(login.permissions) or "not named by KSeF",
        "Attachments": _attachments(permissions),
    }
    print_fields(stdout_console(), lines)


@asynccontextmanager
async def _client(settings: Settings, nip: str, kind: str, parts: dict[str, str]) -> AsyncIterator[KsefClient]:
    async with make_http_client(max_connections=2) as http:
        transport = KsefTransport(settings.ksef_base_url, http)
        keys = PublicKeys(transport, now=utc_now)
        credentials = login_credentials(kind, parts)
        authenticator = Authenticator(transport, keys, AuthContext(nip), credentials, now=utc_now)
        yield KsefClient(transport=transport, storage=StorageClient(http), authenticator=authenticator, keys=keys)


async def _ask_permissions(store: Store, tenant: Tenant, client: KsefClient) -> None:
    """Ask KSeF for the tenant's permissions and store the answer for the service. A failure here does not fail the login."""
    try:
        consent = await client.attachment_consent()
    except PermissionMissing as error:
        await store.permissions.refuse(tenant.id, error.detail, now=utc_now())
    except KsefError as error:
        print_warning(f"KSeF did not say whether attachments are allowed: {error.detail}")
    else:
        await store.permissions.save(tenant.id, consent, now=utc_now())


def _attachments(known: KnownPermissions) -> str:
    allowed = known.attachments_at(utc_now())
    if allowed is None:
        return f"not known: {known.refused}" if known.refused else "not known"
    if not allowed:
        return "not allowed"
    return f"allowed until {shown(known.attachments_end_at)}" if known.attachments_end_at else "allowed"


def _shape(
    settings: Settings, login: LoginInfo, permissions: KnownPermissions, certificate_ends: datetime | None
) -> dict[str, Any]:
    return {
        "ok": True,
        "nip": login.context_value,
        "environment": settings.ksef_base_url,
        "method": login.method,
        "reference_number": login.reference_number,
        "access_valid_until": login.access_valid_until,
        "refresh_valid_until": login.refresh_valid_until,
        "certificate_valid_until": certificate_ends,
        "permissions": list(login.permissions),
        "attachments": permissions.as_json(utc_now()),
    }
