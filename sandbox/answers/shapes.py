"""Types of single members of the answers, and the models that several operations share."""

import base64
import binascii
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel

from sandbox.ids import KSEF_NUMBER


def _base64(value: str) -> str:
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("not Base64") from error
    return value


def _ksef_number(value: str) -> str:
    if KSEF_NUMBER.fullmatch(value) is None:
        raise ValueError("not a KSeF number")
    return value


Base64 = Annotated[str, AfterValidator(_base64), WithJsonSchema({"type": "string", "format": "byte"})]
Sha256 = Annotated[
    str,
    Field(min_length=44, max_length=44),
    AfterValidator(_base64),
    WithJsonSchema({"type": "string", "minLength": 44, "maxLength": 44}),
]
Reference = Annotated[str, Field(min_length=36, max_length=36)]
Count = Annotated[int, Field(ge=0, lt=2**31)]
KsefNumber = Annotated[
    str,
    AfterValidator(_ksef_number),
    WithJsonSchema({"type": "string", "minLength": 35, "maxLength": 36, "pattern": f"^{KSEF_NUMBER.pattern}$"}),
]


class Answer(BaseModel):
    """Base of JSON answers; their members have the contract's names."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", validate_by_alias=True, validate_by_name=False)


class Status(Answer):
    """A status code with its description."""

    code: int
    description: Annotated[str, Field(min_length=1)]
    details: list[str] | None = None
