"""Examples of requests and answers, by the id of the operation. A test holds each to its schema."""

from typing import Any, Final

_UPLOAD_ID: Final = "upl_0190f5a2c4e17b6b8a0d2c9e4f1a7b35"
_INVOICE_ID: Final = "inv_0190f5a2d0437c5e9b1f3a6d8c2e4f70"
_SESSION_ID: Final = "ses_0190f5a2e91b7d4a8c6e0b2f5a9d3c18"
_WEBHOOK_ID: Final = "whk_3f9d1c7e5b8a4f60a2d4c6e8b0f1a3d5"
_SHA256: Final = "9f2feb0f1ef425b292f2f94bdfc0a1a5b8b6f2a6a5a3e1a0b7d5b8e6c4a2f013"
_KSEF_NUMBER: Final = "9999999999-20261122-0A1B2C3D4E5F-A7"
_TIME: Final = "2026-11-22T19:01:04.250Z"
_LATER: Final = "2026-11-22T19:03:41.118Z"

_UPLOAD: Final[dict[str, Any]] = {
    "id": _UPLOAD_ID,
    "state": "received",
    "bytes": 4194304,
    "sha256": _SHA256,
    "repeat_of": None,
    "reference": "night-1",
    "counts": {},
    "errors": [],
    "created_at": _TIME,
    "completed_at": None,
    "links": {
        "self": f"/v1/uploads/{_UPLOAD_ID}",
        "invoices": f"/v1/uploads/{_UPLOAD_ID}/invoices",
        "results": f"/v1/uploads/{_UPLOAD_ID}/results",
    },
}
_READ_UPLOAD: Final = _UPLOAD | {
    "state": "completed",
    "counts": {"accepted": 998, "invalid": 2},
    "completed_at": _LATER,
}
_FINDING: Final[dict[str, Any]] = {
    "rule": "xsd-bad-value",
    "severity": "error",
    "message": '"PLNN" is not allowed; allowed: PLN, EUR, ...',
    "message_pl": "„PLNN” nie jest dozwolone; dozwolone: PLN, EUR, ...",
    "line": 41,
    "path": "/Faktura/Fa/KodWaluty",
}
_INVOICE: Final[dict[str, Any]] = {
    "id": _INVOICE_ID,
    "state": "accepted",
    "name": "FV-2026-11-0001.xml",
    "number": "FV/2026/11/0001",
    "seller_nip": "9999999999",
    "kind": "VAT",
    "issue_date": "2026-11-22",
    "sha256": _SHA256,
    "size": 3871,
    "upload": _UPLOAD_ID,
    "session": _SESSION_ID,
    "ksef_number": _KSEF_NUMBER,
    "acquired_at": _LATER,
    "invoicing_mode": "Online",
    "findings": [],
    "duplicate_of": None,
}
_INVOICE_LINKS: Final = {
    "self": f"/v1/invoices/{_INVOICE_ID}",
    "xml": f"/v1/invoices/{_INVOICE_ID}/xml",
    "upo": f"/v1/invoices/{_INVOICE_ID}/upo",
    "qr": f"/v1/invoices/{_INVOICE_ID}/qr",
}
_WEBHOOK: Final[dict[str, Any]] = {
    "id": _WEBHOOK_ID,
    "url": "https://erp.example/ksef",
    "description": "accounting",
    "events": ["invoices.accepted", "invoices.rejected"],
    "signing": "hmac",
    "public_keys": [],
    "ordering": "none",
    "max_concurrency": 10,
    "headers": {},
    "created_at": _TIME,
    "disabled_at": None,
    "disabled_reason": None,
    "failing_since": None,
}

REQUESTS: Final[dict[str, Any]] = {
    "createWebhook": {
        "url": "https://erp.example/ksef",
        "events": ["invoices.accepted", "invoices.rejected"],
        "description": "accounting",
    },
    "updateWebhook": {"disabled": False},
    "replayWebhook": {"since": "2026-11-21T08:00:00Z", "types": ["invoices.accepted"]},
    "rotateWebhookSecret": {"signing": "ed25519"},
}
"""Body of a request, by operation."""

ANSWERS: Final[dict[str, tuple[str, Any]]] = {
    "createUpload": ("202", _UPLOAD),
    "getUpload": ("200", _READ_UPLOAD),
    "listUploads": ("200", {"items": [_READ_UPLOAD], "next": None}),
    "createInvoice": ("202", {"id": _INVOICE_ID, "sha256": _SHA256, "links": _INVOICE_LINKS}),
    "getInvoice": (
        "200",
        _INVOICE
        | {
            "history": [{"at": _TIME, "action": "receive", "outcome": "done", "detail": {}}],
            "links": _INVOICE_LINKS,
        },
    ),
    "listInvoices": ("200", {"items": [_INVOICE], "next": None}),
    "validateInvoice": ("200", {"valid": False, "findings": [_FINDING]}),
    "createWebhook": ("201", _WEBHOOK | {"secret": "whsec_EXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAM", "public_key": None}),
    "getWebhook": ("200", _WEBHOOK),
    "listWebhooks": ("200", {"items": [_WEBHOOK], "next": None}),
    "flushInvoices": ("202", {"lanes": 1, "queued": 240}),
}
"""Status and body of an answer, by operation."""


def add_examples(description: dict[str, Any]) -> None:
    """Add the examples to the operations of a description."""
    for item in description["paths"].values():
        for operation in item.values():
            name = operation["operationId"]
            if name in REQUESTS:
                operation["requestBody"]["content"]["application/json"]["example"] = REQUESTS[name]
            if name in ANSWERS:
                status, answer = ANSWERS[name]
                operation["responses"][status]["content"]["application/json"]["example"] = answer
