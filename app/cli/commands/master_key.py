"""`ksefd master-key`: the key that encrypts the data keys of the installation."""

# Imports are inside the commands, so that `ksefd --help` does not load the database.
# ruff: noqa: PLC0415

from pathlib import Path
from typing import Annotated

import typer

from app.cli.commands.tenants import AsJson

app = typer.Typer(no_args_is_help=True, help="The master key, without which no secret in the database can be read.")


@app.callback()
def group() -> None:
    """Keep `rotate` a command of its own, although it is the only one."""


@app.command("rotate")
def rotate(
    new_key_file: Annotated[
        Path, typer.Option("--new-key-file", metavar="FILE", help="The new key: 32 bytes, in hex or base64.")
    ],
    as_json: AsJson = False,
) -> None:
    """Change the master key while the service runs. After a kill, run it again with the same file: it goes on.

    The key file in use is replaced, and the old one is kept as NAME.old. On other machines put the new file there before the next start.
    """
    from app.cli.actions.master_key import rotate_master_key

    rotate_master_key(new_key_file, as_json=as_json)
