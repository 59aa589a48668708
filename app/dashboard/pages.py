"""Pages: templates rendered with everything escaped, and sent with strict security headers."""

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
from app.dashboard.advice import advice
from app.dashboard.remedies import retry_helps
from app.openapi import VERSION
from app.settings import get_settings
from convpress.formats import FORMATS, NOUNS, shape_help, shapeless_suffixes

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    # Without any referrer, browsers would not say from which site a form comes.
    "Referrer-Policy": "same-origin",
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
    formats=FORMATS,
    model_nouns=NOUNS,
    shape_help=shape_help(),
    shapeless_suffixes=shapeless_suffixes(),
    retry_helps=retry_helps,
)


def render(
    request: Request, template: str, status: int = 200, **values: object
) -> HTMLResponse:
    """Render a template; it knows the service's address, the caller and the caller's scopes."""
    caller: Caller | None = getattr(request.state, "caller", None)
    content = _environment.get_template(template).render(
        values,
        caller=caller,
        may_submit=caller is None or caller.may("submit"),
        keys_on=get_settings().api_keys,
        server=str(request.base_url).rstrip("/"),
        version=VERSION,
    )
    return HTMLResponse(content, status, _HEADERS)


def is_fragment(request: Request) -> bool:
    """Return whether a page requests a part of itself."""
    return "HX-Request" in request.headers


def see_other(path: str) -> RedirectResponse:
    """Redirect to a page after an action."""
    return RedirectResponse(path, 303)


def own_path(path: str | None) -> str:
    r"""Return a path of this service that a form names as the next; `/` for anything else.

    >>> own_path("/dashboard/system"), own_path(None)
    ('/dashboard/system', '/')
    >>> own_path("//evil.example"), own_path("/\\evil.example")
    ('/', '/')
    """
    if path is None or not path.startswith("/") or not path.isprintable():
        return "/"
    # Browsers read `//host` and `/\\host` as another site.
    names_a_host = path[1:2] in ("/", "\\")
    return "/" if names_a_host else path


def show_problem(
    request: Request, problem: Mapping[str, Any], headers: Mapping[str, str] | None
) -> Response:
    """Show a problem as a page; a caller without a key is sent to the sign-in page."""
    if problem["status"] == 401:
        address = f"{SIGN_IN}?next={quote(_return_path(request))}"
        if is_fragment(request):
            return Response(status_code=401, headers={"HX-Redirect": address})
        return see_other(address)
    shown = {"field": None, "expected": None, "got": None, **problem}
    page = render(
        request,
        "problem.html",
        problem["status"],
        problem=shown,
        advice=advice(problem["code"]),
    )
    # WWW-Authenticate would make the browser ask for a password.
    shown_headers = {
        name: value
        for name, value in (headers or {}).items()
        if name != "WWW-Authenticate"
    }
    page.headers.update(shown_headers)
    return page


def _return_path(request: Request) -> str:
    """Return the path to open after the sign-in; a form cannot be sent again."""
    if request.method != "GET":
        return "/"
    query = request.url.query
    return f"{request.url.path}?{query}" if query else request.url.path
