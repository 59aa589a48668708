"""A file that may be a model, as the recognisers of all formats see it."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path


@dataclass(frozen=True)
class Container:
    """A file on disk with its bytes; `members` are the names in it where it is a zip archive."""

    path: Path
    content: memoryview
    members: tuple[str, ...] | None

    @cached_property
    def inner_members(self) -> frozenset[str]:
        """The names of a zip archive's members below their first folder."""
        # torch.jit.save names the first folder after the file, so it says nothing.
        return frozenset(name.partition("/")[2] for name in self.members or ())

    def has_inner(self, name: str) -> bool:
        """Tell whether a member has this name below its folder, without a copy of all names."""
        return any(member.partition("/")[2] == name for member in self.members or ())
