"""What is asked of the engine, and what it says while it works; plain data that crosses the process border as JSON."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal, get_args

from convpress.formats import Format
from convpress.limits import Limits

Phase = Literal[
    "loading",
    "measuring",
    "factoring",
    "allocating",
    "refining",
    "rewriting",
    "verifying",
    "storing",
]
PHASES: tuple[Phase, ...] = get_args(Phase)


@dataclass(frozen=True)
class Request:
    """One compression. Paths are the child's; `budgets`, by field, and `input_shape` stand as the user wrote them.

    `form` admits that form alone; `rank` asks for one rank everywhere (the paper's mode), in the budgets' place.
    `calibration` is `synthetic`, `none`, or `samples`, which are read from the path in `samples`; `input_range`,
    `input_mean` and `input_std` say what values the inputs have, as the user wrote them.
    `analysis` is the path of what an earlier job with the same model and the same settings has left at its
    `kept_analysis`, where it was not larger than `largest_analysis` bytes.
    `inspection` is where to write what the model is, as soon as it is known.
    `costs` is the path of the cost table of the host that the model is to run on, which a latency budget needs. With
    `flops_at_any_price` sites may become slower than they are.
    `device` is what calibrating and factoring compute on: `cpu`, `cuda` or `cuda:N`.
    `limits` is what the model's container may hold at most; None opens the model unchecked.
    """

    model: str
    format: Format
    output: str
    report: str
    budgets: Mapping[str, str] = field(default_factory=dict)
    input_shape: str | None = None
    form: str | None = None
    rank: int | None = None
    calibration: str = "synthetic"
    samples: str | None = None
    input_range: str | None = None
    input_mean: str | None = None
    input_std: str | None = None
    analysis: str | None = None
    kept_analysis: str | None = None
    inspection: str | None = None
    largest_analysis: int = 0
    costs: str | None = None
    flops_at_any_price: bool = False
    device: str = "cpu"
    limits: Limits | None = Limits()  # noqa: RUF009 - frozen

    def to_json(self) -> str:
        """Serialise for the child's command line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Request":
        """Read what `to_json` wrote."""
        members = json.loads(text)
        limits = members.pop("limits")
        return cls(**members, limits=None if limits is None else Limits(**limits))
