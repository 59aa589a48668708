"""Seeing what a TorchScript module does: every operator that a run calls, on tensors with data or without."""

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from worker.engine.formats.torchscript.file import TORCH_ERRORS
from worker.engine.formats.torchscript.layers import (
    Key,
    convolution_name,
    geometry,
    key_of,
    linear_geometry,
)
from worker.engine.model import Call
from worker.engine.numerics.convolution import Convolution
from worker.engine.numerics.flops import matmul_macs

_aten = torch.ops.aten
_CONVOLUTIONS = (_aten.convolution, _aten._convolution)
# Where the two operands of a product stand among its arguments.
_PRODUCTS = {
    _aten.mm: (0, 1),
    _aten.addmm: (1, 2),
    _aten.bmm: (0, 1),
    _aten.baddbmm: (1, 2),
    _aten.mv: (0, 1),
    _aten.addmv: (1, 2),
    _aten.dot: (0, 1),
}


@dataclass(frozen=True)
class Operation:
    """One call of an operator that multiplies and accumulates.

    `weight` and `bias` identify stored tensors; `weight` is None for one that was computed, and for a product of two
    activations. `convolution` and `call` are None where there is no stored matrix among the factors.
    """

    op: str
    weight: Key | None
    bias: Key | None
    weight_shape: tuple[int, ...]
    macs: int
    convolution: Convolution | None = None
    call: Call | None = None


class Trace(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves its hooks untyped
    """Notes the operations of a run, in the order of their first calls, and how often each other operator is called.

    `stored` identifies the tensors that may be a weight. `failure` is what an operator raised: the interpreter that
    passes it on loses its message.
    """

    def __init__(self, stored: Set[Key]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # as above
        self._stored = stored
        self.failure: Exception | None = None
        self.operations: Counter[Operation] = Counter()
        self.others: Counter[str] = Counter()

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
        packet = func.overloadpacket
        if packet in _CONVOLUTIONS:
            self.operations[self._convolution(*args[:9])] += 1
        elif packet in _PRODUCTS:
            left, right = _PRODUCTS[packet]
            self.operations[self._product(packet.__name__, args[left], args[right])] += 1
        elif (
            not func.is_view and packet is not _aten.empty
        ):  # memory alone, asked for by other operators
            self.others[func._schema.name.removeprefix("aten::")] += 1
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
        convolution = geometry(shape, stride, padding, dilation, groups, transposed, output_padding)
        axes = len(convolution.kernel)
        call = Call(data.shape[0] if data.dim() == weight.dim() else 1, tuple(data.shape[-axes:]))
        return Operation(
            convolution_name(axes, transposed),
            self._key(weight),
            None if bias is None else self._key(bias),
            shape,
            convolution.macs(call.input_size, call.batch),
            convolution,
            call,
        )

    def _product(self, op: str, left: Tensor, right: Tensor) -> Operation:
        macs = matmul_macs(left.shape, right.shape)
        for factor, other, summed in ((right, left, 0), (left, right, -1)):
            if (
                factor.dim() == 3 and factor.stride(0) == 0
            ):  # one matrix, repeated to go with a batch of others
                factor = factor[0]
            key = self._key(factor) or (self._key(factor.t()) if factor.dim() == 2 else None)
            if key is None:
                continue
            if factor.dim() != 2:
                return Operation(op, key, None, tuple(factor.shape), macs)
            inputs, outputs = factor.shape[summed], factor.shape[-1 - summed]
            layer = linear_geometry(inputs, outputs)
            return Operation(
                "linear",
                key,
                None,
                layer.weight_shape,
                macs,
                layer,
                Call(other.numel() // max(inputs, 1), ()),
            )
        return Operation(op, None, None, (), macs)

    def _key(self, tensor: Tensor) -> Key | None:
        key = key_of(tensor)
        return key if key in self._stored else None
