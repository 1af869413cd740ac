"""`ksefd events`, and the options that it shares with `ksefd webhook`."""

# Imports are inside the command, so that `ksefd --help` does not load the HTTP client.
# ruff: noqa: PLC0415

from typing import Annotated

import typer

from app.cli.commands.invoices import ApiKeyFile, Url

JsonLines = Annotated[bool, typer.Option("--json", help="Print one line of JSON for each event.")]
TIME = "2026-02-01T06:00 (Polish time unless it has an offset), or 90m, 2h, 7d ago"


def events(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for more, until Ctrl-C.")] = False,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help=f"Start: {TIME}. Without it, a day ago; with --follow, now.")
    ] = None,
    after: Annotated[str | None, typer.Option(metavar="EVENT", help="Start after this event (`evt_...`).")] = None,
    types: Annotated[
        list[str] | None,
        typer.Option("--types", metavar="TYPE", help="Only these types; repeated or separated by commas."),
    ] = None,
    url: Url = None,
    api_key_file: ApiKeyFile = None,
    as_json: JsonLines = False,
) -> None:
    """Print the events that webhooks get, oldest first. Reads KSEFD_URL and KSEFD_API_KEY."""
    from app.cli.actions.event_pull import show_events

    show_events(
        follow=follow,
        since=since,
        cursor=after,
        types=split_types(types),
        as_json=as_json,
        url=url,
        api_key_file=api_key_file,
    )


def split_types(given: list[str] | None) -> list[str] | None:
    """Split values at commas; None without any value."""
    names = [name.strip() for item in given or () for name in item.split(",") if name.strip()]
    return names or None
