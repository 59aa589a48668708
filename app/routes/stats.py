"""Statistics over HTTP: as JSON, and for Prometheus."""

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

_METRICS_TYPE, _, _ = CONTENT_TYPE_LATEST.partition(";")

router = APIRouter(tags=["figures"])


@router.get("/stats", dependencies=[Security(require("read"))])
def get_stats(
    by: Annotated[
        Span, Query(description="Buckets of history: 60 minutes, 48 hours or 30 days")
    ] = "hour",
) -> schemas.Stats:
    """Return the statistics of your jobs and, if you may see all jobs, of the whole service."""
    with transaction() as session:
        service = (
            queries.service_statistics(session) if current_owner.get() is None else None
        )
        return schemas.Stats.of(
            now(session),
            queries.job_statistics(session),
            queries.history(session, by),
            service,
        )


@router.get(
    "/metrics",
    dependencies=[Security(require("metrics"))],
    response_class=Response,
    responses={200: {"content": {_METRICS_TYPE: {"schema": {"type": "string"}}}}},
)
def get_metrics(request: Request) -> Response:
    """Return the statistics of the whole service for Prometheus.

    A key needs the scope `metrics` or `admin`.
    """
    # So that the requests of this process are up to date; those of others are seconds old.
    request.app.state.request_counts.flush()
    with all_owners(), transaction() as session:
        jobs = queries.job_statistics(session)
        service = queries.service_statistics(session)
        age = schemas.queue_age(now(session), jobs) or 0.0
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    content = encode(prometheus.registry(jobs, service, age))
    return Response(content, 200, None, content_type)
