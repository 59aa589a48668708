"""Signing in with an API key.

The key is kept in a cookie. Scripts cannot read it, and requests from other sites do not carry it.
"""

from typing import Annotated

from fastapi import APIRouter, Form, Request, Security
from starlette.responses import Response

from app.auth import audit, keys
from app.auth.cookie import COOKIE
from app.auth.middleware import SIGN_IN
from app.auth.scopes import require
from app.dashboard.pages import own_path, render, see_other
from app.db.session import transaction
from app.settings import get_settings

router = APIRouter()


@router.get(SIGN_IN)
def ask_for_key(request: Request, next: str = "/") -> Response:  # noqa: A002 - the query's own name
    """Ask for a key."""
    if not get_settings().api_keys:
        return see_other("/")
    return render(request, "sign_in.html", next=own_path(next), wrong=False)


@router.post(SIGN_IN)
def take_key(
    request: Request,
    key: Annotated[str, Form()],
    next: Annotated[str, Form()] = "/",  # noqa: A002
) -> Response:
    """Check a key, keep it in a cookie, and redirect to the next page.

    `app.auth.middleware` has checked that the form comes from this service.
    """
    with transaction() as session:
        caller = keys.verify(session, key.strip())
    if caller is None or not caller.may("read"):
        return render(request, "sign_in.html", 403, next=own_path(next), wrong=True)
    address = request.client.host if request.client else None
    audit.record(caller, request.method, request.url.path, address)
    answer = see_other(own_path(next))
    secure = request.url.scheme == "https"
    answer.set_cookie(
        COOKIE, key.strip(), httponly=True, samesite="strict", secure=secure
    )
    return answer


@router.post("/dashboard/sign-out", dependencies=[Security(require("submit"))])
def forget_key() -> Response:
    """Forget the key of this browser."""
    answer = see_other(SIGN_IN)
    answer.delete_cookie(COOKIE)
    return answer
