"""The JSON of a session, for the API and its events."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.domain.timestamps import iso_utc
from app.store.sessions.session import Session


def session_json(session: Session, *, parts: int, upo_pages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a session as the API and its events show it, without history; `app.shapes.Session` describes it."""
    return {
        "id": session.public_id,
        "state": session.state.value,
        "reference_number": session.reference_number,
        "form_code": session.form_code,
        "offline_mode": session.offline_mode,
        "compression": session.compression,
        "invoices": session.invoices,
        "parts": parts,
        "bytes": session.package_bytes,
        "ksef_status": session.ksef_status,
        "sealed_at": iso_utc(session.sealed_at),
        "opened_at": iso_utc(session.opened_at),
        "closed_at": iso_utc(session.closed_at),
        "completed_at": iso_utc(session.completed_at),
        "counts": {
            "accepted": session.accepted,
            "rejected": session.rejected,
            "failed": session.failed,
            "requeued": session.requeued,
        },
        "upo": [
            {
                "page": page["page"],
                "reference_number": page["upo_reference_number"],
                "documents": page["documents"],
                "bytes": page["bytes"],
                "sha256": bytes(page["sha256"]).hex(),
                "href": f"/v1/sessions/{session.public_id}/upo/{page['page']}",
            }
            for page in upo_pages
        ],
    }
