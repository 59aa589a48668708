"""The arguments and results of a client's calls, beyond the records of `convpress.schemas`."""

import os
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, TypedDict

from convpress.options import Kind
from convpress.schemas import Job
from convpress.states import State

StrPath = str | os.PathLike[str]
JobRef = Job | uuid.UUID | str
"""A job, or its id."""


class Options(TypedDict, total=False):
    """The options of a new job, beyond its FLOPs budget; docs/api.md explains each."""

    params_budget: str | float
    bytes_budget: str | float
    latency_budget: str | float
    max_loss: str
    flops_at_any_price: bool
    allow_incomplete_account: bool
    precision: str
    input_shape: str
    calibration: str
    input_range: str
    input_mean: str
    input_std: str
    target: str
    threads: int
    webhook_url: str
    labels: Mapping[str, str]
    samples: StrPath
    evaluation: StrPath
    evaluation_metric: str
    evaluation_output: str


class AdviceOptions(TypedDict, total=False):
    """The options of an advice; docs/api.md explains each."""

    allow_incomplete_account: bool
    input_shape: str
    calibration: str
    input_range: str
    input_mean: str
    input_std: str
    webhook_url: str
    labels: Mapping[str, str]
    samples: StrPath


class Filter(TypedDict, total=False):
    """Which jobs to list; docs/api.md explains each."""

    state: Sequence[State]
    model_sha256: str
    kind: Kind
    labels: Mapping[str, str]
    created_from: datetime
    created_before: datetime


class Point(NamedTuple):
    """A point of the frontier: a cost, and the predicted squared relative error of the outputs."""

    macs: int
    keep: float
    predicted_error: float
