"""Every kept seed, old finds among them, goes through the fuzzers' own targets without the fuzzer."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fuzz.archive_target import WAYS, check_archive, reading_of
from tests.fuzz.document_target import check_document, first_documents, outcome_of
from tests.fuzz.make_seeds import first_bodies

SEEDS = Path(__file__).parent / "seeds"
MAX_SEED_BYTES = 300_000

Target = Callable[[bytes], None]


def seeds_of(kind: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((SEEDS / kind).iterdir())]


@pytest.mark.parametrize(("kind", "target"), [("archives", check_archive), ("documents", check_document)])
def test_every_seed_passes_through_its_target(kind: str, target: Target) -> None:
    for path in sorted((SEEDS / kind).iterdir()):
        try:
            target(path.read_bytes())
        except Exception as error:
            raise AssertionError(f"{kind}/{path.name}") from error


@pytest.mark.parametrize(
    ("made", "target"), [(first_bodies, check_archive), (first_documents, check_document)], ids=["bodies", "documents"]
)
def test_what_the_fuzzers_start_from_passes(made: Callable[[], Iterator[bytes]], target: Target) -> None:
    for data in made():
        target(data)


def test_the_seeds_reach_far() -> None:
    """Seeds that all stop at the first byte would prove nothing."""
    bodies = [*seeds_of("archives"), *first_bodies()]
    readings = [reading_of(body) for body in bodies]
    assert {body[0] % len(WAYS) for body in bodies} == set(range(len(WAYS)))
    assert len({reading.reasons for reading in readings}) >= 12
    assert len({entry.fault.rule for reading in readings for entry in reading.entries if entry.fault}) >= 6
    outcomes = [outcome_of(document) for document in (*seeds_of("documents"), *first_documents())]
    assert sum(outcome.valid for outcome in outcomes) >= 5
    assert len({finding.rule for outcome in outcomes for finding in outcome.findings}) >= 25


def test_the_seeds_stay_few() -> None:
    assert sum(path.stat().st_size for path in SEEDS.rglob("*") if path.is_file()) < MAX_SEED_BYTES


def test_a_target_sees_what_breaks_a_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Targets that never fail find nothing."""
    with monkeypatch.context() as broken:
        broken.setattr("app.reading.read_budget.ReadBudget.admit", lambda self, size, offset: 0)
        with pytest.raises(AssertionError, match="indexes ascend"):
            check_archive(next(first_bodies()))
    with monkeypatch.context() as broken:
        broken.setattr("tests.agreement.comparing.check_document", lambda content, rules, fields: None)
        with pytest.raises(AssertionError, match="we refuse what is accepted"):
            check_document(b"<a/>")
