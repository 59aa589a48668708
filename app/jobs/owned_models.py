"""A model as its owners know it: none sees from it that another has uploaded the same bytes."""

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.db.models import Job, Model, OwnedModel
from app.db.upsert import insert
from app.identity import current_owner


class ModelView(NamedTuple):
    """When the model first came and was last used, and its inspection; as one owner may know it."""

    created_at: datetime
    used_at: datetime
    inspection: dict[str, Any] | None


def view(session: Session, model: Model) -> ModelView:
    """Return the facts of a model that its owner may see. The owner must have a job for it.

    Whoever sees all jobs sees the model's own times, and the inspection of the latest job.
    """
    owner = current_owner.get()
    if owner is None:
        return ModelView(model.created_at, model.used_at, model.inspection)
    times = select(func.min(Job.created_at), func.max(Job.created_at))
    own = times.where(Job.model_sha256 == model.sha256, Job.owner == owner)
    created_at, used_at = session.execute(own).one()
    owned = session.get(OwnedModel, (model.sha256, owner))
    return ModelView(created_at, used_at, None if owned is None else owned.inspection)


def set_inspection(session: Session, job: Job, inspection: dict[str, Any]) -> None:
    """Note what a job saw of its model, for the job's owner and for those who see all jobs."""
    _set(session, job, inspection=inspection)
    _update(session, job.model_sha256, inspection=inspection)


def set_analysis_bytes(session: Session, job: Job, size: int) -> None:
    """Note the size of the analysis that a job left for later jobs of its owner."""
    _set(session, job, analysis_bytes=size)
    of_all = select(func.sum(OwnedModel.analysis_bytes))
    total = of_all.where(OwnedModel.model_sha256 == job.model_sha256)
    _update(session, job.model_sha256, analysis_bytes=total.scalar_subquery())


def forget_analyses(session: Session, model_sha256: str) -> None:
    """Note that the analyses of a model are deleted, those of all owners."""
    emptied = update(OwnedModel).where(OwnedModel.model_sha256 == model_sha256)
    session.execute(
        emptied.values(analysis_bytes=0).execution_options(synchronize_session=False)
    )
    _update(session, model_sha256, analysis_bytes=0)


def _set(session: Session, job: Job, **columns: Any) -> None:  # noqa: ANN401 - columns of any type
    row = {"model_sha256": job.model_sha256, "owner": job.owner, **columns}
    added = insert(session, OwnedModel).values(row)
    session.execute(
        added.on_conflict_do_update(
            index_elements=["model_sha256", "owner"], set_=columns
        )
    )


def _update(session: Session, model_sha256: str, **columns: Any) -> None:  # noqa: ANN401 - as above
    changed = update(Model).where(Model.sha256 == model_sha256).values(**columns)
    session.execute(changed.execution_options(synchronize_session=False))
