"""ONNX models as programs: each node a torch function where the table has one, else a model of its own.

1. What no output needs is left out.
2. What depends on no input is computed when the program is read; a stored weight is an array over the file.
3. Half precision is widened to float32, in weights, inputs and casts.
4. A node that the table does not cover is run by ONNX Runtime, without gradients.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from onnx import (
    AttributeProto,
    ModelProto,
    NodeProto,
    SparseTensorProto,
    TensorProto,
    helper,
    numpy_helper,
)

from worker.engine.formats.onnx import file
from worker.engine.formats.onnx.fallback import needs, single
from worker.engine.formats.onnx.graph import OWN_DOMAINS, all_nodes, fresh_name, names, operator
from worker.engine.formats.onnx.operators import (
    Function,
    Operand,
    Operator,
    UnlistedError,
    function,
)
from worker.engine.formats.onnx.operators.arithmetic import DTYPES
from worker.engine.formats.onnx.types import Kind, kinds
from worker.engine.numerics import device
from worker.engine.program import NoProgramError, Norm, Program, Step

_HALVES = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
_RANDOM = frozenset(
    (
        "Bernoulli",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    )
)
"""Operators that give something else each time, and so are no constants."""


def read(model: ModelProto, source: Path, sites: Mapping[str, Sequence[str]]) -> Program:
    """Read a prepared skeleton of the model at `source`; `sites` holds the first outputs of the nodes of each site.

    Raises:
        NoProgramError: the model cannot be taken apart.
        Refusal: `model_invalid` where the runtime refuses the model.
    """
    return _Reader(model, source, sites).program()


class _Reader:
    """What is known of a graph while its nodes are read in order; its local functions are inlined."""

    def __init__(self, model: ModelProto, source: Path, sites: Mapping[str, Sequence[str]]) -> None:
        self._model = model
        self._source = source
        self._opset = max(
            entry.version for entry in model.opset_import if entry.domain in OWN_DOMAINS
        )
        self._site_of = {output: site for site, outputs in sites.items() for output in outputs}
        self._kinds: Mapping[str, Kind] = kinds(model, source)
        self._stored = {tensor.name: tensor for tensor in model.graph.initializer}
        self._stored.update(
            (sparse.values.name, _dense(sparse)) for sparse in model.graph.sparse_initializer
        )
        self._constants: dict[str, Any] = {}
        self._renamed: dict[str, str] = {}
        self._wanted: set[str] = set()
        self._steps: list[Step] = []

    def program(self) -> Program:
        graph = self._model.graph
        inputs = tuple(value.name for value in graph.input if value.name not in self._stored)
        self._widen(inputs)
        needed, self._wanted = _needed(graph.node, [output.name for output in graph.output])
        for node in needed:
            self._read(node)
        outputs = tuple(self._renamed.get(output.name, output.name) for output in graph.output)
        used = {name for step in self._steps for name in step.takes} | set(outputs)
        given = {name for step in self._steps for name in step.gives} | set(inputs)
        constants = {name: self._constant(name) for name in sorted(used - given)}
        return Program(inputs, outputs, constants, tuple(self._steps))

    def _widen(self, inputs: Sequence[str]) -> None:
        taken = names(self._model.graph)
        for name in inputs:
            if self._kinds[name].element in _HALVES:
                self._renamed[name] = fresh_name(f"{name}_float32", taken)
                self._steps.append(
                    Step("Cast", (name,), (self._renamed[name],), lambda x: (x.float(),))
                )

    def _read(self, node: NodeProto) -> None:
        """Add a node as a step, or what it gives to the constants."""
        kind = operator(node)
        if kind == "Constant" and node.attribute[0].name in ("value", "sparse_value"):
            value = node.attribute[0]
            self._stored[node.output[0]] = (
                value.t if value.name == "value" else _dense(value.sparse_tensor)
            )
            return
        step = self._listed(node) or self._left_to_the_runtime(node)
        random = any(operator(inner) in _RANDOM for inner in all_nodes([node]))
        if random or not all(self._is_constant(name) for name in step.takes):
            self._steps.append(step)
            return
        try:
            values = step.run(*(self._constant(name) for name in step.takes))
        except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise NoProgramError(
                f"{kind} {node.name or node.output[0]!r} cannot be computed: {error}"
            ) from error
        self._constants.update(zip(step.gives, values, strict=True))

    def _listed(self, node: NodeProto) -> Step | None:
        """Return a node as a step in torch; a site and a norm are bound to their weights."""
        values = [name for name in (*node.input, *node.output) if name]
        if node.domain not in OWN_DOMAINS or any(
            self._kinds[name].element not in DTYPES for name in values
        ):
            return None
        described = Operator(
            node.op_type,
            self._opset,
            {attribute.name: self._attribute(attribute) for attribute in node.attribute},
            tuple(self._operand(name) if name else None for name in node.input),
            len(node.output),
            max(at for at, name in enumerate(node.output, start=1) if name in self._wanted),
        )
        try:
            called = function(described)
        except UnlistedError:
            return None
        weights = node.input[1:]
        site = self._site_of.get(node.output[0])
        if not all(self._is_constant(name) for name in weights if name) or self._is_constant(
            node.input[0]
        ):
            return self._step(node, called)
        if site is not None and _is_layer(described):
            return self._step(node, self._bound(called, weights), node.input[:1], site)
        if node.op_type == "BatchNormalization":
            weight, bias, mean, variance = (self._constant(name) for name in weights)
            norm = Norm(mean, variance, weight, bias, described.get("epsilon", 1e-5))
            return self._step(node, self._bound(called, weights), node.input[:1], norm=norm)
        return self._step(node, called)

    def _step(
        self,
        node: NodeProto,
        called: Function,
        inputs: Sequence[str] | None = None,
        site: str | None = None,
        norm: Norm | None = None,
    ) -> Step:
        inputs = node.input if inputs is None else inputs
        takes = tuple(self._renamed.get(name, name) for name in inputs if name)
        outputs = [name if name in self._wanted else "" for name in node.output]
        gives = tuple(name for name in outputs if name)
        return Step(operator(node), takes, gives, _run(called, inputs, outputs), site, norm)

    def _bound(self, called: Function, weights: Sequence[str]) -> Function:
        rest = [self._constant(name) if name else None for name in weights]
        return lambda x: called(x, *rest)

    def _left_to_the_runtime(self, node: NodeProto) -> Step:
        run = single(node, self._stored, self._kinds, self._model, self._source)
        takes = tuple(
            self._renamed.get(name, name) for name in needs(node) if name not in self._stored
        )
        return Step(operator(node), takes, tuple(name for name in node.output if name), run)

    def _operand(self, name: str) -> Operand:
        kind = self._kinds[name]
        constant = self._constant(name) if self._is_constant(name) else None
        return Operand(DTYPES.get(kind.element or 0), kind.rank, constant)

    def _attribute(self, attribute: AttributeProto) -> Any:  # noqa: ANN401 - see Operator
        if attribute.HasField("t"):
            return self._tensor(attribute.t)
        value = helper.get_attribute_value(attribute)
        return value.decode() if isinstance(value, bytes) else value

    def _is_constant(self, name: str) -> bool:
        return name in self._constants or name in self._stored

    def _constant(self, name: str) -> Any:  # noqa: ANN401 - tensors, and what the runtime gives besides
        if name not in self._constants:
            if name not in self._stored:
                raise NoProgramError(f"the value {name!r} is used before a node gives it")
            self._constants[name] = self._tensor(self._stored[name])
        return self._constants[name]

    def _tensor(self, stored: TensorProto) -> Any:  # noqa: ANN401 - an array where torch has no such type
        array = file.mapped(stored, self._source)
        if stored.data_type in _HALVES:
            return device.placed(torch.from_numpy(array.astype(np.float32)))
        if stored.data_type not in DTYPES:
            return array
        return device.placed(
            torch.from_numpy(array if array.flags.writeable else array.copy())
        )  # torch takes no other


def _dense(sparse: SparseTensorProto) -> TensorProto:
    """Return a sparse tensor with its zeros; its indices are either positions in all elements or one an axis."""
    values, indices = numpy_helper.to_array(sparse.values), numpy_helper.to_array(sparse.indices)
    array = np.zeros(tuple(sparse.dims), values.dtype)
    array[np.unravel_index(indices, array.shape) if indices.ndim == 1 else tuple(indices.T)] = (
        values
    )
    return numpy_helper.from_array(array)


def _needed(nodes: Sequence[NodeProto], outputs: Sequence[str]) -> tuple[list[NodeProto], set[str]]:
    """Return, in their order, the nodes on which outputs depend, and all values that are taken on the way there."""
    wanted = set(outputs)
    found = []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            found.append(node)
            wanted.update(needs(node))
    return found[::-1], wanted


def _is_layer(described: Operator) -> bool:
    """Return whether a node gives its data times a matrix, plus a bias, or a convolution."""
    weight, bias = described.constant(1), described.constant(2)
    if described.kind == "MatMul":
        return bool(weight.dim() == 2)
    if described.kind == "Gemm":
        factors = described.get("alpha", 1.0), described.get("beta", 1.0)
        alike = bias is None or bias.dim() < 2 or bias.shape[0] == 1
        return factors == (1.0, 1.0) and not described.get("transA", 0) and alike
    return True


def _run(
    called: Function, inputs: Sequence[str], outputs: Sequence[str]
) -> Callable[..., tuple[Any, ...]]:
    """Return a step's function for an operator's: without the inputs and outputs that the node leaves out."""
    wanted = [at for at, name in enumerate(outputs) if name]

    def spread(values: Sequence[Any]) -> list[Any]:
        left = iter(values)
        return [next(left) if name else None for name in inputs]

    whole = all(inputs)
    if wanted == [0]:

        def one(*values: Any) -> tuple[Any, ...]:  # noqa: ANN401 - see Values
            found = called(*(values if whole else spread(values)))
            return (found[0] if isinstance(found, tuple) else found,)

        return one

    def several(*values: Any) -> tuple[Any, ...]:  # noqa: ANN401 - see Values
        found = called(*(values if whole else spread(values)))
        return tuple(found[at] for at in wanted)

    return several
