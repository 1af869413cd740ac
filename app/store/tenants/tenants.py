"""Tenants (a NIP each), their API keys, their credentials for KSeF and the tokens that all workers share."""

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from app.domain.ids import public_id
from app.domain.timestamps import iso_utc
from app.errors import Conflict, NotFound
from app.store.audit.acts import Act
from app.store.audit.record import record
from app.store.database import Database, queries
from app.store.keys.envelope import Envelope
from app.store.keys.places import credential_of, tokens_of

_SQL: Final = queries("tenants")
_OWNED: Final = ("tenant_id", "session_id", "upload_id", "lane_id", "endpoint_id", "replay_id")
_KEY_PREFIX: Final = "ksefd"
_HEX_ID: Final = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Tenant:
    """A taxpayer who sends through this installation."""

    id: int
    public_id: str
    nip: str
    name: str
    credential_kind: str
    compression: str
    late_invoices: str
    created_at: datetime
    disabled_at: datetime | None
    reconcile_since: datetime | None = None
    """No session is opened for the tenant until its records since this moment are reconciled with KSeF's."""
    key_label: str | None = None
    """The label of the API key that authenticated, for the audit; None when no key did."""


@dataclass(frozen=True, slots=True)
class ApiKeyInfo:
    """An API key without its secret, for display."""

    id: str
    label: str
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None


class TenantStore:
    """Rows of tenants and keys. All other stores take a tenant's number and filter by it."""

    def __init__(self, database: Database, box: Envelope) -> None:
        self._database = database
        self._box = box

    async def add(
        self,
        *,
        nip: str,
        name: str,
        credential_kind: str,
        credential: Mapping[str, str],
        compression: str,
        now: datetime,
    ) -> Tenant:
        """Add a tenant. `credential` is kept encrypted. Raises Conflict when the NIP is there already."""
        tenant = UUID(bytes=secrets.token_bytes(16), version=4)
        async with self._database.transaction() as connection:
            cursor = await connection.execute(
                _SQL["add_tenant"],
                {
                    "public_id": tenant,
                    "nip": nip,
                    "name": name,
                    "credential_kind": credential_kind,
                    "credential": self._seal(nip, credential),
                    "compression": compression,
                    "now": now,
                },
            )
            row = await cursor.fetchone()
            if row is None:
                raise Conflict(f"there is a tenant with NIP {nip} already")
            details = {"credential": credential_kind, "compression": compression}
            named = public_id("ten", tenant)
            record(connection, act=Act.TENANT_ADDED, tenant_id=row["id"], object=named, details=details)
        return await self.get(row["id"])

    async def get(self, tenant_id: int) -> Tenant:
        """Give one tenant by its number. Raises NotFound."""
        row = await self._database.fetch_one(_SQL["tenant_by_id"], {"tenant_id": tenant_id})
        if row is None:
            raise NotFound("there is no such tenant")
        return _tenant(row)

    async def public_id_for_job(self, ids: Mapping[str, int | str | UUID]) -> str | None:
        """Give the public id of the tenant that a session, an upload, a lane, an endpoint or a replay belongs to."""
        row = await self._database.fetch_one(_SQL["public_id_for_job"], {name: ids.get(name) for name in _OWNED})
        return public_id("ten", row["public_id"]) if row else None

    async def by_nip(self, nip: str) -> Tenant:
        """Give one tenant by its NIP. Raises NotFound."""
        row = await self._database.fetch_one(_SQL["tenant_by_nip"], {"nip": nip})
        if row is None:
            raise NotFound(f"there is no tenant with NIP {nip}")
        return _tenant(row)

    async def all(self) -> list[Tenant]:
        """Give all tenants in the order in which they were added."""
        return [_tenant(row) for row in await self._database.fetch_all(_SQL["list_tenants"])]

    async def disable(self, tenant_id: int, *, now: datetime) -> None:
        """Refuse the tenant's keys and open no more sessions for it; its sessions at KSeF are still tracked."""
        await self._change(Act.TENANT_DISABLED, "disable_tenant", {"tenant_id": tenant_id, "now": now})

    async def enable(self, tenant_id: int) -> None:
        """Undo `disable`."""
        await self._change(Act.TENANT_ENABLED, "enable_tenant", {"tenant_id": tenant_id})

    async def require_reconciliation(self, tenant_id: int, *, since: datetime) -> None:
        """Open no session for the tenant until its records since this moment are reconciled with KSeF's. The earliest one counts."""
        parameters = {"tenant_id": tenant_id, "since": since}
        details = {"since": iso_utc(since)}
        await self._change(Act.RECONCILIATION_REQUIRED, "require_reconciliation", parameters, details=details)

    async def end_reconciliation(self, tenant_id: int, *, since: datetime | None) -> None:
        """Let sessions be opened again: the tenant's records since this moment, if given, are reconciled with KSeF's."""
        parameters = {"tenant_id": tenant_id, "since": since}
        await self._change(Act.RECONCILED, "end_reconciliation", parameters, details={"since": iso_utc(since)})

    async def set_late_invoices(self, tenant_id: int, choice: str) -> None:
        """Choose whether invoices that miss the day of their `P_1` are sent (`send`) or await the tenant's decision (`hold`).

        Invoices that await a decision already still do until they are released or withdrawn.
        """
        parameters = {"tenant_id": tenant_id, "choice": choice}
        await self._change(Act.LATE_INVOICES_SET, "set_late_invoices", parameters, details={"choice": choice})

    async def credential(self, tenant_id: int) -> tuple[str, dict[str, str]]:
        """Decrypt the tenant's credential: its kind and its parts."""
        row = await self._database.fetch_one(_SQL["tenant_by_id"], {"tenant_id": tenant_id})
        if row is None:
            raise NotFound("there is no such tenant")
        raw = self._box.decrypt(row["credential"], credential_of(row["nip"]))
        return row["credential_kind"], json.loads(raw)

    async def set_credential(self, tenant: Tenant, *, credential_kind: str, credential: Mapping[str, str]) -> None:
        """Replace the tenant's credential; the tokens that the old one obtained are dropped."""
        parameters = {
            "tenant_id": tenant.id,
            "credential_kind": credential_kind,
            "credential": self._seal(tenant.nip, credential),
        }
        await self._change(Act.CREDENTIAL_SET, "set_credential", parameters, details={"kind": credential_kind})

    async def add_key(self, tenant_id: int, *, label: str, now: datetime) -> tuple[str, str]:
        """Make an API key: its id and the key itself, which is shown this once and kept only as a hash."""
        key_id = UUID(bytes=secrets.token_bytes(16), version=4)
        secret = secrets.token_urlsafe(32)
        parameters = {
            "id": key_id,
            "tenant_id": tenant_id,
            "label": label,
            "secret_sha256": hashlib.sha256(secret.encode()).digest(),
            "now": now,
        }
        await self._change(Act.KEY_CREATED, "add_api_key", parameters, key=key_id, details={"label": label})
        return public_id("key", key_id), f"{_KEY_PREFIX}_{key_id.hex}_{secret}"

    async def keys(self, tenant_id: int) -> list[ApiKeyInfo]:
        """List a tenant's keys, revoked ones too."""
        rows = await self._database.fetch_all(_SQL["list_api_keys"], {"tenant_id": tenant_id})
        return [ApiKeyInfo(**(row | {"id": public_id("key", row["id"])})) for row in rows]

    async def revoke_key(self, tenant_id: int, key_id: UUID, *, now: datetime) -> None:
        """Revoke a key at once. Raises NotFound when the tenant has no such key."""
        parameters = {"tenant_id": tenant_id, "id": key_id, "now": now}
        if not await self._change(Act.KEY_REVOKED, "revoke_api_key", parameters, key=key_id):
            raise NotFound("the tenant has no such key")

    async def authenticate(self, keys: Sequence[str], *, now: datetime) -> list[Tenant | None]:
        """Return the tenant of each API key, None for a key that is malformed, unknown or revoked, by one query.

        A disabled tenant is returned. Every key takes the same steps, so that the time does not show how much of it is right.
        """
        presented = [_presented(key) for key in keys]
        ids = [key_id for key_id, _ in presented if key_id is not None]
        found = await self._database.fetch_all(_SQL["api_keys_with_tenants"], {"ids": ids}) if ids else []
        rows = {row["key_id"]: row for row in found}
        tenants: list[Tenant | None] = []
        used = []
        for key_id, digest in presented:
            row = rows.get(key_id) if key_id is not None else None
            if hmac.compare_digest(digest, bytes(row["secret_sha256"]) if row else b"\0" * 32) and row is not None:
                tenants.append(replace(_tenant(row), key_label=row["label"]))
                used.append(row["key_id"])
            else:
                tenants.append(None)
        if used:
            await self._database.execute(_SQL["touch_api_keys"], {"ids": used, "now": now})
        return tenants

    async def load_tokens(self, tenant_id: int) -> bytes | None:
        """Give the tokens that any worker saved last, decrypted, or None."""
        row = await self._database.fetch_one(_SQL["load_tokens"], {"tenant_id": tenant_id})
        return self._box.decrypt(row["tokens"], tokens_of(tenant_id)) if row else None

    async def save_tokens(self, tenant_id: int, tokens: bytes, *, now: datetime) -> None:
        """Keep tokens, encrypted, for all workers."""
        sealed = self._box.encrypt(tokens, tokens_of(tenant_id))
        await self._database.execute(_SQL["save_tokens"], {"tenant_id": tenant_id, "tokens": sealed, "now": now})

    async def ensure_lane(self, tenant: Tenant, *, form_code: str, offline_mode: bool) -> int:
        """Give the number of the lane for these invoices, making it the first time."""
        row = await self._database.fetch_one(
            _SQL["ensure_lane"],
            {
                "tenant_id": tenant.id,
                "form_code": form_code,
                "offline_mode": offline_mode,
                "compression": tenant.compression,
            },
        )
        assert row is not None  # noqa: S101 - INSERT ... DO UPDATE RETURNING always gives a row
        return int(row["id"])

    async def request_flush(self, tenant_id: int, *, now: datetime, by_upload: bool = False) -> list[int]:
        """Mark a tenant's lanes so that their present queues are due at once; return the lanes.

        The flush that an upload asks for is a part of the upload, so the audit has no row of it.
        """
        async with self._database.transaction() as connection:
            cursor = await connection.execute(_SQL["request_flush"], {"tenant_id": tenant_id, "now": now})
            lanes = [row["id"] for row in await cursor.fetchall()]
            if not by_upload:
                record(connection, act=Act.INVOICES_FLUSHED, tenant_id=tenant_id, details={"lanes": len(lanes)})
        return lanes

    async def _change(
        self,
        act: Act,
        query: str,
        parameters: Mapping[str, Any],
        *,
        key: UUID | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> int:
        """Run one statement about a tenant and record it as an act; return how many rows changed. Without any there is no act."""
        async with self._database.transaction() as connection:
            changed = (await connection.execute(_SQL[query], parameters)).rowcount
            if changed:
                named = public_id("key", key) if key is not None else None
                record(connection, act=act, tenant_id=parameters["tenant_id"], object=named, details=details)
        return changed

    def _seal(self, nip: str, credential: Mapping[str, str]) -> bytes:
        return self._box.encrypt(json.dumps(dict(credential)).encode(), credential_of(nip))


def _presented(key: str) -> tuple[UUID | None, bytes]:
    """Return the id in an API key, None in a malformed one, and the hash of its secret."""
    prefix, _, rest = key.partition("_")
    hex_id, _, secret = rest.partition("_")
    digest = hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
    if prefix != _KEY_PREFIX or not _HEX_ID.fullmatch(hex_id):
        return None, digest
    return UUID(hex=hex_id), digest


def _tenant(row: Mapping[str, Any]) -> Tenant:
    return Tenant(
        id=row["id"],
        public_id=public_id("ten", row["public_id"]),
        nip=row["nip"],
        name=row["name"],
        credential_kind=row["credential_kind"],
        compression=row["compression"],
        late_invoices=row["late_invoices"],
        created_at=row["created_at"],
        disabled_at=row["disabled_at"],
        reconcile_since=row["reconcile_since"],
    )
