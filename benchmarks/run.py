"""`make bench`, `python -m benchmarks.run`: measures each figure with a goal in DESIGN, and its yardstick, in one run."""

import json
import logging
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from app.cli.demo.processes import term_as_interrupt
from benchmarks.measure import Figure, MeasurementFailed, Say, Scale
from benchmarks.measure_commit import measure_commit
from benchmarks.measure_curve import measure_curve
from benchmarks.measure_latency import measure_latency
from benchmarks.measure_memory import measure_memory
from benchmarks.measure_packing import measure_packing
from benchmarks.measure_pipeline import measure_pipeline
from benchmarks.measure_raw import measure_raw
from benchmarks.measure_restart import measure_restart
from benchmarks.measure_service import on_two_cores
from benchmarks.measure_stages import measure_stages
from benchmarks.measure_way import measure_way
from benchmarks.measure_webhooks import measure_webhooks

RESULTS = Path(__file__).parent / "results"


class Name(StrEnum):
    """The measurements, in the order in which they run."""

    PIPELINE = "pipeline"
    WAY = "way"
    RAW = "raw"
    COMMIT = "commit"
    PACKING = "packing"
    MEMORY = "memory"
    LATENCY = "latency"
    WEBHOOKS = "webhooks"
    RESTART = "restart"
    STAGES = "stages"
    CURVE = "curve"


MEASUREMENTS: dict[Name, Callable[[Scale, Say], list[Figure]]] = {
    Name.PIPELINE: measure_pipeline,
    Name.WAY: measure_way,
    Name.RAW: measure_raw,
    Name.COMMIT: measure_commit,
    Name.PACKING: measure_packing,
    Name.MEMORY: measure_memory,
    Name.LATENCY: measure_latency,
    Name.WEBHOOKS: measure_webhooks,
    Name.RESTART: measure_restart,
    Name.STAGES: measure_stages,
    Name.CURVE: measure_curve,
}


def main(
    only: Annotated[list[Name] | None, typer.Option(help="Only this measurement; may be repeated.")] = None,
    quick: Annotated[
        bool, typer.Option(help="Smaller sizes: about a minute and a half; goals of full size are not decided.")
    ] = False,
    full: Annotated[
        bool, typer.Option(help="The sizes of the goals: 100,000 and 1,000,000 invoices, 2 GB; takes hours.")
    ] = False,
    count: Annotated[int | None, typer.Option(min=100, help="Invoices of the pipeline, a round.")] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Rounds of the pipeline and of packing.")] = None,
    upload_bytes: Annotated[int | None, typer.Option(min=1_000_000, help="XML bytes of the large upload.")] = None,
    seconds: Annotated[float | None, typer.Option(min=1, help="How long single posts are sent.")] = None,
    in_flight: Annotated[int | None, typer.Option(min=2_000, help="Invoices under way at the kill.")] = None,
    largest: Annotated[int | None, typer.Option(min=1_000, help="Invoices of the cost curve's largest upload.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write all numbers to benchmarks/results/ too.")] = False,
) -> None:
    """Measure the service against its goals and print one table. Exit code 1 means that a measurement failed."""
    asked: dict[str, Any] = {
        "count": count, "rounds": rounds, "upload_bytes": upload_bytes, "seconds": seconds, "in_flight": in_flight,
        "largest": largest,
    }  # fmt: skip
    scale = Scale().full() if full else Scale().quick() if quick else Scale()
    scale = replace(scale, **{name: value for name, value in asked.items() if value is not None})
    names = [name for name in Name if not only or name in only]
    _be_quiet()
    console = Console()
    started = time.monotonic()
    with term_as_interrupt(), on_two_cores() as cores:
        figures, failures = measure_all(names, scale, console)
        about = _about(cores, scale)
    console.print(figures_table(figures, failures))
    about["seconds"] = round(time.monotonic() - started, 1)
    console.print(
        f"{cores} cores, {about['machine']}; load {about['load']} at the end; {about['seconds']:.0f} s in all",
        style="dim",
    )
    if as_json:
        console.print(
            f"written to {write_results(figures, failures, about)}", style="dim", markup=False, soft_wrap=True
        )
    if failures:
        raise typer.Exit(1)


def measure_all(names: Sequence[Name], scale: Scale, console: Console) -> tuple[list[Figure], dict[str, str]]:
    """Run the measurements; a failed one is reported and does not stop the others."""
    started = time.monotonic()
    figures: list[Figure] = []
    failures: dict[str, str] = {}
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("", total=None)

        def say(text: str) -> None:
            progress.update(task, description=text)
            if not console.is_terminal:
                console.print(f"{time.monotonic() - started:5.0f} s  {text}", style="dim", markup=False)

        for name in names:
            try:
                found = MEASUREMENTS[name](scale, say)
            except Exception as error:
                # Any error of one measurement must not cost the figures of the others.
                first = _first(error)
                known = isinstance(first, MeasurementFailed)
                failures[name.value] = str(first) if known else f"{type(first).__name__}: {first}"
                console.print(Text(f"{name.value} failed: {failures[name.value]}", style="red"), soft_wrap=True)
                continue
            figures += found
            for figure in found:
                console.print(_line(figure))
    return figures, failures


def figures_table(figures: Sequence[Figure], failures: dict[str, str]) -> Table:
    """Put all figures into one table; a failed measurement has a row with its error."""
    table = Table(title="Speed and size to reach", title_justify="left", expand=False)
    for title, right in (("What", False), ("Measured", True), ("Yardstick", False), ("Ratio", True), ("Goal", True)):
        table.add_column(title, justify="right" if right else "left", overflow="fold")
    table.add_column("")
    for figure in figures:
        stick = figure.yardstick
        table.add_row(
            Text(f"{figure.what}\n{figure.note}" if figure.note else figure.what),
            _amount(figure.value, figure.unit),
            Text(f"{_amount(stick.value, stick.unit)}\n{stick.what}" if stick else "–"),
            f"{figure.ratio:.2f}" if figure.ratio is not None else "–",
            figure.goal.text(figure.unit) if figure.goal else "–",
            verdict(figure),
        )
    for name, reason in failures.items():
        table.add_row(Text(f"{name}: {reason}"), "–", "–", "–", "–", Text("not measured", style="red"))
    return table


def verdict(figure: Figure) -> Text:
    """Return whether the goal is met, as text; empty without a goal, and a note when this run cannot decide."""
    if figure.goal is None:
        return Text("")
    if figure.met is None:
        return Text("too small to decide", style="yellow")
    return Text("met", style="green") if figure.met else Text("missed", style="bold red")


def write_results(
    figures: Sequence[Figure], failures: dict[str, str], about: dict[str, Any], folder: Path = RESULTS
) -> Path:
    """Write all results to a file named by the time, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    content = {"about": about, "figures": [figure.as_dict() for figure in figures], "failures": failures}
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    return path


def _line(figure: Figure) -> Text:
    met = verdict(figure)
    return Text.assemble(f"{figure.what}: {_amount(figure.value, figure.unit)}  ", met)


def _amount(value: float, unit: str) -> str:
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f} {unit}"


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _about(cores: int, scale: Scale) -> dict[str, Any]:
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg()) if hasattr(os, "getloadavg") else "unknown"
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": cores,
        "machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "load": load,
        "scale": asdict(scale),
    }


def _be_quiet() -> None:
    """Silence the log lines of stages that some measurements run in this process."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


if __name__ == "__main__":
    typer.run(main)
