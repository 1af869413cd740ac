"""`ksefd tenant`: the taxpayers who send through this installation."""

# Imports are inside the commands, so that `ksefd --help` does not load the database.
# ruff: noqa: PLC0415

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Tenants: taxpayers with a NIP, a credential for KSeF and API keys.")

_FILE = {"exists": True, "dir_okay": False, "readable": True}
Nip = Annotated[str, typer.Argument(metavar="NIP", help="The tenant's NIP: ten digits.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one line of JSON instead of a table.")]


class Compression(StrEnum):
    """The compression of a tenant's packages."""

    ZIP = "zip"
    TARGZ = "targz"


class Late(StrEnum):
    """The treatment of invoices that could not be sent on the day of their issue date."""

    SEND = "send"
    HOLD = "hold"


@app.command("add")
def add(
    nip: Nip,
    name: Annotated[
        str, typer.Option(help="The tenant's name, shown in lists and written in a self-signed certificate.")
    ],
    self_signed: Annotated[
        bool, typer.Option("--self-signed", help="Create a certificate; only KSeF's test environment accepts it.")
    ] = False,
    ksef_token: Annotated[
        Path | None, typer.Option("--ksef-token-file", help="File that holds a KSeF token.", **_FILE)
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(help="Certificate to log in with: PEM, DER or PKCS#12.", **_FILE)
    ] = None,
    key: Annotated[
        Path | None, typer.Option(help="The certificate's private key, when it is in a file of its own.", **_FILE)
    ] = None,
    password_file: Annotated[
        Path | None, typer.Option(help="File that holds the password of the key or the PKCS#12 file.", **_FILE)
    ] = None,
    compression: Annotated[
        Compression, typer.Option(help="Compression of its packages; KSeF recommends targz for large ones.")
    ] = Compression.ZIP,
    as_json: Annotated[
        bool, typer.Option("--json", help='Print {"tenant", "nip", "api_key"} as one line of JSON.')
    ] = False,
) -> None:
    """Add a tenant and print its id and a new API key, which cannot be shown again.

    Give exactly one of --self-signed, --ksef-token-file and --certificate. The credential is encrypted at rest.
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
    """Show one tenant: its kind of credential for KSeF, and its API keys. Secrets are never shown."""
    from app.cli.actions.accounts import show_tenant

    show_tenant(nip, as_json=as_json)


@app.command("disable")
def disable(nip: Nip, as_json: AsJson = False) -> None:
    """Refuse the tenant's API keys and open no more sessions for it; sessions at KSeF are still tracked."""
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
    """Choose between sending and holding invoices that came on the day of their issue date (P_1) but could not be sent on it.

    KSeF marks such an invoice as offline. An invoice that waits is released or withdrawn through the API.
    """
    from app.cli.actions.accounts import set_late_invoices

    set_late_invoices(nip, choice=choice.value, as_json=as_json)
