"""Commands that run a process of the service, and `migrate`, which prepares its database."""

# Imports are inside the commands, so that `ksefd --help` does not load the service.
# ruff: noqa: PLC0415

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

_HOST = typer.Option(help="Address to listen on.")
_PORT = typer.Option(help="Port to listen on.", min=1, max=65_535)


class Limits(StrEnum):
    """The request limits that the sandbox enforces."""

    OFF = "off"
    TEST = "test"
    PRODUCTION = "production"


class Contract(StrEnum):
    """The version of KSeF's API that the sandbox implements."""

    V2_7 = "2.7"
    V2_9 = "2.9"


class Checks(StrEnum):
    """The checks that the sandbox makes: all, or all but the XSD."""

    FULL = "full"
    OFF = "off"


def serve(host: Annotated[str, _HOST] = "127.0.0.1", port: Annotated[int, _PORT] = 8080) -> None:
    """Run the API and the workers in one process tree.

    Without KSEFD_DATABASE_URL it starts an embedded PostgreSQL under KSEFD_DATA_DIR and migrates its schema. Ctrl-C or
    SIGTERM stops it in order; acknowledged invoices are safe even if it is killed.
    """
    from app.process.supervisor import run_serve
    from app.settings import load_settings

    raise typer.Exit(run_serve(load_settings(), host, port))


def api(host: Annotated[str, _HOST] = "127.0.0.1", port: Annotated[int, _PORT] = 8080) -> None:
    """Run the HTTP API only. Several can share one database (KSEFD_DATABASE_URL) and one blob store (KSEFD_BLOB_URL)."""
    from app.cli.local_store import settings_with_database
    from app.observability.metrics_folder import use_metrics_folder

    settings = settings_with_database()
    # This call comes before the metrics are imported, so that one `/metrics` shows the API and the workers of this machine.
    use_metrics_folder(settings)
    from app.api.serve import run_api

    run_api(settings, host, port)


def worker() -> None:
    """Run a worker only. Several can share one database (KSEFD_DATABASE_URL) and one blob store (KSEFD_BLOB_URL)."""
    from app.cli.local_store import settings_with_database
    from app.observability.metrics_folder import use_metrics_folder

    settings = settings_with_database()
    use_metrics_folder(settings)
    from workers.runtime import run_worker

    raise typer.Exit(run_worker(settings))


def sandbox(
    host: Annotated[str, _HOST] = "127.0.0.1",
    port: Annotated[int, _PORT] = 8099,
    limits: Annotated[Limits, typer.Option(help="Request limits to enforce.")] = Limits.OFF,
    validate: Annotated[Checks, typer.Option(help="'off' skips the XSD; all other rules apply.")] = Checks.FULL,
    contract: Annotated[Contract, typer.Option("--api", help="'2.7' for the older limit groups.")] = Contract.V2_9,
    state: Annotated[
        Path | None,
        typer.Option(
            help="File that keeps the state across restarts; without it, the state is in memory only.", dir_okay=False
        ),
    ] = None,
    pool: Annotated[int, typer.Option(help="Processes that check packages.", min=1, max=64)] = 1,
    record: Annotated[
        Path | None, typer.Option(help="Write every request and answer to this file as NDJSON, secrets masked.")
    ] = None,
    schemas: Annotated[
        Path | None,
        typer.Option(
            help="Folder with the official XSD files of forms besides FA(3), such as FA_RR(1).", file_okay=False
        ),
    ] = None,
    processing_delay: Annotated[
        float,
        typer.Option(help="Seconds of the sandbox's clock between the close of a session and its processing.", min=0),
    ] = 0.0,
) -> None:
    """Run the sandbox, a local KSeF for development and tests: set KSEFD_KSEF_URL=http://127.0.0.1:8099/v2."""
    from app.process.ports import require_free_port
    from sandbox.main import run_sandbox
    from sandbox.options import ApiVersion, LimitProfile, SandboxOptions, Validation

    require_free_port(host, port)
    run_sandbox(
        SandboxOptions(
            host=host,
            port=port,
            limits=LimitProfile(limits.value),
            api=ApiVersion(contract.value),
            state=state,
            record=str(record) if record else "",
            validation=Validation(validate.value),
            schemas=schemas,
            pool_processes=pool,
            processing_delay_seconds=processing_delay,
        )
    )


def migrate(
    as_json: Annotated[bool, typer.Option("--json", help='Print {"revision": ...} as one line of JSON.')] = False,
) -> None:
    """Migrate the database schema to the newest revision. A second call changes nothing; `serve` migrates by itself."""
    from app.cli.local_store import migrate_database
    from app.cli.output import print_json, stdout_console
    from app.settings import load_settings

    revision = migrate_database(load_settings())
    if as_json:
        print_json({"revision": revision})
    else:
        stdout_console().print(f"The database schema is at revision {revision}.")


COMMANDS: dict[str, Callable[..., Any]] = {
    "serve": serve,
    "api": api,
    "worker": worker,
    "sandbox": sandbox,
    "migrate": migrate,
}
