"""The documents to be judged: valid invoices of every kind, and what mutations make of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from random import Random

from invoicegen.invoices import generate_invoices
from tests.agreement.header_mutations import TENANT, sold_by
from tests.agreement.mutations import apply, choose

SAMPLES = Path(__file__).resolve().parents[2] / ".." / "shared" / "ksef" / "samples"
"""Official examples; used where they are at hand."""
_SAMPLE_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Case:
    """One document, what was done to it, and a name to find it by."""

    name: str
    mutations: tuple[str, ...]
    document: bytes


def samples() -> list[bytes]:
    """The official examples, sold by the tenant. Their issue dates lie in the past, which KSeF takes."""
    return [sold_by(path.read_bytes(), TENANT) for path in sorted(SAMPLES.glob("fa3-example-*.xml"))]


def valid_invoices(count: int, day: date, seed: int) -> Iterator[bytes]:
    """Invoices of every kind that the generator knows, one in ten with many lines or few."""
    shares = (("mixed", 8), ("small", 1), ("large", 1))
    for profile, share in shares:
        made = generate_invoices(
            max(1, count * share // 10 // (20 if profile == "large" else 1)),
            seller_nip=TENANT,
            issue_date=day,
            seed=seed,
            profile=profile,
            number_prefix=f"M{profile[0]}",
        )
        yield from (invoice.xml for invoice in made)


def make_cases(count: int, day: date, seed: int) -> Iterator[Case]:
    """Yield so many mutated documents; the same arguments give the same ones (and the same samples at hand)."""
    random = Random(seed)
    bases = list(valid_invoices(count, day, seed))
    examples = samples()
    for number in range(count):
        of_sample = examples and random.random() < _SAMPLE_SHARE
        base = random.choice(examples) if of_sample else bases[number % len(bases)]
        names = choose(random)
        yield Case(f"{seed}-{number:05d}.xml", names, apply(base, names, random))
