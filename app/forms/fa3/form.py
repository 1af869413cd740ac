"""The row of FA(3) in the registry of forms."""

from typing import Final

from app.forms.fa3.checker import FA3_CODES, make_checker
from app.forms.fa3.schema import FA3_NAMESPACE
from app.forms.form import Form

FA3: Final = Form(
    code=FA3_CODES.code,
    schema_version=FA3_CODES.schema_version,
    value=FA3_CODES.value,
    namespace=FA3_NAMESPACE,
    schema_files=(
        "schemat_FA(3)_v1-0E.xsd",
        "StrukturyDanych_v10-0E.xsd",
        "ElementarneTypyDanych_v10-0E.xsd",
        "KodyKrajow_v10-0E.xsd",
    ),
    make_checker=make_checker,
)
