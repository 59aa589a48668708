"""The phases of a running job, in their order."""

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
