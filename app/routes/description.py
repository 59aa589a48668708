"""openapi.json, with the address at which this service is reached."""

from copy import deepcopy
from functools import cache
from typing import Any

from fastapi import FastAPI, Request

from app.openapi import EXAMPLE_ADDRESS


def install(app: FastAPI) -> None:
    """Let openapi.json name the address of each request, in place of FastAPI's own route."""
    address = app.openapi_url
    assert address is not None  # its default
    app.router.routes[:] = [
        route for route in app.router.routes if getattr(route, "path", None) != address
    ]

    @cache
    def whole() -> dict[str, Any]:
        return _completed(app.openapi())

    @app.get(address, include_in_schema=False)
    def describe(request: Request) -> dict[str, Any]:
        base = str(request.base_url).rstrip("/")
        # It is cached, and must not change.
        description = whole()
        info = dict(description["info"])
        info["description"] = info["description"].replace(EXAMPLE_ADDRESS, base)
        return {**description, "info": info, "servers": [{"url": base}]}


def _completed(description: dict[str, Any]) -> dict[str, Any]:
    """Return a description whose examples of jobs have the null members that FastAPI leaves out."""
    description = deepcopy(description)
    job = description["components"]["schemas"]["Job"]
    answers = description["paths"]["/advice"]["post"]["responses"]
    advice = answers["202"]["content"]["application/json"]
    for described in (job, advice):
        described["example"] = dict.fromkeys(job["required"]) | described["example"]
    return description
