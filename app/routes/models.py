"""Stored models over HTTP: another budget needs no second upload."""

from typing import Annotated

from fastapi import APIRouter, Path, Security

from app.auth.scopes import require
from app.db.session import transaction
from app.jobs import commands
from app.jobs.presentation import present_model
from app.openapi import problems
from convpress import schemas

router = APIRouter(tags=["models"])


@router.get(
    "/models/{sha256}",
    dependencies=[Security(require("read"))],
    responses=problems("model_not_found"),
)
def get_model(
    sha256: Annotated[str, Path(description="SHA-256 of the uploaded file")],
) -> schemas.StoredModel:
    """Return an uploaded model. While it is stored, `model_sha256` posts jobs for it."""
    with transaction() as session:
        return present_model(session, commands.get_model(session, sha256))
