"""The ministry's own examples, where they are at hand."""

from collections.abc import Callable
from pathlib import Path

import pytest

from app.forms.form import CheckedInvoice

SHARED = Path(__file__).resolve().parents[4] / ".." / "shared"
SAMPLES = sorted(SHARED.glob("ksef/samples/*.xml"))


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_an_official_sample_is_valid(sample: Path, check: Callable[..., CheckedInvoice]) -> None:
    result = check(sample.read_bytes(), tenant_nip="9999999999", check_nip_checksums=False)
    assert result.valid
    assert {finding.rule for finding in result.findings} == {"will-be-offline"}
    assert result.facts is not None
    assert result.facts.seller_nip == "9999999999"
