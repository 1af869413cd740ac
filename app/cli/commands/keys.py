"""`ksefd key`: the API keys of a tenant."""

# Imports stand inside the commands: `ksefd --help` must not load the database.
# ruff: noqa: PLC0415

from typing import Annotated

import typer

from app.cli.commands.tenants import AsJson, Nip

app = typer.Typer(no_args_is_help=True, help="API keys: what an ERP sends as `Authorization: Bearer <api key>`.")


@app.command("create")
def create(
    nip: Nip,
    label: Annotated[str, typer.Option(help="What the key is for, such as the name of a system.")] = "",
    as_json: Annotated[
        bool, typer.Option("--json", help='Print {"key", "nip", "api_key"} as one line of JSON.')
    ] = False,
) -> None:
    """Make a new API key and print it, this once. Older keys go on working."""
    from app.cli.actions.accounts import create_key

    create_key(nip, label=label, as_json=as_json)


@app.command("list")
def list_(nip: Nip, as_json: AsJson = False) -> None:
    """List a tenant's keys, revoked ones too: ids, labels and times, never the keys themselves."""
    from app.cli.actions.accounts import list_keys

    list_keys(nip, as_json=as_json)


@app.command("revoke")
def revoke(
    nip: Nip,
    key: Annotated[str, typer.Argument(metavar="KEY", help="The key's id (`key_...`), from `ksefd key list`.")],
    as_json: AsJson = False,
) -> None:
    """Revoke a key: within seconds the service refuses it."""
    from app.cli.actions.accounts import revoke_key

    revoke_key(nip, key, as_json=as_json)
