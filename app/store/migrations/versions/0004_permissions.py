"""Permissions of a tenant to send, as KSeF reports them.

Runs before the code. Revises 0003.
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema forward."""
    op.execute(
        """
CREATE TABLE ksef_permissions (
    tenant_id integer PRIMARY KEY REFERENCES tenants,
    -- NULL: not known.
    attachments_allowed boolean,
    -- When the consent ends, or when it ended, as KSeF says it.
    attachments_end_at timestamptz,
    -- Why KSeF does not tell; NULL when it does, or was not asked.
    refused text,
    fetched_at timestamptz,
    asked_at timestamptz,
    ask_after timestamptz NOT NULL,
    -- When an attachment was refused last, here or by KSeF.
    wanted_at timestamptz
);
"""
    )
