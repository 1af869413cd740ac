"""Entity tags of content that never changes, and the answer to a client that has it already (RFC 9110, section 13)."""

import re
from collections.abc import Mapping
from typing import Final

from fastapi import Request
from fastapi.responses import Response

_TAG: Final = re.compile(r'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')


def kept_by_client(digest: bytes) -> Mapping[str, str]:
    """Return the headers of immutable content with this SHA-256, which only the client itself may keep."""
    return {
        "ETag": f'"{digest.hex()}"',
        "Cache-Control": "private, max-age=3600, immutable",
        # An address works with the keys of one tenant only.
        "Vary": "Authorization",
    }


def answer_unchanged(request: Request, digest: bytes) -> Response | None:
    """Return the answer 304 when `If-None-Match` has the tag of the content, else None."""
    text = ",".join(request.headers.getlist("if-none-match"))
    if not text:
        return None
    headers = kept_by_client(digest)
    if text.strip() == "*" or headers["ETag"] in _TAG.findall(text):
        return Response(status_code=304, headers=dict(headers))
    return None
