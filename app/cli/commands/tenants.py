"""`ksefd tenant`: the taxpayers who send through this installation."""

# Imports stand inside the commands: `ksefd --help` must not load the database.
# ruff: noqa: PLC0415

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Tenants: a NIP each, with its credential for KSeF and its API keys.")

_FILE = {"exists": True, "dir_okay": False, "readable": True}
Nip = Annotated[str, typer.Argument(metavar="NIP", help="The tenant's NIP: ten digits.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one line of JSON instead of a table.")]


class Compression(StrEnum):
    """How a tenant's packages are compressed."""

    ZIP = "zip"
    TARGZ = "targz"


class Late(StrEnum):
    """What becomes of invoices that miss the day of their issue date."""

    SEND = "send"
    HOLD = "hold"


@app.command("add")
def add(
    nip: Nip,
    name: Annotated[str, typer.Option(help="A name for people: in lists, and in a self-signed certificate.")],
    self_signed: Annotated[
        bool, typer.Option("--self-signed", help="Make a certificate; only KSeF's test environment takes it.")
    ] = False,
    ksef_token: Annotated[
        Path | None, typer.Option("--ksef-token-file", help="File that holds a KSeF token.", **_FILE)
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(help="Certificate to log in with: PEM, DER or PKCS#12.", **_FILE)
    ] = None,
    key: Annotated[
        Path | None, typer.Option(help="Its private key, when it is not in the certificate file.", **_FILE)
    ] = None,
    password_file: Annotated[
        Path | None, typer.Option(help="File that holds the password of the key or the PKCS#12 file.", **_FILE)
    ] = None,
    compression: Annotated[
        Compression, typer.Option(help="Form of its packages; KSeF recommends targz for large ones.")
    ] = Compression.ZIP,
    as_json: Annotated[
        bool, typer.Option("--json", help='Print {"tenant", "nip", "api_key"} as one line of JSON.')
    ] = False,
) -> None:
    """Add a tenant and print its id and a new API key, which is shown this once.

    Give exactly one of --self-signed, --ksef-token-file and --certificate. What it holds is encrypted at rest.
    """
    from app.cli.actions.accounts import add_tenant
    from app.cli.actions.credentials import CredentialSource

    source = CredentialSource(self_signed, ksef_token, certificate, key, password_file)
    add_tenant(nip, name=name, source=source, compression=compression.value, as_json=as_json)


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List all tenants in the order in which they were added."""
    from app.cli.actions.accounts import list_tenants

    list_tenants(as_json=as_json)


@app.command("show")
def show(nip: Nip, as_json: AsJson = False) -> None:
    """Show one tenant: how it logs in to KSeF, and its API keys. Secrets are never shown."""
    from app.cli.actions.accounts import show_tenant

    show_tenant(nip, as_json=as_json)


@app.command("disable")
def disable(nip: Nip, as_json: AsJson = False) -> None:
    """Refuse the tenant's API keys and open no more sessions for it; what KSeF has is still tracked."""
    from app.cli.actions.accounts import set_disabled

    set_disabled(nip, disabled=True, as_json=as_json)


@app.command("enable")
def enable(nip: Nip, as_json: AsJson = False) -> None:
    """Undo `disable`."""
    from app.cli.actions.accounts import set_disabled

    set_disabled(nip, disabled=False, as_json=as_json)


@app.command("late")
def late(
    nip: Nip,
    choice: Annotated[
        Late, typer.Argument(help="send: as offline invoices, with a warning. hold: keep them until you decide.")
    ],
    as_json: AsJson = False,
) -> None:
    """Choose what becomes of invoices that came on the day of their issue date (P_1) and could not be sent on it.

    KSeF marks such an invoice as offline. What is held is released or withdrawn through the API.
    """
    from app.cli.actions.accounts import set_late_invoices

    set_late_invoices(nip, choice=choice.value, as_json=as_json)
