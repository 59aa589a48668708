"""Figures over HTTP: for Prometheus, and as JSON for everybody else."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Security
from prometheus_client import CONTENT_TYPE_LATEST
from prometheus_client.exposition import choose_encoder
from starlette.responses import Response

from app.auth.scopes import require
from app.db.session import now, transaction
from app.identity import all_owners, current_owner
from app.stats import prometheus, queries, schemas
from app.stats.queries import Span

router = APIRouter(tags=["figures"])


@router.get("/stats", dependencies=[Security(require("read"))])
def get_stats(
    by: Annotated[
        Span, Query(description="Buckets of history: 60 minutes, 48 hours or 30 days")
    ] = "hour",
) -> schemas.Stats:
    """Tell the figures of the jobs that the caller may see, and of the whole service if these are all."""
    with transaction() as session:
        return schemas.Stats.of(
            now(session),
            queries.of_jobs(session),
            queries.history(session, by),
            queries.of_service(session) if current_owner.get() is None else None,
        )


@router.get(
    "/metrics",
    dependencies=[Security(require("metrics"))],
    response_class=Response,
    responses={
        200: {"content": {CONTENT_TYPE_LATEST.partition(";")[0]: {"schema": {"type": "string"}}}}
    },
)
def get_metrics(request: Request) -> Response:
    """Tell the figures of the whole service as Prometheus reads them; a key needs the scope `metrics` or `admin`."""
    request.app.state.traffic.flush()  # so that one process alone tells all of its own
    with all_owners(), transaction() as session:
        jobs, service = queries.of_jobs(session), queries.of_service(session)
        age = (
            0.0
            if jobs.oldest_queued_at is None
            else (now(session) - jobs.oldest_queued_at).total_seconds()
        )
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    return Response(
        encode(prometheus.registry(jobs, service, max(0.0, age))), 200, None, content_type
    )
