"""What is asked of the engine, and what it says while it works; plain data that crosses the process border as JSON."""

import json
from dataclasses import asdict, dataclass
from typing import Literal

from contract.container import Format

Phase = Literal["loading", "measuring", "factoring", "allocating", "rewriting", "verifying", "storing"]
PHASES: tuple[Phase, ...] = ("loading", "measuring", "factoring", "allocating", "rewriting", "verifying", "storing")


@dataclass(frozen=True)
class Request:
    """One compression. Paths are the child's; `flops_budget` and `input_shape` stand as the user wrote them.

    `form` admits that form alone; `rank` asks for one rank everywhere (the paper's mode), in the budget's place.
    """

    model: str
    format: Format
    output: str
    report: str
    flops_budget: str | None = None
    input_shape: str | None = None
    form: str | None = None
    rank: int | None = None

    def to_json(self) -> str:
        """Serialise for the child's command line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Request":
        """Read what `to_json` wrote."""
        return cls(**json.loads(text))
