"""The row of FA(3) in the registry of forms."""

from typing import Final

from app.forms.fa3.checker import make_checker
from app.forms.fa3.checks.form import FORM, FORM_CODE, SCHEMA_VERSION
from app.forms.fa3.xsd.schema import FA3_NAMESPACE
from app.forms.form import Form

FA3: Final = Form(
    code=FORM_CODE,
    schema_version=SCHEMA_VERSION,
    value=FORM,
    namespace=FA3_NAMESPACE,
    schema_files=(
        "schemat_FA(3)_v1-0E.xsd",
        "StrukturyDanych_v10-0E.xsd",
        "ElementarneTypyDanych_v10-0E.xsd",
        "KodyKrajow_v10-0E.xsd",
    ),
    make_checker=make_checker,
)
