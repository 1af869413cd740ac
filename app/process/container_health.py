"""Health check of a container of the image, by the role of its first process.

The image runs it as `python -m app.process.container_health`. `serve` and `api` are asked whether they are ready, the sandbox whether
it answers. Every other command, a worker among them, listens on no port: it is well as long as it runs. Exits 1 when the answer is not
200 within four seconds.
"""

import http.client
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

_SECONDS: Final = 4.0
_ALL_ADDRESSES: Final = frozenset(("0.0.0.0", "::"))  # noqa: S104 - recognised, not listened on


class Probe(NamedTuple):
    """The address of a health check."""

    host: str
    port: int
    path: str


_ROLES: Final = {"serve": (8080, "/readyz"), "api": (8080, "/readyz"), "sandbox": (8099, "/_sandbox/health")}
"""Port without `--port`, and path, of the commands that listen."""


def probe_of(command: Sequence[str]) -> Probe | None:
    """Return the health check of a command line that has `ksefd` and its arguments, or None for one that does not listen."""
    starts = [place for place, word in enumerate(command) if Path(word).name == "ksefd"]
    arguments = command[starts[-1] + 1 :] if starts else []
    if not arguments or arguments[0] not in _ROLES:
        return None
    port, path = _ROLES[arguments[0]]
    host = _option(arguments, "--host", "127.0.0.1")
    return Probe("127.0.0.1" if host in _ALL_ADDRESSES else host, int(_option(arguments, "--port", str(port))), path)


def is_well(probe: Probe) -> bool:
    """Return whether the process answers 200."""
    connection = http.client.HTTPConnection(probe.host, probe.port, timeout=_SECONDS)
    try:
        connection.request("GET", probe.path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def main() -> int:
    """Check the first process of this container and return the exit code."""
    command = Path("/proc/1/cmdline").read_bytes().decode(errors="replace").split("\0")
    probe = probe_of([word for word in command if word])
    return 0 if probe is None or is_well(probe) else 1


def _option(arguments: Sequence[str], name: str, default: str) -> str:
    found = default
    for place, word in enumerate(arguments):
        if word.startswith(f"{name}="):
            found = word.partition("=")[2]
        elif word == name and place + 1 < len(arguments):
            found = arguments[place + 1]
    return found


if __name__ == "__main__":
    sys.exit(main())
