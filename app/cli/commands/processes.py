"""Commands that run a process of the service, and the one that prepares its database."""

# Imports stand inside the commands: `ksefd --help` must not load the service.
# ruff: noqa: PLC0415

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

_HOST = typer.Option(help="Address to listen on.")
_PORT = typer.Option(help="Port to listen on.", min=1, max=65_535)


class Limits(StrEnum):
    """Which request limits the stand-in enforces."""

    OFF = "off"
    TEST = "test"
    PRODUCTION = "production"


class Contract(StrEnum):
    """Which version of the contract the stand-in speaks."""

    V2_7 = "2.7"
    V2_9 = "2.9"


class Checks(StrEnum):
    """Whether the stand-in validates documents against the XSD."""

    FULL = "full"
    OFF = "off"


def serve(host: Annotated[str, _HOST] = "127.0.0.1", port: Annotated[int, _PORT] = 8080) -> None:
    """Run the API and the workers in one process tree.

    Without KSEFD_DATABASE_URL it starts a PostgreSQL of its own under KSEFD_DATA_DIR and brings its schema up to
    date. Ctrl-C or SIGTERM ends it in order; nothing that was acknowledged is lost either way.
    """
    from app.process.supervisor import run_serve
    from app.settings import load_settings

    raise typer.Exit(run_serve(load_settings(), host, port))


def api(host: Annotated[str, _HOST] = "127.0.0.1", port: Annotated[int, _PORT] = 8080) -> None:
    """Run the HTTP API only; any number on one database (KSEFD_DATABASE_URL) and one blob store (KSEFD_BLOB_URL)."""
    from app.cli.local_store import settings_with_database
    from app.observability.metrics_folder import use_metrics_folder

    settings = settings_with_database()
    # Before the metrics are imported: so that one `/metrics` shows the API and the workers of this machine.
    use_metrics_folder(settings)
    from app.api.serve import run_api

    run_api(settings, host, port)


def worker() -> None:
    """Run a worker only; any number on one database (KSEFD_DATABASE_URL) and one blob store (KSEFD_BLOB_URL)."""
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
    validate: Annotated[Checks, typer.Option(help="'off' leaves out the XSD; every other rule stays.")] = Checks.FULL,
    contract: Annotated[Contract, typer.Option("--api", help="'2.7' for the older limit groups.")] = Contract.V2_9,
    state: Annotated[
        Path | None,
        typer.Option(help="Keep everything in this file across restarts; without it, in memory only.", dir_okay=False),
    ] = None,
    pool: Annotated[int, typer.Option(help="Processes that judge packages.", min=1, max=64)] = 1,
    record: Annotated[
        Path | None, typer.Option(help="Write every request and answer to this file as NDJSON, secrets masked.")
    ] = None,
    processing_delay: Annotated[
        float, typer.Option(help="Seconds, by its own clock, that a closed session waits for its turn.", min=0)
    ] = 0.0,
) -> None:
    """Run a stand-in for KSeF to develop and test against: set KSEFD_KSEF_URL=http://127.0.0.1:8099/v2."""
    from sandbox.main import run_sandbox
    from sandbox.options import ApiVersion, LimitProfile, SandboxOptions, Validation

    run_sandbox(
        SandboxOptions(
            host=host,
            port=port,
            limits=LimitProfile(limits.value),
            api=ApiVersion(contract.value),
            state=state,
            record=str(record) if record else "",
            validation=Validation(validate.value),
            pool_processes=pool,
            processing_delay_seconds=processing_delay,
        )
    )


def migrate(
    as_json: Annotated[bool, typer.Option("--json", help='Print {"revision": ...} as one line of JSON.')] = False,
) -> None:
    """Bring the database schema up to date. A second call changes nothing; `serve` does it by itself."""
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
