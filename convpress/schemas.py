"""The JSON of jobs and models that the API sends and the client reads; all fields are stable."""

import uuid
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from convpress.calibration import Calibration
from convpress.formats import Format
from convpress.labels import SCHEMA as LABELS_SCHEMA
from convpress.options import Kind
from convpress.precision import Precision
from convpress.report import Evaluation, Inspection, Point, Unaccounted
from convpress.states import State

PROBLEM_MEDIA_TYPE = "application/problem+json"

_SHA256 = "9f2c1e0d3b5a49788c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3"
_ID = "6f2c8b1e-3d4a-4c5b-9e7f-0a1b2c3d4e5f"


class Problem(BaseModel):
    """A problem document (RFC 9457); `code` is stable, the sentences are for people."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str = Field(description="Stable name of the problem")
    field: str | None = Field(None, description="The field that is wrong")
    expected: str | None = Field(None, description="The value that was expected")
    got: str | None = Field(None, description="The value that came")


class UploadedModel(BaseModel):
    """The model that was uploaded."""

    filename: str
    format: Format
    sha256: str
    bytes: int


class StoredModel(BaseModel):
    """A model that was uploaded, and whether its file is still stored."""

    sha256: str
    format: Format
    bytes: int
    created_at: datetime = Field(description="When you first sent it")
    used_at: datetime = Field(description="When you last posted a job for it")
    expired_at: datetime | None = Field(
        description="When its file was deleted; null while it is stored"
    )
    inspection: Inspection | None = Field(
        description=(
            "Inputs, outputs and cost, layer by layer, as your latest job saw them; null before"
        )
    )
    jobs: str = Field(description="Where its jobs are listed")


class Artifact(BaseModel):
    """The compressed model, in the format of the original."""

    sha256: str
    bytes: int
    href: str
    damaged_at: datetime | None = Field(
        None,
        description="When the stored file was found damaged; null while it is not known to be",
    )


class Result(BaseModel):
    """What the compression achieved; one MAC is two FLOPs."""

    account_complete: bool | None = Field(
        None,
        description=(
            "Whether all multiply-accumulates are counted; where not, the report lists the "
            "operators that are left out. Null for a job of an earlier version"
        ),
    )
    unaccounted: list[Unaccounted] = Field(
        [], description="The first of the operators that are left out of the account"
    )
    evaluation: Evaluation | None = Field(
        None,
        description=(
            "The metric on your own labels or targets, before and after; null without an evaluation"
        ),
    )
    macs_before: int
    macs_after: int
    keep: float = Field(description="macs_after / macs_before")
    artifact: Artifact


class AdviceSummary(BaseModel):
    """The advice on a model; the report of the job has all that was measured."""

    choice: str | None = Field(
        description="The name of the advised way; null where the model is best left as it is"
    )
    text: str = Field(description="The advice and its reason, in one sentence")


class Job(BaseModel):
    """One compression of one model to one budget, or to several at once; or the advice on one."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": _ID,
                "state": "succeeded",
                "phase": None,
                "progress": 1.0,
                "eta_seconds": None,
                "eta_reason": "the job has ended",
                "created_at": "2026-05-04T03:02:01.123456Z",
                "started_at": "2026-05-04T03:02:01.345678Z",
                "finished_at": "2026-05-04T03:02:09.876543Z",
                "model": {
                    "filename": "resnet20.onnx",
                    "format": "onnx",
                    "sha256": _SHA256,
                    "bytes": 1_092_211,
                },
                "flops_budget": "0.5",
                "params_budget": None,
                "bytes_budget": None,
                "latency_budget": None,
                "max_loss": None,
                "flops_at_any_price": False,
                "allow_incomplete_account": False,
                "precision": "float",
                "kind": "compression",
                "target": None,
                "threads": None,
                "input_shape": "1x3x32x32",
                "calibration": "synthetic",
                "samples_sha256": None,
                "evaluation_sha256": _SHA256,
                "evaluation_metric": "top-1",
                "evaluation_output": None,
                "input_range": None,
                "input_mean": "0.485,0.456,0.406",
                "input_std": "0.229,0.224,0.225",
                "labels": {"team": "vision"},
                "note": "before the release",
                "result": {
                    "account_complete": True,
                    "unaccounted": [],
                    "evaluation": {
                        "metric": "top-1",
                        "before": 0.8125,
                        "after": 0.805,
                        "loss": 0.0075,
                        "count": 400,
                        "output": "y",
                    },
                    "macs_before": 40_813_184,
                    "macs_after": 20_187_392,
                    "keep": 0.4946,
                    "artifact": {
                        "sha256": _SHA256[::-1],
                        "bytes": 612_345,
                        "href": f"/jobs/{_ID}/artifact",
                        "damaged_at": None,
                    },
                },
                "advice": None,
                "error": None,
                "expired_at": None,
            }
        }
    )

    id: uuid.UUID
    state: State
    phase: str | None = Field(
        description="The phase of a running job: loading, measuring, factoring ... storing"
    )
    progress: float = Field(
        description="The share of the work that is done, from 0 to 1"
    )
    eta_seconds: float | None = Field(
        None,
        description=(
            "About how long a running job takes yet, if the rest of the work goes as fast as "
            "that so far; never negative"
        ),
    )
    eta_reason: str | None = Field(
        None,
        description="Why `eta_seconds` is null, for people; null where it is known",
    )
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    model: UploadedModel
    flops_budget: str | None = Field(
        description="The FLOPs budget as the request wrote it; there is a budget or `max_loss`, "
        "unless the precision is int8 or the job is an advice"
    )
    params_budget: str | None
    bytes_budget: str | None
    latency_budget: str | None
    max_loss: str | None = Field(
        None,
        description="The largest loss, in the place of a FLOPs budget, as the request wrote it",
    )
    flops_at_any_price: bool
    allow_incomplete_account: bool = False
    precision: Precision = Field(
        "float",
        description="float; int8, which needs no budget; or auto, for each layer",
    )
    kind: Kind = Field(
        "compression",
        description="compression, which makes an artifact; or advice, which makes none",
    )
    input_shape: str | None
    calibration: Calibration
    samples_sha256: str | None = Field(
        description="The SHA-256 of the file of real samples"
    )
    evaluation_sha256: str | None = Field(
        None, description="The SHA-256 of the file of labels or targets"
    )
    evaluation_metric: str | None = None
    evaluation_output: str | None = None
    input_range: str | None = Field(
        description="The range of the inputs' values, as the request wrote it"
    )
    input_mean: str | None
    input_std: str | None
    target: str | None = Field(
        None,
        description="The target whose cost table is used; null for the worker's host",
    )
    threads: int | None = Field(
        None, description="The threads that both models are timed on; null for one"
    )
    labels: dict[str, str]
    note: str | None = Field(None, description="A note on the job; only people read it")
    result: Result | None = Field(
        description="Set when the job has succeeded; null for an advice"
    )
    advice: AdviceSummary | None = Field(
        None, description="Set when an advice has succeeded"
    )
    error: Problem | None = Field(description="Set when the job has failed")
    expired_at: datetime | None = Field(
        description="When retention deleted the artifact and the report"
    )


LONGEST_NOTE = 2000
"""Characters of a note."""


class JobChanges(BaseModel):
    """What may be changed of a job at any time; a member that is left out stays as it is."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"labels": {"team": "vision"}, "note": "before the release"}
        },
    )

    labels: Annotated[dict[str, str], WithJsonSchema(LABELS_SCHEMA)] | None = Field(
        None, description="All labels of the job from now on; `{}` removes them"
    )
    note: str | None = Field(
        None,
        max_length=LONGEST_NOTE,
        description="The note from now on; null or empty removes it",
    )


class Frontier(BaseModel):
    """The results at other budgets, as the engine predicts them."""

    budget: str = Field(
        description="The budget that varies, by its form field; the job's other budgets hold"
    )
    points: list[Point] = Field(
        description="From the least reachable cost to the original's. `predicted_error` is the "
        "energy of the difference of the outputs over that of the outputs"
    )


class WebhookMessage(BaseModel):
    """What a webhook receives when a job has ended."""

    type: str = Field(description="job.succeeded, job.failed or job.cancelled")
    timestamp: datetime = Field(description="When the job ended")
    data: Job = Field(description="The job as `GET /jobs/{id}` returns it")


class JobPage(BaseModel):
    """Some jobs, newest first."""

    jobs: list[Job]
    next_cursor: str | None = Field(
        description="Ask with `?cursor=` for the jobs before these; null on the last page"
    )
