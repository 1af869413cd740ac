"""The yardstick: processes that only parse and XSD-validate invoices with lxml."""

import time
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Annotated

import typer
from lxml import etree
from rich.console import Console

from app.forms.fa3.schema import compile_schema
from app.schema_files import load_schema_files
from invoicegen.generate import DEFAULT_NIP, Profile
from invoicegen.invoices import FIRST_DAY, generate_invoices


def bare_rate(documents: list[bytes], processes: int) -> float:
    """Measure the invoices a second that `processes` new processes together parse and validate.

    The start of the processes, the compilation of the schema in each and the transfer of the invoices are not counted. Each
    process gets every n-th invoice, so that sizes are shared evenly. Raises ValueError when an invoice is not valid, because
    the figure would be wrong, and RuntimeError when a process ends early.
    """
    if processes < 1 or len(documents) < processes:
        raise ValueError("each process needs at least one document")
    context = get_context("spawn")
    lines: list[Connection] = []
    workers = []
    try:
        for number in range(processes):
            ours, theirs = context.Pipe()
            worker = context.Process(target=_work, args=(theirs, documents[number::processes]), daemon=True)
            worker.start()
            theirs.close()
            lines.append(ours)
            workers.append(worker)
        for line in lines:
            line.recv()
        for line in lines:
            line.send("go")
        answers: list[tuple[float, float, int]] = [line.recv() for line in lines]
    except EOFError as error:
        raise RuntimeError("a process of the yardstick ended early") from error
    finally:
        for line in lines:
            line.close()
        for worker in workers:
            worker.join(timeout=10)
            if worker.is_alive():
                worker.kill()
    invalid = sum(answer[2] for answer in answers)
    if invalid:
        raise ValueError(f"{invalid} of {len(documents)} documents are not valid")
    return len(documents) / (max(answer[1] for answer in answers) - min(answer[0] for answer in answers))


def _work(line: Connection, documents: list[bytes]) -> None:
    schema = compile_schema(load_schema_files()["FA (3)"], as_published=True)
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    line.send("ready")
    line.recv()
    # Unlike perf_counter, this clock is the same in all processes of a machine.
    started = time.monotonic()
    invalid = 0
    for document in documents:
        try:
            root = etree.fromstring(document, parser)
        except etree.XMLSyntaxError:
            invalid += 1
            continue
        invalid += not schema.validate(root)
    line.send((started, time.monotonic(), invalid))


def main(
    count: Annotated[int, typer.Option(min=1, help="How many invoices.")] = 10_000,
    processes: Annotated[int, typer.Option(min=1, help="How many processes.")] = 2,
    profile: Annotated[Profile, typer.Option(help="Which invoices.")] = Profile.MIXED,
) -> None:
    """Print how many documents a second bare lxml parses and validates."""
    invoices = generate_invoices(count, seller_nip=DEFAULT_NIP, issue_date=FIRST_DAY, profile=profile)
    documents = [invoice.xml for invoice in invoices]
    rate = bare_rate(documents, processes)
    megabytes = rate * sum(map(len, documents)) / len(documents) / 1e6
    Console().print(f"{processes} processes: {rate:,.0f} documents a second, {megabytes:,.1f} MB of XML a second")


if __name__ == "__main__":
    typer.run(main)
