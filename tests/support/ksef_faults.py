"""The calls of a session to KSeF and the faults that each may meet, as the sandbox's rules for requests name them."""

from typing import Any, Final

CALLS: Final[dict[str, dict[str, str]]] = {
    "keys": {"method": "GET", "path": "^/security/public-key-certificates$"},
    "challenge": {"method": "POST", "path": "^/auth/challenge$"},
    "signature": {"method": "POST", "path": "^/auth/xades-signature$"},
    "login status": {"method": "GET", "path": r"^/auth/\d{8}-AU-"},
    "redeem": {"method": "POST", "path": "^/auth/token/redeem$"},
    "open": {"method": "POST", "path": "^/sessions/batch$"},
    "part": {"method": "PUT", "path": "/batch-parts/"},
    "close": {"method": "POST", "path": "/close$"},
    "status": {"method": "GET", "path": "^/sessions/[^/]+$"},
    "refused list": {"method": "GET", "path": "/invoices/failed$"},
    "receipt": {"method": "GET", "path": "/session-upo/"},
}

FAULTS: Final[dict[str, dict[str, Any]]] = {
    "answers 500": {"status": 500},
    "is done and answers 500": {"answer_status": 500},
    "is done and answers a 502 page": {"answer_status": 502, "body": "<html>", "content_type": "text/html"},
    "is cut before": {"cut": "before"},
    "is cut after": {"cut": "after"},
    "is cut within": {"cut": "within"},
    "answers half a body": {"spoil": "json"},
    "answers a web page": {"page": "waf"},
    "is blocked": {"page": "blocked"},
    "is called too often": {"page": "too-many-requests", "retry_after": 3},
    "answers 401": {"status": 401},
}
