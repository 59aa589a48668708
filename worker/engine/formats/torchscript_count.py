"""What a TorchScript module costs: a copy of it is run once, and every operator that it calls is seen.

Counted: convolutions, transposed ones and products of matrices, those inside recurrent layers and attention included,
in the branches that are taken and as often as loops run. Not counted, but listed with their number of calls: all other
operators, except those that only look at a tensor in another way.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.jit._script import RecursiveScriptModule
from torch.nn.attention import SDPBackend, sdpa_kernel

from contract.refusal import Code, Refusal
from contract.shapes import FIELD, format_shape
from worker.engine.convolution import Convolution
from worker.engine.formats import Call, Count, Site, TensorSpec
from worker.engine.formats.torchscript_file import TORCH_ERRORS, load, message_of
from worker.engine.formats.torchscript_graph import scopes
from worker.engine.formats.torchscript_nodes import WEIGHT, Key, key_of
from worker.engine.formats.torchscript_sites import HIDDEN, GraphSite, gather, unused_name
from worker.engine.formats.torchscript_trace import Operation, Trace
from worker.engine.samples import random_inputs

NOT_CALLED = "it is not called for this input shape"
NO_WEIGHT = "it is a product of two activations and has no weight"


def count(path: Path, inputs: Sequence[TensorSpec], shapes: Mapping[str, tuple[int, ...]]) -> Count:
    """Count the module at `path` on inputs of these shapes.

    It is run without data (on torch's `meta` device) where that is possible, else on random inputs: where its control
    flow depends on data, say.

    Raises:
        Refusal: `input_shape_mismatch` where the module cannot take these shapes.
    """
    tensors = {name: torch.from_numpy(array) for name, array in random_inputs(inputs, shapes).items()}
    try:
        return _count(load(path, "meta"), {name: tensor.to("meta") for name, tensor in tensors.items()})
    except TORCH_ERRORS:
        pass  # what needs data is tried with data; what fails there too is told
    try:
        return _count(load(path), tensors)
    except TORCH_ERRORS as error:
        raise Refusal(
            Code.INPUT_SHAPE_MISMATCH,
            f"the model cannot be run on this input shape: {message_of(error)}",
            field=FIELD,
            expected="a shape it can take",
            got=",".join(f"{name}={format_shape(shape)}" for name, shape in shapes.items()),
        ) from error


def _count(module: RecursiveScriptModule, tensors: Mapping[str, Tensor]) -> Count:
    sites = gather(scopes(module, "", set()))
    names = {key_of(tensor): name for name, tensor in module.state_dict(keep_vars=True).items()}
    stored = [*module.state_dict(keep_vars=True).values(), *(site.weight for site in sites.values())]
    stored += [site.bias for site in sites.values() if site.bias is not None]
    dtype = next((tensor.dtype for tensor in stored if tensor.is_floating_point()), torch.float32)
    given = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    # attention is counted by the products it consists of, which only this way of computing it shows
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), Trace(stored) as trace:
        module.eval()(**given)
    called: dict[str, list[tuple[Operation, int]]] = defaultdict(list)
    others: list[tuple[Operation, int]] = []
    for operation, times in trace.operations.items():
        name = _site_of(operation, sites)
        (others if name is None else called[name]).append((operation, times))
    rows = {name: _site(site, called[name]) for name, site in sites.items()}
    for operation, times in others:
        name = unused_name(_readable(operation, names), rows.__contains__)
        reason = WEIGHT if operation.convolution else NO_WEIGHT
        rows[name] = Site(
            name,
            operation.op,
            operation.weight_shape,
            operation.macs * times,
            None,
            (),
            HIDDEN if operation.weight else reason,
        )
    return Count(tuple(rows.values()), dict(trace.others))


def _readable(operation: Operation, names: Mapping[Key, str]) -> str:
    return names.get(operation.weight, operation.op).removesuffix(".weight") if operation.weight else operation.op


def _site_of(operation: Operation, sites: Mapping[str, GraphSite]) -> str | None:
    """Return the site that an operation is a call of: by its weight and bias, and by its geometry if need be."""
    alike = [
        name
        for name, site in sites.items()
        if operation.weight == key_of(site.weight)
        and operation.bias in (None, None if site.bias is None else key_of(site.bias))
    ]
    exact = [name for name in alike if sites[name].convolution == operation.convolution]
    return next(iter(exact or alike), None)


def _site(site: GraphSite, operations: Iterable[tuple[Operation, int]]) -> Site:
    calls, macs = [], 0
    for operation, times in operations:
        macs += operation.macs * times
        if operation.call is not None:
            calls.append(replace(_call(operation.call, operation.convolution, site.convolution), times=times))
    shape = site.convolution.weight_shape if site.convolution else tuple(site.weight.shape)
    reason = site.reason if calls or site.reason else NOT_CALLED
    return Site(site.name, site.op, shape, macs, site.convolution, tuple(calls), reason)


def _call(call: Call, seen: Convolution | None, written: Convolution | None) -> Call:
    """Return a call as the graph writes it: torch pads an input itself where 'same' needs more zeros at one end."""
    if seen is None or written is None or seen.padding == written.padding:
        return call
    if isinstance(seen.padding, str) or isinstance(written.padding, str):
        return call
    padded = zip(call.input_size, seen.padding, written.padding, strict=True)
    return replace(call, input_size=tuple(size + sum(own) - sum(asked) for size, own, asked in padded))
