"""Schemas of answers whose listed values are not all that may come.

A generated client that knows a closed list refuses a whole answer for one new value. So the schemas of requests keep their
closed lists, and those of answers and events list the present values as `x-extensible-enum` of a plain text.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, get_args

from pydantic import GetJsonSchemaHandler
from pydantic_core import CoreSchema

KEYWORD: Final = "x-extensible-enum"
"""The keyword under which a schema lists the present values."""


@dataclass(frozen=True, slots=True)
class OpenValues:
    """Marks an enumeration or a `Literal` of an answer: its schema lists the present values and takes others, too."""

    values: type[StrEnum] | Any

    def __get_pydantic_json_schema__(self, _: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return the schema. The Python side still takes only the listed values, so tests notice one that is missing."""
        names = get_args(self.values) or [item.value for item in self.values]
        listed = ", ".join(f"`{name}`" for name in names)
        return {"type": "string", KEYWORD: list(names), "description": f"One of {listed}; expect others."}
