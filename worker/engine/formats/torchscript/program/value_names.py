"""The names by which a program knows the values of a TorchScript graph."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from torch._C import Value

from worker.engine.program import NoProgramError

_MOST_VALUES = 50_000  # a file's loops can unroll to any number of them


class ValueNames:
    """Names of values, which differ from the graph's own where a value changes.

    A value gets another name in each turn of a loop that is unrolled, and after something was
    written into it. `parts` holds the names of the items of lists, tuples and dictionaries that
    the graph puts together.
    """

    def __init__(self) -> None:
        self.parts: dict[str, tuple[str, ...]] = {}
        self._names: dict[int, str] = {}
        self._values: dict[str, dict[int, Value]] = {}
        self._types: dict[str, Any] = {}
        self._versions: Counter[str] = Counter()

    def of(self, value: Value) -> str:
        """Return the present name of a value.

        Raises:
            NoProgramError: it has none: modules and other objects are no values of a program.
        """
        name = self._names.get(value.unique())
        if name is None:
            raise NoProgramError(
                f"it hands on a {value.type()}, which is neither a tensor nor a number"
            )
        return name

    def of_all(self, values: Iterable[Value]) -> list[str]:
        """Return the present names of values.

        Raises:
            NoProgramError: one of them has none.
        """
        return [self.of(value) for value in values]

    def known(self, values: Iterable[Value]) -> list[str]:
        """Return the present names of those values that have one."""
        keys = [value.unique() for value in values]
        return [self._names[key] for key in keys if key in self._names]

    def type_of(self, name: str) -> Any:  # noqa: ANN401 - torch names no common type of its types
        """Return the type of the values of a name."""
        return self._types[name]

    def by_name(self) -> Mapping[str, Mapping[int, Value]]:
        """Return the values of the graph that go by each name."""
        return self._values

    def bind(self, value: Value, name: str) -> None:
        """Let a value go by a name that there is already."""
        self.forget(value)
        self._names[value.unique()] = name
        self._values.setdefault(name, {})[value.unique()] = value

    def bind_all(self, values: Iterable[Value], names: Iterable[str]) -> None:
        """Let values go by names that there are already, one each."""
        for value, name in zip(values, names, strict=True):
            self.bind(value, name)

    def bind_input(self, value: Value, name: str) -> None:
        """Let an input of the graph go by the model's own name for it."""
        self._types[name] = value.type()
        self.bind(value, name)

    def fresh(self, value: Value) -> str:
        """Give a value a name that no value has had."""
        name = self.new(f"%{value.debugName()}", value.type())
        self.bind(value, name)
        return name

    def new(self, stem: str, kind: Any) -> str:  # noqa: ANN401 - torch names no common type of its types
        """Return a name that no value has had, for one of this type.

        Raises:
            NoProgramError: there are too many.
        """
        if len(self._types) >= _MOST_VALUES:
            raise NoProgramError(
                f"it has more than {_MOST_VALUES} values once its loops are unrolled"
            )
        self._versions[stem] += 1
        name = stem
        version = self._versions[stem]
        if version > 1:
            name = f"{stem}:{version}"
        self._types[name] = kind
        return name

    def rename(self, name: str) -> str:
        """Give all values that go by a name a fresh one."""
        first, *others = self._values[name].values()
        fresh = self.fresh(first)
        for value in others:
            self.bind(value, fresh)
        return fresh

    def forget(self, value: Value) -> None:
        """Take a value's name away."""
        name = self._names.pop(value.unique(), None)
        if name is not None:
            del self._values[name][value.unique()]
