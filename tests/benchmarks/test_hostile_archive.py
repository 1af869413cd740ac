"""A small edition of the measurement of hostile archives: its counts are right; times are not judged."""

from app.settings import Settings
from benchmarks.hostile_archive import measure


async def test_all_documents_that_hang_are_refused_and_the_other_tenant_goes_on(settings: Settings) -> None:
    run = await measure(settings, documents=12, own=20, rounds=1)
    assert (run.documents, run.refused) == (12, 12)
    assert run.alone_a_second > 0
    assert run.beside_a_second > 0
    assert run.seconds > 0
