"""`ksefd auth check`: one login to KSeF, told in full."""

from datetime import datetime
from typing import Any

import typer

from app.cli.accounts import in_store
from app.cli.credentials import certificate_end, login_credentials
from app.cli.exit_codes import REFUSED
from app.cli.output import fields, print_error, print_json, stdout_console
from app.clock import utc_now
from app.ksef.auth import AuthContext, Authenticator, LoginInfo
from app.ksef.errors import KsefError, Outcome
from app.ksef.keys import PublicKeys
from app.ksef.transport import KsefTransport, make_http_client
from app.settings import Settings, load_settings
from app.store.store import Store


def check_login(nip: str, *, as_json: bool) -> None:
    """Log in with the tenant's credential and print what KSeF says.

    Exits with REFUSED when KSeF understood and said no. Raises KsefError when it cannot be reached or answers
    nonsense: the credential may be good. Tokens of the running service are left alone.
    """
    settings = load_settings()

    async def work(store: Store) -> tuple[LoginInfo, datetime | None]:
        tenant = await store.tenants.by_nip(nip)
        kind, parts = await store.tenants.credential(tenant.id)
        return await _log_in(settings, nip, kind, parts), certificate_end(kind, parts)

    try:
        login, certificate_ends = in_store(settings, work)
    except KsefError as error:
        if error.outcome is not Outcome.REFUSED:
            raise
        if as_json:
            print_json({"ok": False, "nip": nip, "environment": settings.ksef_base_url, "reason": error.detail})
        print_error(f"KSeF refused the login for NIP {nip}: {error.detail}")
        raise typer.Exit(REFUSED) from error
    if as_json:
        print_json(_shape(settings, login, certificate_ends))
        return
    told: dict[str, object] = {
        "KSeF": settings.ksef_base_url,
        "Logged in as": f"{login.context_type} {login.context_value}",
        "Method": login.method,
        "Login": login.reference_number,
        "Access until": login.access_valid_until,
        "Renewable until": login.refresh_valid_until,
        "Certificate ends": certificate_ends,
        "Permissions": ", ".join(login.permissions) or "not told by KSeF",
    }
    stdout_console().print(fields(told))


async def _log_in(settings: Settings, nip: str, kind: str, parts: dict[str, str]) -> LoginInfo:
    async with make_http_client(max_connections=2) as http:
        transport = KsefTransport(settings.ksef_base_url, http)
        keys = PublicKeys(transport, now=utc_now)
        credentials = login_credentials(kind, parts)
        return await Authenticator(transport, keys, AuthContext(nip), credentials, now=utc_now).login()


def _shape(settings: Settings, login: LoginInfo, certificate_ends: datetime | None) -> dict[str, Any]:
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
    }
