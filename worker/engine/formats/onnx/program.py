"""ONNX models as programs: each node is a torch function, or runs in ONNX Runtime.

1. Nodes that no output needs are left out.
2. Values that depend on no input are computed when the program is read. A stored weight is mapped
   from the file.
3. Half precision becomes float32, in weights, inputs and casts.
4. A node that the table of operators does not cover runs in ONNX Runtime, without gradients.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, helper

from worker.engine.formats.onnx.fallback import needed_values, runtime_function
from worker.engine.formats.onnx.graph import (
    OWN_DOMAINS,
    fresh_name,
    is_random,
    names,
    operator,
    own_opset,
)
from worker.engine.formats.onnx.operators import (
    Function,
    Operand,
    Operator,
    UnlistedError,
    function,
)
from worker.engine.formats.onnx.operators.arithmetic import DTYPES
from worker.engine.formats.onnx.storage import tensors
from worker.engine.formats.onnx.types import ValueType, value_types
from worker.engine.numerics import device
from worker.engine.program import NoProgramError, Norm, Program, Step

_HALVES = (TensorProto.FLOAT16, TensorProto.BFLOAT16)


def read(
    model: ModelProto, source: Path, sites: Mapping[str, Sequence[str]]
) -> Program:
    """Read a skeleton without local functions, of the model at `source`, as a program.

    `sites` holds the first outputs of the nodes of each site.

    Raises:
        NoProgramError: an operator can neither be computed in torch nor be run alone.
        Refusal: `model_invalid` where the runtime refuses the model.
    """
    return _Reader(model, source, sites).program()


class _Reader:
    """The steps and constants of a graph, while its nodes are read in order."""

    def __init__(
        self, model: ModelProto, source: Path, sites: Mapping[str, Sequence[str]]
    ) -> None:
        self._model = model
        self._source = source
        self._opset = own_opset(model)
        self._site_of: dict[str, str] = {}
        # A site has one node for each of its calls.
        for site, outputs in sites.items():
            calls = dict.fromkeys(outputs, site)
            self._site_of.update(calls)
        self._types: Mapping[str, ValueType] = value_types(model, source)
        graph = model.graph
        self._stored = {tensor.name: tensor for tensor in graph.initializer}
        for sparse in graph.sparse_initializer:
            dense = tensors.dense(sparse)
            self._stored[sparse.values.name] = dense
        self._constants: dict[str, Any] = {}
        self._renamed: dict[str, str] = {}
        self._used: set[str] = set()
        self._steps: list[Step] = []

    def program(self) -> Program:
        """Return the program of the graph."""
        graph = self._model.graph
        inputs = tuple(
            value.name for value in graph.input if value.name not in self._stored
        )
        self._widen(inputs)
        graph_outputs = [output.name for output in graph.output]
        nodes, self._used = _needed(graph.node, graph_outputs)
        for node in nodes:
            self._read(node)
        outputs = tuple(self._renamed.get(name, name) for name in graph_outputs)
        constants = {}
        free_values = self._free_values(inputs, outputs)
        for name in sorted(free_values):
            constants[name] = self._constant(name)
        also_read = self._read_by_unneeded(nodes)
        return Program(inputs, outputs, constants, tuple(self._steps), also_read)

    def _read_by_unneeded(self, needed: Sequence[NodeProto]) -> frozenset[str]:
        """Return what the nodes read that no output needs: the runtime infers their shapes too."""
        outputs: set[str] = set()
        for node in needed:
            outputs.update(node.output)
        values: set[str] = set()
        for node in self._model.graph.node:
            if outputs.isdisjoint(node.output):
                values.update(needed_values(node))
        return frozenset(self._renamed.get(name, name) for name in values)

    def _free_values(self, inputs: Sequence[str], outputs: Sequence[str]) -> set[str]:
        """Return the values that are neither inputs nor computed by a step."""
        used = set(outputs)
        computed = set(inputs)
        for step in self._steps:
            used.update(step.takes)
            computed.update(step.gives)
        return used - computed

    def _widen(self, inputs: Sequence[str]) -> None:
        """Add steps that cast half-precision inputs to float32."""
        used_names = names(self._model.graph)
        for name in inputs:
            if self._types[name].element not in _HALVES:
                continue
            wide = fresh_name(f"{name}_float32", used_names)
            self._renamed[name] = wide
            self._steps.append(Step("Cast", (name,), (wide,), _to_float32))

    def _read(self, node: NodeProto) -> None:
        """Add a node as a step, or its outputs to the constants."""
        if operator(node) == "Constant" and self._read_tensor(node):
            return
        # A step whose operands are all constant is run once, here.
        step = self._torch_step(node) or self._runtime_step(node)
        depends_on_inputs = not all(self._is_constant(name) for name in step.takes)
        if depends_on_inputs or is_random(node):
            self._steps.append(step)
            return
        operands = [self._constant(name) for name in step.takes]
        try:
            values = step.run(*operands)
        except (
            ArithmeticError,
            LookupError,
            RuntimeError,
            TypeError,
            ValueError,
        ) as error:
            name = node.name or node.output[0]
            raise NoProgramError(
                f"{operator(node)} {name!r} cannot be computed: {error}"
            ) from error
        self._constants.update(zip(step.gives, values, strict=True))

    def _read_tensor(self, node: NodeProto) -> bool:
        """Store the tensor of a Constant node; False where its value is of another kind."""
        value = node.attribute[0]
        if value.name == "value":
            self._stored[node.output[0]] = value.t
        elif value.name == "sparse_value":
            self._stored[node.output[0]] = tensors.dense(value.sparse_tensor)
        else:
            return False
        return True

    def _torch_step(self, node: NodeProto) -> Step | None:
        """Return a node as a step in torch; None where the table does not cover it.

        Sites and norms are bound to their weights.
        """
        if node.domain not in OWN_DOMAINS:
            return None
        named = (*node.input, *node.output)
        for name in named:
            if name and self._types[name].element not in DTYPES:
                return None
        described = self._described(node)
        try:
            compute = function(described)
        except UnlistedError:
            return None
        if not self._has_constant_weights(node):
            return self._step(node, compute, node.input)
        data = node.input[:1]
        weights = node.input[1:]
        first_output = node.output[0]
        site = self._site_of.get(first_output)
        if site is not None and _is_layer(described):
            bound = self._bound(compute, weights)
            return self._step(node, bound, data, site)
        if node.op_type == "BatchNormalization":
            epsilon = described.get("epsilon", 1e-5)
            norm = self._norm(weights, epsilon)
            return self._step(node, self._bound(compute, weights), data, norm=norm)
        return self._step(node, compute, node.input)

    def _described(self, node: NodeProto) -> Operator:
        """Return a node as the table of operators takes it."""
        attributes = {}
        for attribute in node.attribute:
            attributes[attribute.name] = self._attribute(attribute)
        operands = [self._operand(name) if name else None for name in node.input]
        used_outputs = 0
        for count, name in enumerate(node.output, start=1):
            if name in self._used:
                used_outputs = count
        return Operator(
            kind=node.op_type,
            opset=self._opset,
            attributes=attributes,
            inputs=tuple(operands),
            outputs=len(node.output),
            used_outputs=used_outputs,
        )

    def _has_constant_weights(self, node: NodeProto) -> bool:
        """Return whether all inputs but the first one are constant."""
        data, *weights = node.input
        if self._is_constant(data):
            return False
        return all(self._is_constant(name) for name in weights if name)

    def _norm(self, weights: Sequence[str], epsilon: float) -> Norm:
        """Return the statistics and the affine map of a BatchNormalization."""
        weight, bias, mean, variance = (self._constant(name) for name in weights)
        return Norm(mean, variance, weight, bias, epsilon)

    def _step(
        self,
        node: NodeProto,
        compute: Function,
        inputs: Sequence[str],
        site: str | None = None,
        norm: Norm | None = None,
    ) -> Step:
        """Return a node as a step of a function, with the inputs that the function takes."""
        takes = tuple(self._renamed.get(name, name) for name in inputs if name)
        outputs = [name if name in self._used else "" for name in node.output]
        gives = tuple(name for name in outputs if name)
        run = _with_omitted(compute, inputs, outputs)
        return Step(operator(node), takes, gives, run, site, norm)

    def _bound(self, compute: Function, weights: Sequence[str]) -> Function:
        """Return a function of the data alone, with the weights of a node fixed."""
        operands = [self._constant(name) if name else None for name in weights]
        return lambda x: compute(x, *operands)

    def _runtime_step(self, node: NodeProto) -> Step:
        """Return a node as a step in ONNX Runtime."""
        run = runtime_function(
            node, self._stored, self._types, self._model, self._source
        )
        needed = needed_values(node)
        inputs = [name for name in needed if name not in self._stored]
        takes = tuple(self._renamed.get(name, name) for name in inputs)
        gives = tuple(name for name in node.output if name)
        return Step(operator(node), takes, gives, run)

    def _operand(self, name: str) -> Operand:
        """Return an input as it is known before the model runs."""
        value_type = self._types[name]
        constant = self._constant(name) if self._is_constant(name) else None
        dtype = DTYPES.get(value_type.element or 0)
        return Operand(dtype, value_type.rank, constant)

    def _attribute(self, attribute: AttributeProto) -> Any:  # noqa: ANN401 - see Operator
        """Return an attribute with tensors as torch's and texts decoded."""
        if attribute.HasField("t"):
            return self._tensor(attribute.t)
        value = helper.get_attribute_value(attribute)
        if isinstance(value, bytes):
            return value.decode()
        return value

    def _is_constant(self, name: str) -> bool:
        return name in self._constants or name in self._stored

    def _constant(self, name: str) -> Any:  # noqa: ANN401 - a tensor, or another value of the runtime
        """Return a constant's value; stored tensors are read once."""
        if name in self._constants:
            return self._constants[name]
        if name not in self._stored:
            raise NoProgramError(
                f"the value {name!r} is used before a node computes it"
            )
        value = self._tensor(self._stored[name])
        self._constants[name] = value
        return value

    def _tensor(self, stored: TensorProto) -> Any:  # noqa: ANN401 - an array where torch has no such type
        """Return a stored tensor for torch, mapped from the file where it is large."""
        array = tensors.mapped(stored, self._source)
        if stored.data_type in _HALVES:
            return device.placed(torch.from_numpy(array.astype(np.float32)))
        if stored.data_type not in DTYPES:
            return array
        # torch takes writeable arrays alone.
        if not array.flags.writeable:
            array = array.copy()
        return device.placed(torch.from_numpy(array))


def _to_float32(x: torch.Tensor) -> tuple[torch.Tensor]:
    """Widen a half-precision input."""
    return (x.float(),)


def _needed(
    nodes: Sequence[NodeProto], outputs: Sequence[str]
) -> tuple[list[NodeProto], set[str]]:
    """Return the nodes that outputs depend on, in order, and all values that these use."""
    used = set(outputs)
    needed = []
    for node in reversed(nodes):
        if used.intersection(node.output):
            needed.append(node)
            used.update(needed_values(node))
    needed.reverse()
    return needed, used


def _is_layer(described: Operator) -> bool:
    """Return whether a site's node computes its layer exactly: a product plus a bias."""
    if described.kind == "MatMul":
        return bool(described.constant(1).dim() == 2)
    if described.kind != "Gemm":
        return True
    if described.get("transA", 0):
        return False
    alpha = described.get("alpha", 1.0)
    beta = described.get("beta", 1.0)
    # A layer has no scales: its step would have to be scaled as well.
    if alpha != 1.0 or beta != 1.0:
        return False
    bias = described.constant(2)
    if bias is None or bias.dim() < 2:
        return True
    return bool(bias.shape[0] == 1)


def _with_omitted(
    compute: Function, inputs: Sequence[str], outputs: Sequence[str]
) -> Callable[..., tuple[Any, ...]]:
    """Return a step's function for an operator's, which takes and returns named values alone.

    Omitted inputs, whose names are empty, are None to the operator. Its results for empty outputs
    are dropped.
    """
    positions = [position for position, name in enumerate(outputs) if name]
    has_all_inputs = all(inputs)

    def operands(values: Sequence[Any]) -> Iterator[Any]:
        remaining = iter(values)
        for name in inputs:
            yield next(remaining) if name else None

    def call(values: Sequence[Any]) -> Any:  # noqa: ANN401 - see Function
        if has_all_inputs:
            return compute(*values)
        return compute(*operands(values))

    def first(*values: Any) -> tuple[Any, ...]:  # noqa: ANN401 - see Function
        result = call(values)
        return (result[0] if isinstance(result, tuple) else result,)

    def several(*values: Any) -> tuple[Any, ...]:  # noqa: ANN401 - see Function
        results = call(values)
        return tuple(results[position] for position in positions)

    return first if positions == [0] else several
