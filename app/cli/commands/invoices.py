"""Commands on invoices. `validate` reads only the files; the other commands use only the service."""

# Imports are inside the commands, so that `ksefd --help` does not load the HTTP client or the checker.
# ruff: noqa: PLC0415

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print one line of JSON instead of tables.")]
Url = Annotated[str | None, typer.Option(help="Address of the service, instead of KSEFD_URL.")]
ApiKeyFile = Annotated[
    Path | None,
    typer.Option(help="File that holds the API key, instead of KSEFD_API_KEY.", exists=True, dir_okay=False),
]
Paths = Annotated[
    list[Path],
    typer.Argument(
        metavar="PATH",
        help="XML files, folders of them, .zip, .tar.gz, .tar or .ndjson; - reads one of these from standard input.",
    ),
]


class Lang(StrEnum):
    """The language of messages about invoices."""

    EN = "en"
    PL = "pl"


LangOption = Annotated[Lang, typer.Option(help="Language of the messages about invoices.")]


def submit(
    paths: Paths,
    wait: Annotated[
        bool, typer.Option("--wait", help="End when every invoice has its verdict; exit 1 if any was refused.")
    ] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="The invoices were issued in offline mode (offline24, system down).")
    ] = False,
    flush: Annotated[
        bool,
        typer.Option("--flush", help="Seal a session as soon as these invoices are read, without waiting for more."),
    ] = False,
    reference: Annotated[str | None, typer.Option(help="Your own name for the upload, shown in lists.")] = None,
    lang: LangOption = Lang.EN,
    url: Url = None,
    api_key_file: ApiKeyFile = None,
    as_json: Annotated[
        bool, typer.Option("--json", help='End with one line of JSON: {"uploads": [{"id", "counts"}]}.')
    ] = False,
) -> None:
    """Send invoices from files, folders and archives of any size.

    Each archive is one upload; all loose XML files together are one upload. After a broken connection the upload is sent
    again under the same Idempotency-Key, so no invoice comes in twice. Reads KSEFD_URL and KSEFD_API_KEY.
    """
    from app.cli.actions.submit import submit as run
    from app.cli.actions.verdicts import Language

    parameters: dict[str, str | int] = {}
    if offline:
        parameters["offline"] = "true"
    if flush:
        parameters["flush"] = "true"
    if reference is not None:
        parameters["reference"] = reference
    run(
        paths,
        wait=wait,
        parameters=parameters,
        language=Language(lang.value),
        as_json=as_json,
        url=url,
        api_key_file=api_key_file,
    )


def validate(
    paths: Paths,
    nip: Annotated[str | None, typer.Option(help="Check as this tenant; without it the seller is not checked.")] = None,
    lang: LangOption = Lang.EN,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print only the last line, with the sums, and no progress.")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html",
            help="Also write the findings to this file, in English and Polish: to keep, or for the maker of your ERP.",
        ),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help='Print {"checked", "valid", "invalid", "warnings", "documents": [...]}.'),
    ] = False,
) -> None:
    """Check invoices on this machine, by all rules and the official XSD; no data leave it.

    Exits 1 if any invoice is invalid. Errors come first, sorted by file and line; warnings are summed by rule. In a pipe and on a
    narrow terminal a finding is one line, `file:line: rule: message`. With --json, `documents` lists the invoices with findings.
    """
    from app.cli.actions.validate import validate as run
    from app.cli.actions.verdicts import Language

    run(paths, nip=nip, language=Language(lang.value), quiet=quiet, report=report, as_json=as_json)


def status(
    upload: Annotated[
        str | None,
        typer.Argument(metavar="[UPLOAD]", help="An upload's id (`upl_...`); without it, the recent uploads."),
    ] = None,
    lang: LangOption = Lang.EN,
    url: Url = None,
    api_key_file: ApiKeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Show one upload with its verdicts so far, or the recent uploads and sessions. Reads KSEFD_URL, KSEFD_API_KEY."""
    from app.cli.actions.status import show_recent, show_upload
    from app.cli.actions.verdicts import Language

    if upload is None:
        show_recent(as_json=as_json, url=url, api_key_file=api_key_file)
    else:
        show_upload(upload, language=Language(lang.value), as_json=as_json, url=url, api_key_file=api_key_file)


def upo(
    what: Annotated[
        str, typer.Argument(metavar="SESSION|INVOICE", help="Id of a session (`ses_...`) or an invoice (`inv_...`).")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="File to write, upo-ID.xml without it; several pages become FILE-1.xml, FILE-2.xml and so on; - writes "
            "one page to standard output.",
        ),
    ] = None,
    url: Url = None,
    api_key_file: ApiKeyFile = None,
    as_json: Annotated[bool, typer.Option("--json", help='Print {"files": [...]} as one line of JSON.')] = False,
) -> None:
    """Save the official receipt (UPO) of a session, or the page of the receipt that names an invoice.

    Reads KSEFD_URL and KSEFD_API_KEY. Exits 4 when there is no UPO yet.
    """
    from app.cli.actions.status import save_upo

    save_upo(what, output, as_json=as_json, url=url, api_key_file=api_key_file)


COMMANDS: dict[str, Callable[..., Any]] = {"submit": submit, "validate": validate, "status": status, "upo": upo}
