"""The row of FA_RR(1) in the registry of forms."""

from typing import Final

from app.forms.fa_rr1.checker import FA_RR1_CODES, make_checker
from app.forms.fa_rr1.key_fields import FA_RR1_NAMESPACE
from app.forms.form import Form

FA_RR1: Final = Form(
    code=FA_RR1_CODES.code,
    schema_version=FA_RR1_CODES.schema_version,
    value=FA_RR1_CODES.value,
    namespace=FA_RR1_NAMESPACE,
    schema_files=(
        "schemat_FA_RR(1)_v1-1E.xsd",
        "StrukturyDanych_v10-0E.xsd",
        "ElementarneTypyDanych_v10-0E.xsd",
        "KodyKrajow_v10-0E.xsd",
    ),
    make_checker=make_checker,
)
