"""Our checks and the sandbox's give the same verdicts on mutated invoices: the small edition of `tests.agreement`."""

from collections.abc import Iterator
from datetime import date
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.forms.fa3.checker import InvoiceChecker, make_checker
from app.schema_files import load_schema_files
from tests.agreement.comparing import MODES, Mode, Opinion, difference, opinion_of_the_check, ours
from tests.agreement.making import Case, make_cases, samples, valid_invoices
from tests.agreement.mutations import LARGE, MUTATIONS, apply
from tests.agreement.through_sandbox import judging_sandbox

DAY = date(2026, 11, 20)
SMALL = [name for name in MUTATIONS if name not in LARGE]
IDS = [mode.name for mode in MODES]


@pytest.fixture(scope="module")
def checker() -> InvoiceChecker:
    return make_checker(load_schema_files()["FA (3)"])


@pytest.fixture(scope="module")
def bases() -> list[bytes]:
    return [*valid_invoices(100, DAY, 5), *samples()]


def one_of_each() -> Iterator[Case]:
    """Every mutation a few times, the large ones once."""
    invoices = list(valid_invoices(40, DAY, 9))
    random = Random(9)
    for name in MUTATIONS:
        for number in range(1 if name in LARGE else 3):
            base = invoices[random.randrange(len(invoices))]
            yield Case(f"{name.replace(' ', '-').replace(':', '')}-{number}.xml", (name,), apply(base, (name,), random))


@pytest.mark.parametrize("mode", MODES, ids=IDS)
def test_a_sandbox_that_processes_mutated_invoices_gives_our_verdicts(mode: Mode, checker: InvoiceChecker) -> None:
    cases = [*one_of_each(), *make_cases(300, DAY, 1)]
    with judging_sandbox(mode, DAY) as sandbox:
        opinions = sandbox.opinions(cases)
    differing = {}
    valid = 0
    for case in cases:
        checked = ours(checker, case.document, mode, DAY)
        valid += checked.valid
        if found := difference(checked, opinions[case.name], case.mutations):
            differing[case.name] = (case.mutations, found)
    assert differing == {}
    assert len(cases) // 5 < valid < len(cases) * 4 // 5, "mutations that spoil all, or nothing, would prove little"


@pytest.mark.parametrize("mode", MODES, ids=IDS)
def test_no_mutations_of_a_valid_invoice_divide_the_two_checks(
    mode: Mode, checker: InvoiceChecker, bases: list[bytes]
) -> None:
    """The same question without sessions between, so that an example that divides them is made small."""

    @settings(max_examples=250, derandomize=True, deadline=None, database=None)
    @given(
        st.integers(0, len(bases) - 1),
        st.lists(st.sampled_from(SMALL), min_size=1, max_size=3, unique=True),
        st.integers(0, 2**32),
    )
    def judge(base: int, names: list[str], seed: int) -> None:
        document = apply(bases[base], tuple(names), Random(seed))
        checked = ours(checker, document, mode, DAY)
        assert difference(checked, opinion_of_the_check(document, mode, DAY), tuple(names)) is None

    judge()


@pytest.mark.parametrize("mode", MODES, ids=IDS)
def test_what_mutations_start_from_is_valid(mode: Mode, checker: InvoiceChecker, bases: list[bytes]) -> None:
    for base in bases:
        rules = {
            finding.rule for finding in ours(checker, base, mode, DAY).findings if finding.severity.value == "error"
        }
        assert rules <= {"attachment-not-allowed"}
        assert not rules or not mode.attachments


def test_a_wrong_verdict_would_be_seen(checker: InvoiceChecker, bases: list[bytes]) -> None:
    """A comparison that finds nothing to say is worth nothing."""
    sound, broken = (ours(checker, document, MODES[0], DAY) for document in (bases[0], b"<a/>"))
    assert difference(sound, Opinion(450, ("xsd",), None), ()) is not None
    assert difference(sound, Opinion(410, (), None), ("date",)) is not None
    assert difference(sound, Opinion(410, (), None), ("third party issues",)) is None
    assert difference(sound, Opinion(200, (), ("5265877635", "other")), ()) is not None
    assert difference(broken, Opinion(200, (), None), ()) is not None
    assert difference(broken, Opinion(440, (), None), ()) is not None
    assert difference(broken, Opinion(450, (), None), ()) is None


@pytest.mark.parametrize("name", [name for name in MUTATIONS if name != "nothing"])
def test_every_mutation_changes_something_and_takes_any_bytes(name: str, bases: list[bytes]) -> None:
    random = Random(3)
    assert any(apply(base, (name,), random) != base for base in bases)
    for document in (b"", b"<", b"\xff", b"<a/>", b"<a><P_1></P_1><NIP/></a>", bases[0][:300]):
        apply(document, (name,), random)
