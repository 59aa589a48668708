"""How a page comes about: a template, filled in with everything escaped, under headers that let nothing else in."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from app.auth.keys import Caller
from app.auth.middleware import SIGN_IN
from app.dashboard import formatting
from app.openapi import VERSION
from app.settings import get_settings
from convpress.formats import FORMATS, NOUNS, SHAPELESS_SUFFIXES

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",  # with none at all, browsers would not say which site a form comes from
    "Cache-Control": "private, no-cache",
    "Vary": "Accept, Cookie, HX-Request",
}

_environment = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters.update(formatting.FILTERS)
_environment.globals.update(
    formats=FORMATS, model_nouns=NOUNS, shapeless_suffixes=SHAPELESS_SUFFIXES
)


def render(request: Request, template: str, status: int = 200, **values: object) -> HTMLResponse:
    """Fill in a template; it knows who asks, and what they may do."""
    caller: Caller | None = getattr(request.state, "caller", None)
    content = _environment.get_template(template).render(
        values,
        caller=caller,
        may_submit=caller is None or caller.may("submit"),
        keys_on=get_settings().api_keys,
        version=VERSION,
    )
    return HTMLResponse(content, status, _HEADERS)


def is_fragment(request: Request) -> bool:
    """Tell whether a page asks for a part of itself, to be put in place."""
    return "HX-Request" in request.headers


def see_other(path: str) -> RedirectResponse:
    """Lead on to a page after something was done."""
    return RedirectResponse(path, 303)


def own_path(given: str | None) -> str:
    r"""Return a path of this service that a form names as the next, `/` for anything else.

    >>> own_path("/dashboard/system"), own_path("//evil.example"), own_path("/\\evil.example"), own_path(None)
    ('/dashboard/system', '/', '/', '/')
    """
    safe = (
        given is not None
        and given.startswith("/")
        and given[1:2] not in ("/", "\\")
        and given.isprintable()
    )
    return given if safe and given is not None else "/"


def show_problem(
    request: Request, problem: Mapping[str, Any], headers: Mapping[str, str] | None
) -> Response:
    """Show a problem to a person; who is not known is asked for a key."""
    if problem["status"] == 401:
        target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        address = f"{SIGN_IN}?next={quote(target if request.method == 'GET' else '/')}"
        if is_fragment(request):
            return Response(status_code=401, headers={"HX-Redirect": address})
        return see_other(address)
    shown = {"field": None, "expected": None, "got": None, **problem}
    page = render(
        request,
        "problem.html",
        problem["status"],
        problem=shown,
        advice=formatting.advice(problem["code"]),
    )
    page.headers.update(
        {name: value for name, value in (headers or {}).items() if name != "WWW-Authenticate"}
    )
    return page
