"""The inspection of a model: its inputs, outputs, sites and costs, as JSON members."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from convpress import report as records
from convpress.budgets import FLOPS_PER_MAC
from convpress.refusal import Refusal
from worker.engine.model import CostProfile, Model, OpenedModel, Restored
from worker.engine.report import account
from worker.engine.request import Request


def without_costs(
    request: Request, model: Model, refusal: Refusal, restored: Restored | None = None
) -> dict[str, Any]:
    """Return the inspection of a model whose input shapes are missing, for which it was refused.

    `restored` is what a job would turn back into floats.
    """
    record = records.Inspection(
        restored=account.restored(restored),
        format=request.format,
        inputs=account.tensors(model.inputs),
        outputs=account.tensors(model.outputs),
        parameters=model.parameters,
        bytes=Path(request.model).stat().st_size,
        macs=None,
        sites=[],
        uncounted={},
        missing=refusal.detail,
    )
    members = _members(record)
    # without shapes the number of execution paths is not known, and the member is left out
    del members["courses"]
    return members


def with_costs(request: Request, opened: OpenedModel) -> dict[str, Any]:
    """Return the inspection of a model at the shapes that it is bound to."""
    model, profile = (opened.posted or opened).model, opened.profile
    missing = unsettled(profile)
    # where nothing at all could be counted, 0 would be a lie
    is_known = not missing or profile.macs > 0
    record = records.Inspection(
        account_complete=not profile.unaccounted,
        unaccounted=account.unaccounted(profile),
        restored=account.restored(opened.restored),
        sized_by_values=account.sized_by_values(profile),
        format=request.format,
        inputs=account.inputs(model.inputs, opened.shapes),
        outputs=account.tensors(model.outputs),
        parameters=model.parameters,
        bytes=Path(request.model).stat().st_size,
        macs=profile.macs if is_known else None,
        courses=list(profile.execution_paths) if is_known else [],
        sites=account.inspected_sites(profile),
        uncounted=account.uncounted(profile),
        missing=missing,
    )
    return _members(record)


def unsettled(profile: CostProfile) -> str | None:
    """Say which operators have a cost that is not known; None for none."""
    if not profile.unsettled:
        return None
    counts = ", ".join(
        f"{kind} {number}" for kind, number in sorted(profile.unsettled.items())
    )
    return (
        f"the cost of {counts} is not known: they lie in loops of unknown length, in branches that "
        "do not fit these input shapes, or where a shape cannot be inferred"
    )


def _members(record: records.Inspection) -> dict[str, Any]:
    """Return the members of an inspection, with those that are for readers of the file alone."""
    flops = None if record.macs is None else FLOPS_PER_MAC * record.macs
    further = {"flops": flops, "convention": account.CONVENTION}
    return asdict(record) | further
