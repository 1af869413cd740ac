"""Commands on tenants and their API keys, which work on the database."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import anyio
from rich.console import Console

from app.cli.actions.credentials import CredentialSource, certificate_end, check_nip, read_credential
from app.cli.exit_codes import UsageProblem
from app.cli.formats import moment
from app.cli.local_store import local_store
from app.cli.output import print_json, print_warning, stdout_console
from app.cli.tables import print_fields, print_table
from app.clock import utc_now
from app.domain.ids import parse_public_id
from app.settings import Settings, load_settings
from app.store.store import Store
from app.store.tenants.tenants import ApiKeyInfo, Tenant

T = TypeVar("T")

_FIRST_KEY = "first"


def add_tenant(nip: str, *, name: str, source: CredentialSource, compression: str, as_json: bool) -> None:
    """Add a tenant with its first API key and print both. The key cannot be printed again."""
    settings = load_settings()
    if not name.strip():
        raise UsageProblem("--name must not be empty")
    warning = check_nip(nip, settings)
    now = utc_now()
    # Read the credential before the database is opened: a wrong file must not cost the start of a server.
    kind, credential = read_credential(source, nip=nip, name=name, settings=settings, now=now)

    async def work(store: Store) -> tuple[Tenant, str]:
        tenant = await store.tenants.add(
            nip=nip, name=name.strip(), credential_kind=kind, credential=credential, compression=compression, now=now
        )
        _, api_key = await store.tenants.add_key(tenant.id, label=_FIRST_KEY, now=now)
        return tenant, api_key

    tenant, api_key = in_store(settings, work)
    if warning:
        print_warning(warning)
    if as_json:
        print_json({"tenant": tenant.public_id, "nip": tenant.nip, "api_key": api_key})
        return
    console = stdout_console()
    print_fields(console, {"Tenant": tenant.public_id, "NIP": tenant.nip, "Name": tenant.name, "API key": api_key})
    console.print("The key is shown this once. Next: export KSEFD_API_KEY=<the key>; ksefd submit ...", style="dim")


def list_tenants(*, as_json: bool) -> None:
    """Print all tenants."""
    tenants = in_store(load_settings(), lambda store: store.tenants.all())
    if as_json:
        print_json([_tenant_shape(tenant) for tenant in tenants])
        return
    rows = [
        (one.public_id, one.nip, one.name, one.credential_kind, one.compression, one.created_at, _standing(one))
        for one in tenants
    ]
    print_table(stdout_console(), ("Tenant", "NIP", "Name", "Credential", "Packages", "Added", "Standing"), rows)


def show_tenant(nip: str, *, as_json: bool) -> None:
    """Print one tenant with its keys."""

    async def work(store: Store) -> tuple[Tenant, list[ApiKeyInfo], Any]:
        tenant = await store.tenants.by_nip(nip)
        end = certificate_end(*await store.tenants.credential(tenant.id))
        return tenant, await store.tenants.keys(tenant.id), end

    tenant, keys, end = in_store(load_settings(), work)
    if as_json:
        shape = _tenant_shape(tenant) | {"certificate_valid_until": end, "keys": [_key_shape(key) for key in keys]}
        print_json(shape)
        return
    console = stdout_console()
    known: dict[str, object] = {
        "Tenant": tenant.public_id,
        "NIP": tenant.nip,
        "Name": tenant.name,
        "Logs in with": tenant.credential_kind,
        "Certificate ends": end,
        "Packages": tenant.compression,
        "Late invoices": tenant.late_invoices,
        "Added": tenant.created_at,
        "Standing": _standing(tenant),
    }
    print_fields(console, known)
    _print_keys(console, keys)


def set_disabled(nip: str, *, disabled: bool, as_json: bool) -> None:
    """Disable or enable a tenant and print its new status."""

    async def work(store: Store) -> Tenant:
        tenant = await store.tenants.by_nip(nip)
        if disabled:
            await store.tenants.disable(tenant.id, now=utc_now())
        else:
            await store.tenants.enable(tenant.id)
        return await store.tenants.get(tenant.id)

    tenant = in_store(load_settings(), work)
    if as_json:
        print_json(_tenant_shape(tenant))
    else:
        stdout_console().print(f"{tenant.public_id}, NIP {tenant.nip}: {_standing(tenant)}")


def set_late_invoices(nip: str, *, choice: str, as_json: bool) -> None:
    """Set whether a tenant's late invoices are sent or wait for a decision, and print the setting."""

    async def work(store: Store) -> Tenant:
        await store.tenants.set_late_invoices((await store.tenants.by_nip(nip)).id, choice)
        return await store.tenants.by_nip(nip)

    tenant = in_store(load_settings(), work)
    if as_json:
        print_json(_tenant_shape(tenant))
    else:
        words = {"send": "are sent as offline invoices", "hold": "wait for your decision"}[tenant.late_invoices]
        stdout_console().print(f"{tenant.public_id}, NIP {tenant.nip}: late invoices {words}")


def create_key(nip: str, *, label: str, as_json: bool) -> None:
    """Create a key and print it. The key cannot be printed again."""

    async def work(store: Store) -> tuple[str, str]:
        tenant = await store.tenants.by_nip(nip)
        return await store.tenants.add_key(tenant.id, label=label, now=utc_now())

    key_id, api_key = in_store(load_settings(), work)
    if as_json:
        print_json({"key": key_id, "nip": nip, "api_key": api_key})
        return
    console = stdout_console()
    print_fields(console, {"Key": key_id, "API key": api_key})
    console.print("The key is shown this once.", style="dim")


def list_keys(nip: str, *, as_json: bool) -> None:
    """Print a tenant's keys without their secrets."""

    async def work(store: Store) -> list[ApiKeyInfo]:
        return await store.tenants.keys((await store.tenants.by_nip(nip)).id)

    keys = in_store(load_settings(), work)
    if as_json:
        print_json([_key_shape(key) for key in keys])
    else:
        _print_keys(stdout_console(), keys)


def revoke_key(nip: str, key: str, *, as_json: bool) -> None:
    """Revoke one key of a tenant."""
    key_id = parse_public_id("key", key)

    async def work(store: Store) -> ApiKeyInfo:
        tenant = await store.tenants.by_nip(nip)
        await store.tenants.revoke_key(tenant.id, key_id, now=utc_now())
        return next(one for one in await store.tenants.keys(tenant.id) if one.id == key)

    revoked = in_store(load_settings(), work)
    if as_json:
        print_json(_key_shape(revoked))
    else:
        stdout_console().print(f"{key} is revoked.")


def in_store(settings: Settings, work: Callable[[Store], Awaitable[T]]) -> T:
    """Open the store, run `work` on it and close it. Raises the errors of opening and of `work`."""

    async def run() -> T:
        async with local_store(settings) as store:
            return await work(store)

    return anyio.run(run)


def _standing(tenant: Tenant) -> str:
    return "active" if tenant.disabled_at is None else f"disabled since {moment(tenant.disabled_at)}"


def _tenant_shape(tenant: Tenant) -> dict[str, Any]:
    return {
        "tenant": tenant.public_id,
        "nip": tenant.nip,
        "name": tenant.name,
        "credential": tenant.credential_kind,
        "compression": tenant.compression,
        "late_invoices": tenant.late_invoices,
        "created_at": tenant.created_at,
        "disabled_at": tenant.disabled_at,
    }


def _key_shape(key: ApiKeyInfo) -> dict[str, Any]:
    return {
        "key": key.id,
        "label": key.label,
        "created_at": key.created_at,
        "last_used_at": key.last_used_at,
        "revoked_at": key.revoked_at,
    }


def _print_keys(console: Console, keys: list[ApiKeyInfo]) -> None:
    rows = [(key.id, key.label, key.created_at, key.last_used_at, key.revoked_at) for key in keys]
    print_table(console, ("API key", "Label", "Made", "Last used", "Revoked"), rows)
