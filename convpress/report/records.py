"""The base of all records: filled without pydantic, read with strict types and limits.

They are plain dataclasses, since importing pydantic would take the engine's child a tenth of a
second. Types and limits stand in the annotations and hold where a record is read: a hostile child
may have written the file.
"""

import json
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, TypeVar

from annotated_types import Ge, Le, MaxLen

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, TypeAdapter
    from pydantic_core import CoreSchema

LONGEST_TEXT = 4000
"""Characters of a text in a report; longer names of a model are cut to it."""


class FailFast:
    """Marks a list whose first invalid item ends its validation, as `pydantic.FailFast` does.

    A child could otherwise make its reader keep an error, with the item, for each of a million
    items. Pydantic's own mark would take its import.
    """

    def __get_pydantic_core_schema__(
        self, source: object, handler: "GetCoreSchemaHandler"
    ) -> "CoreSchema":
        """Return the schema of the list, which stops at the first error."""
        schema = dict(handler(source))
        assert schema["type"] == "list"
        schema["fail_fast"] = True
        return schema


Count = Annotated[int, Ge(0), Le(2**63 - 1)]
Size = Annotated[float, Ge(0), Le(1e18)]
"""A time, a relative error or a fraction: not negative, and too small to overflow."""
Figure = Annotated[float, Ge(-1e18), Le(1e18)]
"""A figure of a metric, or a loss of it, which may be negative."""
Item = TypeVar("Item")
Many = Annotated[list[Item], FailFast()]
"""A list as long as the model is large."""
Few = Annotated[list[Item], FailFast(), MaxLen(1000)]
"""A list that does not grow with the model: sizes, layers in a site's place, other budgets."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """A part of a report; reading converts nothing. The methods are named as those of pydantic."""

    # Strict: a child that writes "0.4" for 0.4 is at fault, or hostile.
    __pydantic_config__: ClassVar[dict[str, Any]] = {
        "strict": True,
        "allow_inf_nan": False,
    }

    @classmethod
    def model_validate(cls, members: object) -> Self:
        """Read a record from its members as JSON has them.

        Raises:
            pydantic.ValidationError: a member is missing, or not of its type or within its limits.
        """
        # Through JSON: in strict mode pydantic takes a dictionary for a record from JSON alone.
        return cls.model_validate_json(json.dumps(members))

    @classmethod
    def model_validate_json(cls, text: str | bytes) -> Self:
        """Read a record from JSON.

        Raises:
            pydantic.ValidationError: as in `model_validate`.
        """
        record: Self = _adapter(cls).validate_json(text)  # type: ignore[arg-type]  # classes are hashable
        return record

    def model_dump(self) -> dict[str, Any]:
        """Return the members, with records within them as dictionaries."""
        return asdict(self)

    def model_dump_json(self, *, indent: int | None = None) -> str:
        """Return the record as JSON."""
        adapter = _adapter(type(self))  # type: ignore[arg-type]  # as above
        text: bytes = adapter.dump_json(self, indent=indent)
        return text.decode()


@cache
def _adapter(record: type[Record]) -> "TypeAdapter[Any]":
    from pydantic import TypeAdapter

    return TypeAdapter(record)
