"""One TLS context for the HTTP clients of a test process: reading the list of authorities takes longer than most tests."""

import ssl
from functools import cache
from typing import Any

from httpx._transports import default as transports


def share_tls_contexts() -> None:
    """Have every httpx client that asks for the usual verification use the same context."""
    make = vars(transports)["create_ssl_context"]

    @cache
    def usual(trust_env: bool) -> ssl.SSLContext:
        made: ssl.SSLContext = make(verify=True, trust_env=trust_env)
        return made

    def shared(verify: Any = True, cert: Any = None, trust_env: bool = True) -> Any:
        return usual(trust_env) if verify is True and cert is None else make(verify, cert, trust_env)

    vars(transports)["create_ssl_context"] = shared
