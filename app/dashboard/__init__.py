"""The dashboard: server-rendered pages over the same queries as the API; `/` lists the jobs."""

from pathlib import Path

from fastapi import FastAPI
from starlette.staticfiles import StaticFiles

from app.dashboard import (
    annotations,
    comparison,
    job,
    jobs,
    model,
    sign_in,
    submission,
    system,
)
from app.dashboard.pages import show_problem

__all__ = ["install", "show_problem"]


def install(app: FastAPI) -> None:
    """Add the pages to the application; `app.auth.middleware` guards them as it guards the API."""
    app.mount(
        "/dashboard/static", StaticFiles(directory=Path(__file__).parent / "static")
    )
    for page in (
        jobs,
        submission,
        job,
        annotations,
        model,
        comparison,
        system,
        sign_in,
    ):
        app.include_router(page.router, include_in_schema=False)
