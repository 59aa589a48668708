"""The application: `uvicorn --factory app.main:create_app`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI
from fastapi.security import HTTPBearer
from fastapi_offline import FastAPIOffline
from starlette.middleware.cors import CORSMiddleware
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from app import dashboard, data_folder, errors, openapi
from app.auth.middleware import Authentication
from app.http.body_limit import BodyLimit
from app.http.framing import Framing
from app.http.request_context import RequestContext
from app.http.security_headers import SecurityHeaders
from app.jobs.loader import JobLoader
from app.jobs.watcher import JobWatcher
from app.logging import configure_logging
from app.memory import keep_heap
from app.routes import (
    advice,
    annotations,
    description,
    events,
    frontier,
    health,
    job_list,
    jobs,
    models,
    stats,
)
from app.routes.polls import PollRoute
from app.settings import Settings, get_settings
from app.stats.request_counts import RequestCounts
from app.tracing import configure_tracing
from app.webhooks import reception
from app.webhooks.deliveries import deliver

# Only describes the key in openapi.json; `app.auth.middleware` checks it.
_key = HTTPBearer(scheme_name="key", description="An API key: cp_...", auto_error=False)


def create_app() -> FastAPI:
    """Build the application with settings from the environment."""
    settings = get_settings()
    data_folder.prepare(settings)
    app = FastAPIOffline(
        title=openapi.TITLE,
        version=openapi.VERSION,
        summary=openapi.SUMMARY,
        description=openapi.DESCRIPTION,
        responses={"default": openapi.ANY_PROBLEM},
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
        lifespan=_lifespan,
    )
    app.state.job_loader = JobLoader()
    app.state.watch = JobWatcher()
    app.state.request_counts = RequestCounts()
    errors.install(app, dashboard.show_problem)
    _add_middleware(app, settings)
    _add_routes(app, settings)
    return app


def _add_middleware(app: FastAPI, settings: Settings) -> None:
    # The last one added is the outermost: it sees a request first and its response last.
    app.add_middleware(BodyLimit)
    app.add_middleware(Authentication)
    app.add_middleware(Framing)
    app.add_middleware(SecurityHeaders)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["*"],
            allow_headers=["Authorization", "Content-Type", "If-Match"],
            expose_headers=["ETag", "Location", "Retry-After"],
        )
    app.add_middleware(RequestContext)
    if settings.trusted_proxies:
        app.add_middleware(
            ProxyHeadersMiddleware, trusted_hosts=list(settings.trusted_proxies)
        )


def _add_routes(app: FastAPI, settings: Settings) -> None:
    app.router.routes.append(PollRoute())
    described = [Depends(_key)] if settings.api_keys else None
    for router in (
        jobs.router,
        job_list.router,
        advice.router,
        annotations.router,
        frontier.router,
        events.router,
        models.router,
        stats.router,
    ):
        app.include_router(router, dependencies=described)
    app.include_router(health.router)
    app.webhooks.include_router(reception.router)
    description.install(app)
    dashboard.install(app)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings = get_settings()
    configure_logging(settings.log_level)
    configure_tracing(settings, "api")
    keep_heap()
    counting = asyncio.create_task(app.state.request_counts.flush_regularly())
    delivering: asyncio.Task[None] | None = None
    if settings.webhook_secret:
        delivering = asyncio.create_task(deliver(settings))
    yield
    if delivering:
        delivering.cancel()
    counting.cancel()
    # Its last flush has to reach the database.
    await asyncio.wait([counting])
