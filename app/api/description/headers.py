"""Describes the headers of answers, and the answer to a client that has the content already."""

from typing import Any, Final

_TEXT: Final = {"type": "string"}
_NUMBER: Final = {"type": "integer", "minimum": 0}

HEADERS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "Location": ("Where this API shows what was created.", {"type": "string", "format": "uri-reference"}),
    "Idempotency-Replayed": ("`true` when an earlier request with this Idempotency-Key got this answer.", _TEXT),
    "Preference-Applied": ("The preferences of `Prefer` that were applied.", _TEXT),
    "RateLimit-Policy": ("Limits of the tenant's waiting work (draft-ietf-httpapi-ratelimit-headers).", _TEXT),
    "RateLimit": ("What is left of these limits.", _TEXT),
    "ETag": ("SHA-256 of the content, which never changes: send it as If-None-Match.", _TEXT),
    "Upload-Offset": ("Number of durable bytes: where the next request begins.", _NUMBER),
    "Upload-Length": ("Bytes of the whole body, if known.", _NUMBER),
    "Upload-Expires": ("When the upload is dropped unless more bytes arrive before.", _TEXT),
    "Tus-Version": ("Version of tus that is served.", _TEXT),
    "Tus-Extension": ("Its extensions that are served.", _TEXT),
    "Tus-Max-Size": ("Limit on the bytes of a body.", _NUMBER),
    "Tus-Checksum-Algorithm": ("Algorithms of `Upload-Checksum`.", _TEXT),
    "X-QR-Label": ("The text below the code: the KSeF number, or `OFFLINE`.", _TEXT),
}
"""Name -> text and schema."""

_LIMITS: Final = ("RateLimit-Policy", "RateLimit")
_OFFSETS: Final = ("Upload-Offset", "Upload-Length", "Upload-Expires")

OF_ANSWERS: Final[dict[str, tuple[str, ...]]] = {
    "createUpload": ("Location", "Idempotency-Replayed", *_LIMITS),
    "createInvoice": ("Location", "Idempotency-Replayed", "Preference-Applied", *_LIMITS),
    "createWebhook": ("Location",),
    "replayWebhook": ("Location",),
    "createResumableUpload": ("Location", "Idempotency-Replayed", *_OFFSETS, *_LIMITS),
    "appendToResumableUpload": (*_OFFSETS, *_LIMITS),
    "getResumableUploadOffset": _OFFSETS,
    "describeResumableUploads": ("Tus-Version", "Tus-Extension", "Tus-Max-Size", "Tus-Checksum-Algorithm"),
    "getInvoiceQr": ("X-QR-Label",),
    "listEvents": ("Preference-Applied",),
}
"""Headers of the success of an operation."""

IMMUTABLE: Final = frozenset({"getInvoiceXml", "getInvoiceUpo", "getSessionUpo", "getSessionUpoPage", "getUpoByLink"})
"""Operations whose content never changes, which a client may have already."""


def add_headers(description: dict[str, Any]) -> None:
    """Add the headers of answers to a description."""
    description["components"]["headers"] = {
        name: {"description": text, "schema": schema} for name, (text, schema) in HEADERS.items()
    }
    for item in description["paths"].values():
        for operation in item.values():
            name, responses = operation["operationId"], operation["responses"]
            success = next(status for status in responses if status < "3")
            headers = (*OF_ANSWERS.get(name, ()), *(["ETag"] if name in IMMUTABLE else []))
            if headers:
                responses[success]["headers"] = {
                    header: {"$ref": f"#/components/headers/{header}"} for header in headers
                }
            if name in IMMUTABLE:
                responses["304"] = {"description": "The client has this content already (If-None-Match)."}
                operation["responses"] = dict(sorted(responses.items()))
