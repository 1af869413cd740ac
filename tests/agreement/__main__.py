"""`python -m tests.agreement`: judge many mutated invoices by our check and by a sandbox, and print where they differ."""

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from rich.console import Console
from rich.table import Table

from app.forms.fa3.checker import InvoiceChecker, make_checker
from app.schema_files import load_schema_files
from tests.agreement.another_validator import JAVA, schema_difference, verdicts_of_java
from tests.agreement.comparing import MODES, Mode, Opinion, difference, ours
from tests.agreement.making import Case, make_cases
from tests.agreement.mutations import BY_LEVEL, LARGE
from tests.agreement.through_sandbox import judging_sandbox

_DAY = date(2026, 11, 20)
_BLOCK = 5_000


@dataclass(slots=True)
class Tally:
    """Counts by mutation: documents that both take, that both refuse, and that are judged differently."""

    both_take: Counter[str] = field(default_factory=Counter)
    both_refuse: Counter[str] = field(default_factory=Counter)
    only_ksef_knows: Counter[str] = field(default_factory=Counter)
    differ: Counter[str] = field(default_factory=Counter)
    judged: int = 0

    def add(self, case: Case, *, valid: bool, theirs: Opinion, differs: bool) -> None:
        """Count one document under each of its mutations."""
        self.judged += 1
        if differs:
            kind = self.differ
        elif valid and not theirs.accepts:
            kind = self.only_ksef_knows
        else:
            kind = self.both_take if valid else self.both_refuse
        kind.update(case.mutations)


def _print(tally: Tally, console: Console) -> None:
    table = Table("level", "mutation", "both take", "both refuse", "only KSeF knows", "differ")
    for level, mutations in BY_LEVEL.items():
        for name in mutations:
            counts = (tally.both_take, tally.both_refuse, tally.only_ksef_knows, tally.differ)
            table.add_row(level, name, *(str(count[name]) for count in counts))
    console.print(table)


def _blocks(count: int, seed: int) -> Iterator[list[Case]]:
    """The documents in blocks, so that memory does not depend on the count."""
    for block, start in enumerate(range(0, count, _BLOCK)):
        yield list(make_cases(min(_BLOCK, count - start), _DAY, seed + block))


@dataclass(slots=True)
class Differences:
    """Tells what is judged differently, and keeps the documents in a folder if one is given."""

    folder: Path | None
    count: int = 0

    def add(self, case: Case, against: str, found: str) -> None:
        """Note one."""
        self.count += 1
        print(f"{case.name} [{against}] {', '.join(case.mutations)}: {found}", file=sys.stderr)
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / case.name).write_bytes(case.document)


def _judge(
    mode: Mode, blocks: Iterable[list[Case]], checker: InvoiceChecker, tally: Tally, differences: Differences
) -> None:
    with judging_sandbox(mode, _DAY) as sandbox:
        for cases in blocks:
            opinions = sandbox.opinions(cases)
            for case in cases:
                checked = ours(checker, case.document, mode, _DAY)
                theirs = opinions[case.name]
                found = difference(checked, theirs, case.mutations)
                tally.add(case, valid=checked.valid, theirs=theirs, differs=found is not None)
                if found is not None:
                    differences.add(case, mode.name, found)


def _ask_java(blocks: Iterable[list[Case]], checker: InvoiceChecker, differences: Differences) -> int:
    """Compare with Xerces; return how many documents it saw."""
    asked = 0
    for block in blocks:
        cases = [case for case in block if LARGE.isdisjoint(case.mutations)]
        faults = verdicts_of_java([case.document for case in cases])
        asked += len(cases)
        for case, fault in zip(cases, faults, strict=True):
            checked = ours(checker, case.document, MODES[0], _DAY)
            if found := schema_difference(case.document, checked, fault):
                differences.add(case, "Xerces", found)
    return asked


def main() -> int:
    """Judge, print the table, and end with 1 when anything is judged differently."""
    parser = argparse.ArgumentParser(prog="tests.agreement")
    parser.add_argument("--count", type=int, default=20_000, help="documents, each judged in both modes")
    parser.add_argument("--seed", type=int, default=1, help="another seed gives other documents")
    parser.add_argument("--out", type=Path, help="folder for documents that are judged differently")
    chosen = parser.parse_args()
    checker = make_checker(load_schema_files()["FA (3)"])
    console = Console(width=120)
    tally, differences = Tally(), Differences(chosen.out)
    for mode in MODES:
        _judge(mode, _blocks(chosen.count, chosen.seed), checker, tally, differences)
    asked = _ask_java(_blocks(chosen.count, chosen.seed), checker, differences) if JAVA else 0
    _print(tally, console)
    console.print(
        f"{chosen.count:,} documents from seed {chosen.seed}, {tally.judged:,} verdicts in {len(MODES)} modes,"
        f" {asked:,} opinions of another validator; judged differently: {differences.count:,}"
    )
    return 1 if differences.count else 0


if __name__ == "__main__":
    raise SystemExit(main())
