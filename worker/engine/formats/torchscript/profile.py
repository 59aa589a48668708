"""What a TorchScript module costs: a copy of it is run once, and every operator that it calls is seen.

Counted: convolutions, transposed ones and products of matrices, those inside recurrent layers and attention included,
in the branches that are taken and as often as loops run. Not counted, but listed with their number of calls: all other
operators, except those that only look at a tensor in another way.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.jit._fuser import optimized_execution
from torch.jit._script import RecursiveScriptModule
from torch.nn.attention import SDPBackend, sdpa_kernel

from convpress.refusal import Code, Refusal
from convpress.shapes import FIELD, format_shape
from worker.engine.formats.torchscript.file import TORCH_ERRORS, load, message_of, require_memory
from worker.engine.formats.torchscript.graph import scopes
from worker.engine.formats.torchscript.layers import WEIGHT, Identity, Key, key_of
from worker.engine.formats.torchscript.signature import arguments, own_dtype
from worker.engine.formats.torchscript.sites import HIDDEN, GraphSite, gather, unused_name
from worker.engine.formats.torchscript.trace import Operation, Trace
from worker.engine.model import NUMBER, Call, CostProfile, Site, TensorSpec
from worker.engine.numerics.convolution import Convolution
from worker.engine.numerics.random_inputs import random_inputs

NOT_CALLED = "it is not called for this input shape"
INSIDE = "it is multiplied inside another operator"
NO_WEIGHT = "it is a product of two activations and has no weight"


class _DoesNotRunError(RuntimeError):
    """The module fails on these tensors; the message is torch's own."""


def count(
    path: Path, inputs: Sequence[TensorSpec], shapes: Mapping[str, tuple[int, ...]]
) -> CostProfile:
    """Count the module at `path` on inputs of these shapes.

    It is run without data (on torch's `meta` device) where that is possible, else on random inputs: where its control
    flow depends on data, say.

    Raises:
        Refusal: `input_shape_mismatch` where the module cannot take these shapes.
    """
    bare = {
        spec.name: torch.tensor(shapes[spec.name][0])
        if spec.dtype == NUMBER
        else torch.empty(shapes[spec.name], dtype=getattr(torch, spec.dtype), device="meta")
        for spec in inputs
    }
    try:
        return _count(load(path, "meta"), bare)
    except TORCH_ERRORS:
        pass  # what needs data is tried with data; what fails there too is told
    try:
        return _count(
            load(path),
            {k: torch.from_numpy(array) for k, array in random_inputs(inputs, shapes).items()},
        )
    except _DoesNotRunError as error:
        raise Refusal(
            Code.INPUT_SHAPE_MISMATCH,
            f"the model cannot be run on this input shape: {error}",
            field=FIELD,
            expected="a shape it can take",
            got=",".join(f"{name}={format_shape(shape)}" for name, shape in shapes.items()),
        ) from error


def _count(module: RecursiveScriptModule, tensors: Mapping[str, Tensor]) -> CostProfile:
    sites = gather(scopes(module, "", set()))
    paths = {key_of(tensor): path for path, tensor in module.state_dict(keep_vars=True).items()}
    own = {
        key
        for site in sites.values()
        for key in (site.identity.weight, site.identity.bias)
        if key is not None
    }
    trace = _run(module, tensors, own.union(paths))
    called: dict[str, Counter[Operation]] = defaultdict(Counter)
    others: dict[Operation, Counter[Operation]] = defaultdict(Counter)
    for operation, times in trace.operations.items():
        name = _site_of(operation, sites)
        group = others[replace(operation, call=None, macs=0)] if name is None else called[name]
        group[operation] += times
    rows = {name: _site(site, called[name]) for name, site in sites.items()}
    for operations in others.values():
        first = next(iter(operations))
        path = None if first.weight is None else paths.get(first.weight)
        name = unused_name((path or first.op).removesuffix(".weight"), rows.__contains__)
        rows[name] = _site_outside(name, first, operations)
    return CostProfile(tuple(rows.values()), dict(trace.others))


def _run(module: RecursiveScriptModule, tensors: Mapping[str, Tensor], stored: Set[Key]) -> Trace:
    """Run the module under a trace."""
    trace, given = Trace(stored), arguments(module, tensors, own_dtype(module))
    with _plainly(), trace:
        try:
            module.eval()(**given)
        except TORCH_ERRORS as error:
            require_memory(trace.failure or error)
            raise _DoesNotRunError(message_of(trace.failure or error)) from error
    return trace


@contextmanager
def _plainly() -> Iterator[None]:
    """Compute attention and recurrent layers by the products that they consist of, and call what the module calls.

    Kernels of their own would hide the products, and the executor calls operators itself while it optimises.
    """
    has_kernels = torch._C._get_mkldnn_enabled()
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), optimized_execution(False):
        torch._C._set_mkldnn_enabled(
            False
        )  # torch.backends.mkldnn.flags sets more than this, and warns of that
        try:
            yield
        finally:
            torch._C._set_mkldnn_enabled(has_kernels)


def _site_of(operation: Operation, sites: Mapping[str, GraphSite]) -> str | None:
    """Return the site that an operation is a call of, by its weight, its bias and its geometry."""
    fitting = [name for name, site in sites.items() if _is_call_of(operation, site.identity)]
    exact = [name for name in fitting if sites[name].convolution == operation.convolution]
    return next(iter(exact or fitting), None)


def _is_call_of(operation: Operation, site: Identity) -> bool:
    """Whether an operation may stem from a site's nodes.

    1. A site of which something is computed at run time shares only the weight.
    2. How a linear layer's bias is added differs from input to input.
    3. torch pads an input itself where 'same' needs more zeros at one end, and then convolves with the rest.
    """
    own, seen = site.convolution, operation.convolution
    if operation.weight != site.weight or own is None:
        return operation.weight == site.weight
    if not own.kernel:
        return own == seen
    if operation.bias != site.bias or seen is None or own == seen:
        return operation.bias == site.bias and own == seen
    uneven = not isinstance(own.padding, str) and any(
        before != behind for before, behind in own.padding
    )
    return uneven and replace(own, padding=seen.padding) == seen


def _site(site: GraphSite, operations: Counter[Operation]) -> Site:
    calls = tuple(
        replace(_call(operation.call, operation.convolution, site.convolution), times=times)
        for operation, times in operations.items()
        if operation.call is not None
    )
    shape = site.convolution.weight_shape if site.convolution else tuple(site.weight.shape)
    reason = site.reason if operations else NOT_CALLED
    itemsize = site.weight.element_size()
    return Site(
        site.name, site.op, shape, _macs(operations), site.convolution, calls, reason, itemsize
    )


def _site_outside(name: str, first: Operation, operations: Counter[Operation]) -> Site:
    """Return a site for what no graph names: arithmetic inside other operators, and on what is computed at run time."""
    calls = tuple(
        replace(called.call, times=times)
        for called, times in operations.items()
        if called.call is not None
    )
    if first.weight is None:
        reason = WEIGHT if first.convolution else NO_WEIGHT
    else:
        reason = HIDDEN if first.convolution and first.convolution.kernel else INSIDE
    return Site(
        name, first.op, first.weight_shape, _macs(operations), first.convolution, calls, reason
    )


def _macs(operations: Counter[Operation]) -> int:
    return sum(operation.macs * times for operation, times in operations.items())


def _call(call: Call, seen: Convolution | None, written: Convolution | None) -> Call:
    """Return a call as the graph writes it, with the input's size before torch pads it."""
    if (
        seen is None
        or written is None
        or isinstance(seen.padding, str)
        or isinstance(written.padding, str)
    ):
        return call
    padded = zip(call.input_size, seen.padding, written.padding, strict=True)
    return replace(
        call, input_size=tuple(size + sum(own) - sum(asked) for size, own, asked in padded)
    )
