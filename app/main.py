"""The application: `uvicorn --factory app.main:create_app`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI
from fastapi.security import HTTPBearer
from fastapi_offline import FastAPIOffline
from starlette.middleware.cors import CORSMiddleware
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from app import dashboard, errors, openapi
from app.auth.middleware import Door
from app.http.request_context import RequestContext
from app.jobs.loader import JobLoader
from app.jobs.watcher import JobWatcher
from app.logging import configure_logging
from app.routes import events, health, jobs, models, stats
from app.settings import get_settings
from app.stats.requests import Traffic
from app.tracing import configure_tracing
from app.webhooks.deliveries import deliver

# Describes the key for those who read the API's description; `app.auth.middleware` has asked for it long before.
_key = HTTPBearer(scheme_name="key", description="An API key: cp_...", auto_error=False)


def create_app() -> FastAPI:
    """Build the application; its settings are read from the environment."""
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
    app.state.traffic = Traffic()
    errors.install(app, dashboard.show_problem)
    settings = get_settings()
    app.add_middleware(Door)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["*"],
            allow_headers=["Authorization", "Content-Type"],
            expose_headers=["ETag", "Location", "Retry-After"],
        )
    app.add_middleware(RequestContext)
    if settings.trusted_proxies:
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=list(settings.trusted_proxies))
    for router in (jobs.router, events.router, models.router, stats.router):
        app.include_router(router, dependencies=[Depends(_key)] if settings.api_keys else None)
    app.include_router(health.router)
    dashboard.install(app)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings = get_settings()
    configure_logging(settings.log_level)
    configure_tracing(settings, "api")
    counting = asyncio.create_task(app.state.traffic.keep())
    delivering = asyncio.create_task(deliver(settings)) if settings.webhook_secret else None
    yield
    if delivering:
        delivering.cancel()
    counting.cancel()
    await asyncio.wait([counting])
