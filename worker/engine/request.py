"""The engine's request: plain data that crosses the process border as JSON."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from convpress.formats import Format
from convpress.limits import Limits
from convpress.precision import INT8, Precision


@dataclass(frozen=True)
class Request:
    """One compression. Paths are the child's; options that hold text are as the user wrote them.

    - `model`, `output`, `report`: the paths of the model, the artifact and the report.
    - `inspection`: the path to write the model's inspection to, as soon as it is known.
    - `budgets`: the text of each budget, by form field. `rank`, in place of budgets, is one rank
      everywhere. `form` admits that form alone.
    - `calibration`: `synthetic`, `none`, or `samples`, which are read from the path `samples`.
      `input_range`, `input_mean` and `input_std` describe the values of the inputs.
    - `evaluation`: the path of a file with labels or targets; `evaluation_metric` is measured on
      the output `evaluation_output`, which a model with one output need not name.
    - `max_loss`: the text of the largest loss, in the place of a budget of FLOPs: the cheapest
      artifact that keeps it is looked for.
    - `costs`: the path of the cost table of the host that the model will run on; a latency budget
      needs it. `costs_origin` says where a table is from that nobody measured for this job; empty
      for others. Without `costs_decide` it excludes no layer where no budget needs it, but the
      model as a whole becomes no slower by it. With `flops_at_any_price` sites may become slower.
    - `allow_incomplete_account`: a budget of FLOPs holds for the counted operators alone, where the
      model has others of unknown cost.
    - `precision`: `float`; `int8` for all layers that lose little, which needs no budget; or
      `auto`, chosen by the budgets.
    - `threads`: the threads that both models are timed on; None for one.
    - `analysis`: the path of the analysis that an earlier job with the same model and settings
      wrote to its `kept_analysis`. It is written up to `largest_analysis` bytes.
    - `photographs`: the path of the operator's folder of photographs, which are cropped as the
      engine's own are.
    - `job_threads`: the threads that the job may compute on.
    - `device`: the device that calibrates and factors: `cpu`, `cuda` or `cuda:N`.
    - `limits`: the limits on the model's container; None opens the model unchecked.
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
    evaluation: str | None = None
    evaluation_metric: str | None = None
    evaluation_output: str | None = None
    max_loss: str | None = None
    costs: str | None = None
    costs_origin: str = ""
    costs_decide: bool = True
    flops_at_any_price: bool = False
    allow_incomplete_account: bool = False
    photographs: str | None = None
    precision: Precision = "float"
    threads: int | None = None
    job_threads: int = 1
    device: str = "cpu"
    limits: Limits | None = Limits()  # noqa: RUF009 - frozen

    @property
    def is_int8_alone(self) -> bool:
        """Whether layers go to int8 and none is factored: there is no budget and no rank."""
        has_goal = self.rank is not None or self.max_loss is not None
        return (
            self.precision == INT8 and not has_goal and not any(self.budgets.values())
        )

    def to_json(self) -> str:
        """Serialise for the child's command line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Request":
        """Read the JSON of `to_json`."""
        # `limits` is the only member that is a record itself
        members = json.loads(text)
        limits = members.pop("limits")
        if limits is not None:
            limits = Limits(**limits)
        return cls(**members, limits=limits)
