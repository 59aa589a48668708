"""The plain poll, GET /jobs/{id} without a query, ahead of FastAPI's routes.

Most requests to a busy service are plain polls. FastAPI matches a route of an included router twice
and solves each parameter, which takes longer than the answer. `app.routes.jobs` describes the call,
and serves it with a query.
"""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope

from app.auth.scopes import require
from app.routes.jobs import job_response

_check_scope = require("read")


class PollRoute(Route):
    """Matches plain polls alone; the routes after it serve all other requests."""

    def __init__(self) -> None:
        super().__init__("/jobs/{job_id}", _poll)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match a GET without a query, and name this route for the counts of requests."""
        if scope["type"] != "http" or scope["method"] != "GET":
            return Match.NONE, {}
        if scope["query_string"]:
            return Match.NONE, {}
        match, child_scope = super().matches(scope)
        if match is Match.FULL:
            child_scope["route"] = self
        return match, child_scope


async def _poll(request: Request) -> Response:
    await _check_scope(request)
    job = await request.app.state.job_loader.load(request.path_params["job_id"])
    return job_response(request, job)
