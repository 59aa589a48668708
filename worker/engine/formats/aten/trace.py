"""Trace a run of a module: every operator call, on tensors with data or without."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from worker.engine.formats.aten.counting_rules import (
    RULES,
    has_no_products,
    is_solver,
)
from worker.engine.formats.aten.errors import TORCH_ERRORS
from worker.engine.formats.aten.layers import (
    TensorKey,
    convolution_name,
    geometry,
    linear_geometry,
    tensor_key,
)
from worker.engine.formats.aten.nested_values import tensors_in
from worker.engine.formats.aten.value_sizes import ValueSizes
from worker.engine.model import Call
from worker.engine.numerics.convolution import Convolution
from worker.engine.numerics.flops import matmul_macs

_aten = torch.ops.aten
_CONVOLUTIONS = (_aten.convolution, _aten._convolution)
# The positions of the two factors of a product among its arguments.
_PRODUCTS = {
    _aten.mm: (0, 1),
    _aten.addmm: (1, 2),
    _aten.addmm_: (1, 2),
    _aten._addmm_activation: (1, 2),
    _aten._int_mm: (0, 1),
    _aten._scaled_mm: (0, 1),
    _aten.bmm: (0, 1),
    _aten.baddbmm: (1, 2),
    _aten.baddbmm_: (1, 2),
    _aten.mv: (0, 1),
    _aten.addmv: (1, 2),
    _aten.addmv_: (1, 2),
    _aten.dot: (0, 1),
    _aten.vdot: (0, 1),
}
_LEAST_AXES = 2
"""A weight has at least as many; a bias or a scale has fewer."""


@dataclass(frozen=True)
class Operation:
    """One call of an operator that multiplies and accumulates.

    Attributes:
        op: The operator, named by what it does.
        weight: Key of a stored tensor; None for a weight that was computed, and for a product of
            two activations.
        bias: Key of a stored tensor, if there is a bias.
        weight_shape: Shape of the weight, as a layer holds it.
        macs: Multiply-accumulates of one call.
        convolution: The geometry, None where no factor is a stored matrix.
        call: Batch and spatial size of the input, None as the geometry.
    """

    op: str
    weight: TensorKey | None
    bias: TensorKey | None
    weight_shape: tuple[int, ...]
    macs: int
    convolution: Convolution | None = None
    call: Call | None = None


@dataclass
class Account:
    """The operations of a run with their number, in the order of their first calls.

    Attributes:
        operations: What multiplies and accumulates.
        others: The other operators, by name.
        unaccounted: The operators with products and without a counting rule, each with the key of
            its weight; None where it has none.
        matrix_macs: All multiply-accumulates but those of products with vectors.
        sized_by_values: The operations on sizes that values of the inputs may decide.
        values_were_read: Whether the program has read a value that the inputs decide.
    """

    operations: Counter[Operation] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)
    unaccounted: dict[str, TensorKey | None] = field(default_factory=dict)
    matrix_macs: int = 0
    sized_by_values: set[Operation] = field(default_factory=set)
    values_were_read: bool = False

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all operations."""
        return sum(
            operation.macs * times for operation, times in self.operations.items()
        )

    def add(self, other: "Account") -> None:
        """Add what another account holds."""
        self.operations.update(other.operations)
        self.others.update(other.others)
        self.unaccounted = other.unaccounted | self.unaccounted
        self.matrix_macs += other.matrix_macs
        self.sized_by_values |= other.sized_by_values
        self.values_were_read |= other.values_were_read


class Trace(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves its hooks untyped
    """Notes the operators of a run in its `account`.

    `stored` identifies the tensors that may be a weight. `sizes` follows the values of the inputs;
    without it none decides a size. `failure` is what an operator raised: the interpreter that
    passes it on loses its message.
    """

    def __init__(self, stored: Set[TensorKey], sizes: ValueSizes | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # as above
        self._stored = stored
        self._sizes = sizes
        # A view of a stored tensor is a part of that tensor.
        self._by_memory = {key[0]: key for key in stored}
        self.failure: Exception | None = None
        self.account = Account()

    @contextmanager
    def apart(self) -> Iterator[Account]:
        """Note what runs inside in an account of its own."""
        around, self.account = self.account, Account()
        try:
            yield self.account
        finally:
            self.account = around

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Return False: to hide this mode from its compiler torch would import that."""
        return False

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401 - torch's own signature
        types: Any,  # noqa: ANN401
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Call the operator and note it."""
        try:
            result = func(*args, **(kwargs or {}))
        except TORCH_ERRORS as error:
            self.failure = error
            raise
        operator = func.overloadpacket
        if operator in _CONVOLUTIONS:
            self._note(self._convolution(*args[:9]), args)
        elif operator in _PRODUCTS:
            left, right = (args[position] for position in _PRODUCTS[operator])
            product = self._product(operator.__name__, left, right)
            of_vectors = min(left.dim(), right.dim()) < _LEAST_AXES
            self._note(product, args, of_vectors=of_vectors)
        elif operator in RULES:
            macs = RULES[operator](args, result)
            self._note(self._inside(operator.__name__, args, macs), args)
        elif not func.is_view and operator is not _aten.empty:
            # `empty` is memory that other operators ask for: it computes nothing.
            self._note_other(func, args)
        if self._sizes is not None:
            self._sizes.note(func, (args, kwargs), result)
            self.account.values_were_read |= self._sizes.were_read
        return result

    def _convolution(
        self,
        data: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        *settings: Any,  # noqa: ANN401
    ) -> Operation:
        stride, padding, dilation, transposed, output_padding, groups = settings
        shape = tuple(weight.shape)
        convolution = geometry(
            shape, stride, padding, dilation, groups, transposed, output_padding
        )
        axes = len(convolution.kernel)
        has_batch = data.dim() == weight.dim()
        batch = data.shape[0] if has_batch else 1
        size = data.shape[-axes:]
        call = Call(batch, tuple(size))
        bias_key = None
        if bias is not None:
            bias_key = self._stored_key(bias)
        return Operation(
            op=convolution_name(axes, transposed),
            weight=self._stored_key(weight),
            bias=bias_key,
            weight_shape=shape,
            macs=convolution.macs(call.input_size, call.batch),
            convolution=convolution,
            call=call,
        )

    def _note(
        self, operation: Operation, args: Sequence[Any], *, of_vectors: bool = False
    ) -> None:
        self.account.operations[operation] += 1
        if self._sizes is not None and self._sizes.decide(args):
            self.account.sized_by_values.add(operation)
        if not of_vectors:
            self.account.matrix_macs += operation.macs

    def _note_other(self, func: Any, args: Sequence[Any]) -> None:  # noqa: ANN401 - as above
        """Note an operator without a rule, with its weight, where it may multiply."""
        name = func._schema.name.removeprefix("aten::")
        self.account.others[name] += 1
        if has_no_products(func):
            return
        weight = self._weight_among(args)
        if weight is not None or is_solver(name):
            self.account.unaccounted.setdefault(name, weight)

    def _inside(self, op: str, args: Sequence[Any], macs: int) -> Operation:
        """Return an operator that holds products of several kinds."""
        weight = self._weight_among(args)
        shape = () if weight is None else weight[2]
        return Operation(op, weight, None, shape, macs)

    def _weight_among(self, args: Sequence[Any]) -> TensorKey | None:
        """Return the first stored tensor of two axes or more, or that a view is of."""
        for tensor in tensors_in(args):
            key = self._by_memory.get(tensor_key(tensor)[0])
            if key is not None and len(key[2]) >= _LEAST_AXES:
                return key
        return None

    def _product(self, op: str, left: Tensor, right: Tensor) -> Operation:
        """Return a product as a linear layer where one of its factors is a stored matrix."""
        macs = matmul_macs(left.shape, right.shape)
        factors = ((right, left, 0), (left, right, -1))
        for factor, data, summed in factors:
            matrix = factor
            # One matrix, repeated without copies to go with a batch of others, be it of one.
            if factor.dim() == 3 and (factor.stride(0) == 0 or factor.shape[0] == 1):
                matrix = factor[0]
            key = self._stored_key(matrix)
            if key is None and matrix.dim() == 2:
                key = self._stored_key(matrix.t())
            if key is None:
                continue
            if matrix.dim() != 2:
                shape = tuple(matrix.shape)
                return Operation(op, key, None, shape, macs)
            inputs = matrix.shape[summed]
            outputs = matrix.shape[-1 - summed]
            layer = linear_geometry(inputs, outputs)
            numbers = data.numel()
            times = numbers // max(inputs, 1)
            call = Call(times, ())
            return Operation("linear", key, None, layer.weight_shape, macs, layer, call)
        # What is left of a stored tensor that another operator has reshaped.
        return self._inside(op, (left, right), macs)

    def _stored_key(self, tensor: Tensor) -> TensorKey | None:
        key = tensor_key(tensor)
        return key if key in self._stored else None
