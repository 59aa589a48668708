"""The phases of a running job, in their order, and their shares of its work."""

from collections.abc import Mapping
from typing import Literal, get_args

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

STARTS: Mapping[Phase, float] = {
    "loading": 0.0,
    "measuring": 0.05,
    "factoring": 0.4,
    "allocating": 0.5,
    "refining": 0.51,
    "rewriting": 0.8,
    "verifying": 0.85,
    "storing": 0.95,
}
"""The start of each phase as a fraction of the whole, roughly by the times of large models."""
