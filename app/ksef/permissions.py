"""A context's permissions at KSeF; so far only the permission to send attachments.

Source: KSeF API 2.9, GET /permissions/attachments/status.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from pydantic import WrapValidator

from app.ksef.answers import Answer
from app.ksef.models import KsefModel, OptionalTime, read_model
from app.ksef.transport import Call, LimitGroup

ATTACHMENTS = Call(LimitGroup.OTHER, "GET", "/permissions/attachments/status", frozenset({200}))


@dataclass(frozen=True, slots=True)
class AttachmentConsent:
    """Consent to send invoices with attachments. `allowed` is None when KSeF's answer does not have it.

    `ends_at` is the end of the consent, in the future or the past; None when no end is known.
    """

    allowed: bool | None
    ends_at: datetime | None


def _bool_or_none(value: object, _validate: object) -> bool | None:
    return value if isinstance(value, bool) else None


class _Status(KsefModel):
    """The answer (CheckAttachmentPermissionStatusResponse), in which neither member is required."""

    is_attachment_allowed: Annotated[bool | None, WrapValidator(_bool_or_none)] = None
    revoked_date: OptionalTime = None


def read_attachment_consent(answer: Answer) -> AttachmentConsent:
    """Read whether a context may send attachments now."""
    status = read_model(answer, _Status)
    return AttachmentConsent(status.is_attachment_allowed, status.revoked_date)
