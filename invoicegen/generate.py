"""`python -m invoicegen.generate`: write many valid invoices into an archive, with a progress bar."""

import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from invoicegen.invoices import (
    GeneratedInvoice,
    generate_invoices,
    write_folder,
    write_ndjson,
    write_targz,
    write_zip,
)

DEFAULT_NIP = "5265877635"
_STEP = 100


class Format(StrEnum):
    """The format of the output."""

    ZIP = "zip"
    TARGZ = "targz"
    NDJSON = "ndjson"
    FOLDER = "folder"


class Profile(StrEnum):
    """The kinds and sizes of the invoices."""

    MIXED = "mixed"
    SMALL = "small"
    LARGE = "large"


_WRITERS: dict[Format, Callable[[Path, Iterable[GeneratedInvoice]], int]] = {
    Format.ZIP: write_zip,
    Format.TARGZ: write_targz,
    Format.NDJSON: write_ndjson,
    Format.FOLDER: write_folder,
}


def main(
    out: Annotated[Path, typer.Option(help="File (or folder) to write.")],
    count: Annotated[int, typer.Option(min=1, help="Number of invoices.")] = 10_000,
    profile: Annotated[Profile, typer.Option(help="mixed: about 4 KB; small: about 2 KB; large: up to 900 KB.")] = (
        Profile.MIXED
    ),
    seed: Annotated[
        int,
        typer.Option(min=0, help="Seed of the random choices; another seed gives other invoices with other numbers."),
    ] = 1,
    start: Annotated[int, typer.Option(min=0, help="Index of the first invoice.")] = 0,
    nip: Annotated[str, typer.Option(help="NIP of the seller.")] = DEFAULT_NIP,
    issue_date: Annotated[datetime | None, typer.Option("--date", formats=["%Y-%m-%d"], help="P_1; today.")] = None,
    archive: Annotated[Format, typer.Option("--format", help="Format of the output.")] = Format.ZIP,
    attachments: Annotated[bool, typer.Option(help="Let some invoices have an attachment (Zalacznik).")] = True,
) -> None:
    """Write valid FA(3) invoices, all different, and print the rate per second."""
    day = (issue_date or datetime.now(ZoneInfo("Europe/Warsaw"))).date()
    try:
        invoices = generate_invoices(
            count, seller_nip=nip, issue_date=day, seed=seed, start=start, profile=profile, attachments=attachments
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    console = Console(stderr=True)
    sizes = array("L")
    kinds: Counter[str] = Counter()
    columns = (TextColumn("invoices"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("invoices", total=count)

        def watched() -> Iterator[GeneratedInvoice]:
            for made, invoice in enumerate(invoices, 1):
                sizes.append(len(invoice.xml))
                kinds[invoice.kind] += 1
                yield invoice
                if made % _STEP == 0 or made == count:
                    progress.update(task, completed=made)

        started = time.perf_counter()
        _WRITERS[archive](out, watched())
        seconds = time.perf_counter() - started
    ordered = sorted(sizes)
    shares = ", ".join(f"{kind} {number}" for kind, number in kinds.most_common())
    console.print(f"{count} invoices in {seconds:.2f} s, {count / seconds:,.0f} a second, written to {out}")
    console.print(
        f"XML {sum(sizes) / 1e6:,.1f} MB; bytes each: least {ordered[0]:,}, median {ordered[count // 2]:,}, "
        f"mean {sum(sizes) // count:,}, 99 % up to {ordered[int(0.99 * (count - 1))]:,}, most {ordered[-1]:,}"
    )
    console.print(f"kinds: {shares}")


if __name__ == "__main__":
    typer.run(main)
