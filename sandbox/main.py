"""Start of the sandbox: a function for the product's command line, and `python -m sandbox`."""

import argparse
import logging
import os
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from sandbox.app import create_app
from sandbox.options import ApiVersion, LimitProfile, SandboxOptions, Validation
from sandbox.recorder import Recorder, record_path
from sandbox.state.file import UnusableState

_KEEP_ALIVE_SECONDS = 65
_START_FAILED = 3
_ALL_ADDRESSES = frozenset(("", "0.0.0.0", "::"))  # noqa: S104 - recognised, not listened on
_DEFAULTS = SandboxOptions()
RECORD_VARIABLE = "KSEF_SANDBOX_RECORD"
"""Environment variable in place of `--record`, for programs that start the sandbox without this option."""


def run_sandbox(options: SandboxOptions) -> None:
    """Serve until SIGINT or SIGTERM; with an unusable state file the process ends at once."""
    logging.basicConfig(level=options.log_level.upper(), format="%(levelname)s %(name)s: %(message)s")
    try:
        app: ASGIApp = create_app(options)
    except UnusableState as error:
        raise SystemExit(f"{options.state}: {error}") from error
    record = options.record or os.environ.get(RECORD_VARIABLE, "")
    if record:
        app = Recorder(app, record_path(record))
    config = uvicorn.Config(
        app,
        host=options.host,
        port=options.port,
        log_level=options.log_level,
        access_log=False,
        date_header=False,  # the sandbox writes the header itself, with the time of its own clock
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=2,
    )
    server = _Server(config, announcement(options))
    with suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        raise SystemExit(_START_FAILED)


def announcement(options: SandboxOptions) -> str:
    """Return the lines that say where the sandbox listens and what a client has to be set to."""
    everywhere = options.host in _ALL_ADDRESSES
    host = f"[{options.host}]" if ":" in options.host else options.host
    address = f"http://{'127.0.0.1' if everywhere else host}:{options.port}"
    where = f"{address}/v2{', and on every other address of this machine' if everywhere else ''}"
    return (
        f"KSeF sandbox, API {options.api.value}, limits {options.limits.value}: {where}\n"
        f"Set KSEFD_KSEF_URL={address}/v2 for ksefd. Ledger: {address}/_sandbox/ledger. Ctrl-C ends it.\n"
    )


class _Server(uvicorn.Server):
    """A server that prints a text when it has begun to listen."""

    def __init__(self, config: uvicorn.Config, announced: str) -> None:
        super().__init__(config)
        self._announced = announced

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            sys.stderr.write(self._announced)
            sys.stderr.flush()


def run(host: str = _DEFAULTS.host, port: int = _DEFAULTS.port) -> None:
    """Serve on an address with every other option at its default."""
    run_sandbox(SandboxOptions(host=host, port=port))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `python -m sandbox` with its options as flags."""
    parser = argparse.ArgumentParser(prog="sandbox", description="A strict simulator of KSeF.")
    parser.add_argument("--host", default=_DEFAULTS.host)
    parser.add_argument("--port", type=int, default=_DEFAULTS.port)
    parser.add_argument("--limits", choices=list(LimitProfile), type=LimitProfile, default=_DEFAULTS.limits)
    parser.add_argument("--validate", choices=list(Validation), type=Validation, default=_DEFAULTS.validation)
    parser.add_argument("--api", choices=list(ApiVersion), type=ApiVersion, default=_DEFAULTS.api)
    parser.add_argument("--state", type=Path, help="keep everything in this file across restarts")
    parser.add_argument("--schemas", type=Path, help="folder with the XSD files of forms besides FA(3)")
    parser.add_argument("--pool", "--pool-processes", dest="pool_processes", type=int, default=_DEFAULTS.pool_processes)
    parser.add_argument("--enforce-identifiers", action="store_true", help="check NIP checksums always")
    parser.add_argument("--access-token-seconds", type=int, default=_DEFAULTS.access_token_seconds)
    parser.add_argument("--auth-delay", type=float, default=_DEFAULTS.auth_delay_seconds)
    parser.add_argument("--processing-delay", type=float, default=_DEFAULTS.processing_delay_seconds)
    parser.add_argument("--storage-delay", type=float, default=_DEFAULTS.storage_delay_seconds)
    parser.add_argument("--max-invoices", type=int, default=_DEFAULTS.max_invoices)
    parser.add_argument("--record", default=_DEFAULTS.record, help="write every request and answer here")
    parser.add_argument("--log-level", default=_DEFAULTS.log_level)
    chosen = parser.parse_args(arguments)
    run_sandbox(
        SandboxOptions(
            host=chosen.host,
            port=chosen.port,
            limits=chosen.limits,
            api=chosen.api,
            state=chosen.state,
            validation=chosen.validate,
            schemas=chosen.schemas,
            pool_processes=chosen.pool_processes,
            enforce_identifiers=chosen.enforce_identifiers,
            access_token_seconds=chosen.access_token_seconds,
            auth_delay_seconds=chosen.auth_delay,
            processing_delay_seconds=chosen.processing_delay,
            storage_delay_seconds=chosen.storage_delay,
            max_invoices=chosen.max_invoices,
            record=chosen.record,
            log_level=chosen.log_level,
        )
    )
    return 0
