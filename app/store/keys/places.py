"""Places of encrypted values: tenant, table, row and column.

A ciphertext is bound to its place and does not open at another one.
"""

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Place:
    """The place of one encrypted value."""

    column: str
    """With its table, as in `tenants.credential`."""
    tenant: str
    row: str
    direct_purpose: str
    """What the value was bound to when it was encrypted under the master key itself, in versions without data keys."""

    @property
    def bound_to(self) -> bytes:
        """The associated data of the ciphertext. No part contains a slash."""
        return f"{self.column}/{self.tenant}/{self.row}".encode()


def credential_of(nip: str) -> Place:
    """Return the place of a tenant's credential.

    The NIP is unique and never changes, and the row's number is not known before it is written.
    """
    return Place("tenants.credential", nip, nip, f"credential:{nip}")


def tokens_of(tenant_id: int) -> Place:
    """Return the place of the tokens that a login obtained."""
    return Place("ksef_tokens.tokens", str(tenant_id), str(tenant_id), f"tokens:{tenant_id}")


def session_key_of(tenant_id: int, session_id: UUID) -> Place:
    """Return the place of a session's AES key."""
    return Place("sessions.encryption_key", str(tenant_id), str(session_id), f"session-key:{session_id}")


def upload_target_of(tenant_id: int, session_id: UUID, ordinal_number: int) -> Place:
    """Return the place of the link to which a part is sent."""
    return Place("parts.upload_target", str(tenant_id), f"{session_id}:{ordinal_number}", f"upload-target:{session_id}")


def webhook_keys_of(tenant_id: int, endpoint_id: UUID) -> Place:
    """Return the place of the keys that sign an endpoint's deliveries."""
    return Place("webhook_endpoints.secrets", str(tenant_id), str(endpoint_id), f"webhook-secret:{endpoint_id}")


def webhook_headers_of(tenant_id: int, endpoint_id: UUID) -> Place:
    """Return the place of an endpoint's own headers."""
    return Place("webhook_endpoints.headers", str(tenant_id), str(endpoint_id), f"webhook-headers:{endpoint_id}")
