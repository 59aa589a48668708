"""openapi.json, with the address at which this service is reached."""

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

    @app.get(address, include_in_schema=False)
    def describe(request: Request) -> dict[str, Any]:
        base = str(request.base_url).rstrip("/")
        # FastAPI caches its description, which must not change.
        description = app.openapi()
        _complete(description)
        info = dict(description["info"])
        info["description"] = info["description"].replace(EXAMPLE_ADDRESS, base)
        return {**description, "info": info, "servers": [{"url": base}]}


def _complete(description: dict[str, Any]) -> None:
    """Give examples of jobs their members that are null, which FastAPI leaves out."""
    job = description["components"]["schemas"]["Job"]
    answers = description["paths"]["/advice"]["post"]["responses"]
    advice = answers["202"]["content"]["application/json"]
    for described in (job, advice):
        described["example"] = dict.fromkeys(job["required"]) | described["example"]
