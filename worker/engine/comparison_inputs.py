"""Inputs on which an artifact is compared with the original, and what they cannot show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from worker.engine.model import Inputs

Source = Literal["held-out samples", "fitted samples", "synthetic", "noise"]
SOURCES: tuple[Source, ...] = get_args(Source)


@dataclass(frozen=True)
class ComparisonInputs:
    """Inputs by name for several runs, in groups by what sets them apart.

    Synthetic inputs have a group for each range of values that the model may expect. `doubts` say
    why the comparison may not hold for real inputs. `like_truth` is false where nothing shows that
    real inputs look like these. `quiet` is true where the outputs of the original say little on
    them, as those of a detector without its objects.
    """

    source: Source
    groups: Mapping[str, Sequence[Inputs]]
    doubts: Sequence[str] = ()
    like_truth: bool = True
    quiet: bool = False

    @property
    def runs(self) -> int:
        """The number of runs over all groups."""
        return sum(map(len, self.groups.values()))

    @property
    def obstacles(self) -> list[str]:
        """Why no model that is compared on these inputs alone has a low risk."""
        reasons = list(self.doubts)
        if not self.like_truth:
            reasons.append("nothing shows that real inputs look like these")
        if self.quiet:
            reasons.append("the outputs of the original say little")
        return reasons
