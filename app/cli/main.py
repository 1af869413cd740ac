"""Entry point of `ksefd`: the tree of commands, and the conversion of errors to an error line and an exit code."""

import inspect
import os
import sys
import traceback
from typing import Annotated

import typer

from app import __version__
from app.cli import exit_codes
from app.cli.commands import (
    audit,
    auth,
    backup,
    demo,
    events,
    invoices,
    keys,
    master_key,
    outage,
    processes,
    schemas,
    tenants,
    webhooks,
)
from app.cli.output import OutputClosed, drop_output, flush_output, prepare_streams, print_error
from app.errors import DispatchError
from app.store.data_folder import restrict_new_files

app = typer.Typer(
    name="ksefd",
    help="Send FA(3) invoices to KSeF in bulk, and follow each one to its verdict.",
    epilog=exit_codes.EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

SERVICE, ACCOUNTS, INVOICES, EVENTS = "Running the service", "Tenants and access", "Invoices", "Events"

for _name, _run in processes.COMMANDS.items():
    app.command(_name, rich_help_panel=SERVICE)(_run)
for _name, _run in backup.COMMANDS.items():
    app.command(_name, rich_help_panel=SERVICE)(_run)
app.add_typer(outage.app, name="outage", rich_help_panel=SERVICE)
app.add_typer(schemas.app, name="schema", rich_help_panel=SERVICE)
app.command("demo", rich_help_panel=SERVICE)(demo.demo)
app.add_typer(tenants.app, name="tenant", rich_help_panel=ACCOUNTS)
app.add_typer(keys.app, name="key", rich_help_panel=ACCOUNTS)
app.add_typer(auth.app, name="auth", rich_help_panel=ACCOUNTS)
app.command("audit", rich_help_panel=ACCOUNTS)(audit.audit)
app.add_typer(master_key.app, name="master-key", rich_help_panel=SERVICE)
for _name, _run in invoices.COMMANDS.items():
    app.command(_name, rich_help_panel=INVOICES)(_run)
app.add_typer(webhooks.app, name="webhook", rich_help_panel=EVENTS)
app.command("events", rich_help_panel=EVENTS)(events.events)


def _join_lines(tree: typer.Typer) -> None:
    """Let help texts flow: typer would keep the line ends that a docstring has in the source."""
    for group in tree.registered_groups:
        if group.typer_instance is not None:
            _join_lines(group.typer_instance)
    for command in tree.registered_commands:
        text = inspect.getdoc(command.callback) or ""
        command.help = "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


_join_lines(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"ksefd {__version__}\n")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Send FA(3) invoices to KSeF in bulk, and follow each one to its verdict."""


def main() -> None:
    """Run the command line and exit. An error is printed as one red line, with a documented exit code and no traceback.

    KSEFD_LOG_LEVEL=DEBUG adds the traceback.
    """
    restrict_new_files()
    prepare_streams()
    try:
        code = _end()
        flush_output()
    except OutputClosed:
        drop_output()
        code = exit_codes.OUTPUT_CLOSED
    except OSError as error:
        # A full disk: what is still buffered cannot be written at the exit, either.
        drop_output()
        print_error(f"the output cannot be written: {error.strerror}")
        code = exit_codes.UNEXPECTED
    sys.exit(code)


def _end() -> int | str | None:
    streams = sys.stdout, sys.stderr
    try:
        app(prog_name="ksefd")
    except SystemExit as end:
        if (sys.stdout, sys.stderr) != streams:
            # Typer replaces them when a pipe was closed, and nowhere else; its exit code would be a verdict's.
            sys.stdout, sys.stderr = streams
            raise OutputClosed from end
        return end.code
    except OutputClosed:
        raise
    except DispatchError as error:
        _show_traceback_if_wanted()
        print_error(error.detail)
        return exit_codes.exit_code_of(error)
    except KeyboardInterrupt:
        return exit_codes.INTERRUPTED
    except Exception as error:
        _show_traceback_if_wanted()
        print_error(
            f"unexpected failure: {type(error).__name__}: {error}; KSEFD_LOG_LEVEL=DEBUG shows where it comes from"
        )
        return exit_codes.UNEXPECTED
    return exit_codes.OK


def _show_traceback_if_wanted() -> None:
    # Read the environment itself, because reading the settings may be the step that failed.
    if os.environ.get("KSEFD_LOG_LEVEL", "").upper() == "DEBUG":
        traceback.print_exc()


if __name__ == "__main__":
    main()
