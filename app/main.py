"""The application: `uvicorn --factory app.main:create_app`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from app import errors, openapi
from app.deliveries import deliver
from app.logging import configure_logging
from app.requests import RequestContext
from app.routes import events, health, jobs, models
from app.settings import get_settings
from app.sight import Sight
from app.watch import Watch


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
    app.state.sight = Sight()
    app.state.watch = Watch()
    errors.install(app)
    app.add_middleware(RequestContext)
    app.include_router(jobs.router)
    app.include_router(events.router)
    app.include_router(models.router)
    app.include_router(health.router)
    return app


@asynccontextmanager
async def _lifespan(_app: FastAPI) -> AsyncIterator[None]:
    settings = get_settings()
    configure_logging(settings.log_level)
    delivering = asyncio.create_task(deliver(settings)) if settings.webhook_secret else None
    yield
    if delivering:
        delivering.cancel()
