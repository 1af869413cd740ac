"""`ksefd key`: the API keys of a tenant."""

# Imports are inside the commands, so that `ksefd --help` does not load the database.
# ruff: noqa: PLC0415

from typing import Annotated

import typer

from app.cli.commands.tenants import AsJson, Nip

app = typer.Typer(no_args_is_help=True, help="API keys, which an ERP sends as `Authorization: Bearer <api key>`.")


@app.command("create")
def create(
    nip: Nip,
    label: Annotated[str, typer.Option(help="The purpose of the key, such as the name of a system.")] = "",
    as_json: Annotated[
        bool, typer.Option("--json", help='Print {"key", "nip", "api_key"} as one line of JSON.')
    ] = False,
) -> None:
    """Create an API key and print it; it cannot be printed again. Older keys stay valid."""
    from app.cli.actions.accounts import create_key

    create_key(nip, label=label, as_json=as_json)


@app.command("list")
def list_(nip: Nip, as_json: AsJson = False) -> None:
    """List a tenant's keys, including revoked ones: ids, labels and times, without the keys themselves."""
    from app.cli.actions.accounts import list_keys

    list_keys(nip, as_json=as_json)


@app.command("revoke")
def revoke(
    nip: Nip,
    key: Annotated[str, typer.Argument(metavar="KEY", help="The key's id (`key_...`), from `ksefd key list`.")],
    as_json: AsJson = False,
) -> None:
    """Revoke a key. The service refuses it within seconds."""
    from app.cli.actions.accounts import revoke_key

    revoke_key(nip, key, as_json=as_json)
