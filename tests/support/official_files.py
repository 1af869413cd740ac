"""Official files of the ministry beside the project, which never enter it: tests that need one are skipped where it is absent."""

from pathlib import Path

import pytest

_SCHEMAS = Path(__file__).resolve().parents[2].parent / "shared" / "ksef" / "schemas"

FA_RR_XSD = _SCHEMAS / "schemat_FA_RR(1)_v1-1E.xsd"
needs_fa_rr_xsd = pytest.mark.skipif(not FA_RR_XSD.exists(), reason=f"the official file {FA_RR_XSD.name} is not here")
