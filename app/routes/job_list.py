"""`GET /jobs`: the list of jobs by its filters, page after page."""

import re
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query, Security
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
)
from pydantic.json_schema import SkipJsonSchema

from app.auth.scopes import require
from app.db.session import transaction
from app.jobs import queries
from app.jobs.presentation import present_job
from app.openapi import problems
from convpress import schemas
from convpress.labels import MOST as MOST_LABELS
from convpress.labels import parse_labels
from convpress.options import Kind
from convpress.states import State

router = APIRouter(tags=["jobs"])

_NUMBER = re.compile(r"[+-]?[\d.]+(e[+-]?\d+)?", re.IGNORECASE)


def _refuse_number(value: object) -> object:
    """Refuse a number as a time: Pydantic would guess whether it is in seconds or milliseconds."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        raise ValueError("a time is not a number; write it as 2026-05-04T03:02:01Z")
    return value


def _in_utc(value: datetime) -> datetime:
    """Return a time in UTC: those of the database are."""
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("a time lies in the years 1 to 9999 in UTC too") from error


Time = Annotated[
    AwareDatetime, BeforeValidator(_refuse_number), AfterValidator(_in_utc)
]


class JobListQuery(BaseModel):
    """The filters of a list, and its page.

    Other names are refused: a misspelled filter would give the jobs that it should leave out.
    """

    model_config = ConfigDict(extra="forbid")

    state: list[State] | SkipJsonSchema[None] = Field(
        None, description="Jobs in one of these states"
    )
    model_sha256: (
        Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | SkipJsonSchema[None]
    ) = Field(None, description="Jobs of this model")
    kind: Kind | SkipJsonSchema[None] = Field(
        None, description="Jobs that compress, or that advise"
    )
    label: (
        Annotated[
            list[str],
            Field(max_length=MOST_LABELS, json_schema_extra={"uniqueItems": True}),
        ]
        | SkipJsonSchema[None]
    ) = Field(None, description="Jobs with all of these labels, each as name=value")
    created_from: Time | SkipJsonSchema[None] = Field(
        None, description="Jobs created at this time or later"
    )
    created_before: Time | SkipJsonSchema[None] = Field(
        None, description="Jobs created before this time"
    )
    limit: int = Field(50, ge=1, le=200, description="Most jobs of a page")
    cursor: str | SkipJsonSchema[None] = Field(
        None,
        description="`next_cursor` of the previous page, with the same filters",
    )


@router.get(
    "/jobs",
    dependencies=[Security(require("read"))],
    responses=problems("cursor_invalid", "labels_invalid", "request_invalid"),
)
def list_jobs(query: Annotated[JobListQuery, Query()]) -> schemas.JobPage:
    """List jobs, newest first."""
    labels = parse_labels(",".join(query.label or ()), "label")
    criteria = queries.Filter(
        query.state or (),
        query.model_sha256,
        query.kind,
        labels,
        query.created_from,
        query.created_before,
    )
    with transaction() as session:
        rows, next_cursor = queries.page(session, criteria, query.limit, query.cursor)
    jobs = [present_job(row) for row in rows]
    return schemas.JobPage(jobs=jobs, next_cursor=next_cursor)
