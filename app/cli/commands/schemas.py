"""`ksefd schema`: the official schema files of the document forms."""

# Imports are inside the commands, so that `ksefd --help` does not load the database.
# ruff: noqa: PLC0415

from pathlib import Path
from typing import Annotated

import typer

from app.cli.commands.tenants import AsJson

app = typer.Typer(
    no_args_is_help=True, help="Official schema files: the document forms that are on, and installing one."
)


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the document forms, whether each is on, and where its official schema file comes from. Needs no installation."""
    from app.cli.actions.schemas import list_schemas

    list_schemas(as_json=as_json)


@app.command("install")
def install(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The official XSD file, as the ministry publishes it.")],
    as_json: AsJson = False,
) -> None:
    """Store the official schema file of a form for all processes of the installation, after a check of its digest."""
    from app.cli.actions.schemas import install_schema

    install_schema(file, as_json=as_json)
