"""Jobs read without the ORM: one row of the query that every poll runs."""

from typing import Any, NamedTuple

from sqlalchemy import Row

from app.db.options import options_of
from convpress.options import JobOptions


class ModelRow(NamedTuple):
    """The columns of a job's model that the JSON of the job shows."""

    sha256: str
    format: str
    bytes: int


class JobRow:
    """A row of a job, with the attributes of a `Job`.

    `json` is the JSON of the job as soon as one request has serialised it.
    """

    def __init__(self, row: Row[Any]) -> None:
        self._row = row
        self.json: bytes | None = None
        self.model = ModelRow(row.model_sha256, row.model_format, row.model_bytes)

    @property
    def options(self) -> JobOptions:
        """What the job asks for."""
        return options_of(self._row)

    def __getattr__(self, column: str) -> Any:  # noqa: ANN401 - columns of any type
        return getattr(self._row, column)
