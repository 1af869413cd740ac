"""`ksefd auth`: logging in to KSeF."""

# Imports are inside the commands, so that `ksefd --help` does not load the KSeF client.
# ruff: noqa: PLC0415

import typer

from app.cli.commands.tenants import AsJson, Nip

app = typer.Typer(no_args_is_help=True, help="Logging in to KSeF.")


# With a single command typer would drop the command's name; the callback keeps `auth check` two words.
@app.callback()
def root() -> None:
    """Logging in to KSeF."""


@app.command("check")
def check(nip: Nip, as_json: AsJson = False) -> None:
    """Log in to KSeF with the tenant's credential and print the identity, the token's end and the permissions.

    Exits 1 with KSeF's reason when KSeF refuses the login, and 3 when KSeF cannot be reached.
    """
    from app.cli.actions.login import check_login

    check_login(nip, as_json=as_json)
