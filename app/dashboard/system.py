"""The system page: queue, workers, throughput, failures and storage."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Security
from starlette.responses import Response

from app.auth.scopes import require
from app.dashboard.advice import advice
from app.dashboard.pages import is_fragment, render
from app.db.session import now, transaction
from app.identity import current_owner
from app.stats import queries
from app.stats.queries import SPANS, Span
from app.stats.waiting import queue_history

router = APIRouter()


@router.get("/dashboard/system", dependencies=[Security(require("read"))])
def show_system(request: Request, by: Annotated[Span, Query()] = "hour") -> Response:
    """Show the figures of the caller's jobs; for an administrator, also of the service."""
    with transaction() as session:
        at = now(session)
        own = queries.job_statistics(session)
        buckets = queries.history(session, by)
        queue = queue_history(session, by, buckets, own.states["queued"])
        service = (
            queries.service_statistics(session) if current_owner.get() is None else None
        )
    most = max((sum(bucket.ended.values()) for bucket in buckets), default=0)
    return render(
        request,
        "_system.html" if is_fragment(request) else "system.html",
        at=at,
        own=own,
        buckets=buckets,
        queue=queue,
        service=service,
        by=by,
        spans=list(SPANS),
        most=most,
        advice=advice,
    )
