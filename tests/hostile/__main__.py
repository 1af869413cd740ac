"""`python -m tests.hostile [WORD]`: print what every hostile body comes to and what it costs, as a table."""

import sys

from tests.hostile import archive_cases, document_cases
from tests.hostile.harness import arena, table


def main() -> None:
    """Run all cases, or those whose name has the word."""
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    cases = {case.name: case for case in [*archive_cases.CASES, *document_cases.CASES] if word in case.name}
    with arena(cases) as running:
        rows = [(name, running.run(case)) for name, case in cases.items()]
    for name, outcome in rows:
        case = cases[name]
        if (outcome.valid, outcome.refused, outcome.error) != (case.valid, case.refused, case.error):
            print(f"NOT AS EXPECTED {name}: {outcome}")
    print(table(rows))


if __name__ == "__main__":
    main()
