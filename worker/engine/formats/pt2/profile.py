"""Count the cost of an exported program by one run that sees every operator call."""

from collections.abc import Mapping, Sequence, Set
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.fx import Graph

from convpress.refusal import Code, Refusal
from convpress.shapes import FIELD, format_shape
from worker.engine.formats.aten.errors import TORCH_ERRORS, message_of, require_memory
from worker.engine.formats.aten.layers import TensorKey, tensor_key
from worker.engine.formats.aten.nested_values import tensors_in
from worker.engine.formats.aten.sites import named_sites
from worker.engine.formats.aten.tally import (
    profile_of,
    stored_keys,
    with_weight_macs,
    without_data,
    without_fused_kernels,
)
from worker.engine.formats.aten.trace import Account, Trace
from worker.engine.formats.aten.value_sizes import ValueSizes
from worker.engine.formats.pt2 import execute
from worker.engine.formats.pt2.execute import Choice, Conditional, RunBranch
from worker.engine.formats.pt2.flat import flattened
from worker.engine.formats.pt2.graph import (
    Constants,
    fixed_inputs,
    on_device,
    stored_tensors,
)
from worker.engine.formats.pt2.layers import layer_nodes, weights_elsewhere
from worker.engine.model import NUMBER, CostProfile, TensorSpec
from worker.engine.numerics.random_inputs import random_inputs

_WITHOUT_DATA = "meta"
"""The device of tensors without data: what runs there has no sizes that depend on values."""
_RUN_ERRORS = (*TORCH_ERRORS, NotImplementedError, AssertionError)


def count(
    program: ExportedProgram,
    inputs: Sequence[TensorSpec],
    shapes: Mapping[str, tuple[int, ...]],
) -> CostProfile:
    """Count a program on inputs of these shapes.

    It is run without data (on torch's `meta` device) where that is possible, else on random inputs:
    where sizes depend on data, for example. Of the branches of a torch.cond the costliest counts.

    Raises:
        Refusal: `input_shape_mismatch` where the program cannot take these shapes.
    """
    bare = without_data(inputs, shapes)
    stated = {spec.name for spec in inputs if spec.is_stated(shapes[spec.name])}
    try:
        return _count(program, _as_passed(program, inputs, bare), _WITHOUT_DATA, stated)
    except _RUN_ERRORS:
        pass  # it may need data: what fails with data as well is refused below
    arrays = random_inputs(inputs, shapes)
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    try:
        return _count(program, _as_passed(program, inputs, tensors), "cpu", stated)
    except _RUN_ERRORS as error:
        require_memory(error)
        raise Refusal(
            Code.INPUT_SHAPE_MISMATCH,
            f"the model cannot be run on this input shape: {message_of(error)}",
            field=FIELD,
            expected="a shape it can take",
            got=",".join(
                f"{name}={format_shape(shape)}" for name, shape in shapes.items()
            ),
        ) from error


def _as_passed(
    program: ExportedProgram,
    inputs: Sequence[TensorSpec],
    tensors: Mapping[str, Tensor],
) -> dict[str, Any]:
    """Return inputs in the types of the graph: numpy has no bfloat16, a number is no tensor."""
    passed: dict[str, Any] = {}
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    for spec in inputs:
        tensor = tensors[spec.name]
        if spec.dtype == NUMBER:
            passed[spec.name] = int(tensor)
        else:
            passed[spec.name] = tensor.to(values[spec.name].dtype)
    return passed


def _count(
    program: ExportedProgram,
    inputs: Mapping[str, Any],
    device: str,
    stated: Set[str],
) -> CostProfile:
    placed: dict[TensorKey, Tensor] = {}  # what is stored once stays one tensor
    stored: dict[str, Tensor] = {}
    paths: dict[TensorKey, str] = {}
    by_placeholder: dict[str, str] = {}
    for name, (path, tensor) in stored_tensors(program).items():
        key = tensor_key(tensor)
        if key not in placed:
            placed[key] = _copy(tensor, device)
        own = placed[key]
        stored[name] = own
        by_placeholder[name] = path
        own_key = tensor_key(own)
        paths.setdefault(own_key, path)
    flat = flattened(program)
    constants = Constants(flat.nodes, stored, device)
    layers = layer_nodes(flat.nodes, constants, by_placeholder)
    hidden = flat.in_branches(by_placeholder)
    elsewhere = weights_elsewhere(flat.nodes, constants, layers)
    sites = named_sites(layers, hidden.__contains__, elsewhere)
    run = partial(_run, flat.graph, device=device)
    contents = {**stored, **fixed_inputs(program), **inputs}
    known = constants.known()
    keys = stored_keys(sites, paths)
    sizes = None
    if device != _WITHOUT_DATA:
        # stated values are bound to an input as a shape is
        others = [inputs[name] for name in inputs.keys() - stated]
        sizes = ValueSizes(tensors_in(others))
    account = run({**contents, **known}, keys, sizes=sizes)
    profile = profile_of(account, sites, paths)
    if known.keys() <= stored.keys():
        return profile
    # The file computes weights from parameters at each run.
    whole = run(contents, frozenset())
    alone = whole.matrix_macs - account.matrix_macs
    return with_weight_macs(profile, alone)


def _run(
    graph: Graph,
    contents: Mapping[str, Any],
    stored: Set[TensorKey],
    device: str,
    sizes: ValueSizes | None = None,
) -> Account:
    """Return the account of a run; `contents` are what is known before."""
    trace = Trace(stored, sizes)
    with without_fused_kernels(), trace:
        move = partial(on_device, device=device)
        execute.run(graph, contents, move, _costliest(trace))
    return trace.account


def _costliest(trace: Trace) -> Choice:
    """Return the choice of the branch with the most multiply-accumulates, which alone counts."""

    def choice(
        conditional: Conditional, _predicate: object, run_branch: RunBranch
    ) -> Any:  # noqa: ANN401 - whatever flows through the graph
        with trace.apart() as if_true:
            result = run_branch(conditional.if_true)
        with trace.apart() as if_false:
            other = run_branch(conditional.if_false)
        if if_true.macs >= if_false.macs:
            trace.account.add(if_true)
            return result
        trace.account.add(if_false)
        return other

    return choice


def _copy(tensor: Tensor, device: str) -> Tensor:
    """Return a stored tensor on a device; a run may write into it."""
    detached = tensor.detach()
    if device == _WITHOUT_DATA:
        return detached.to(_WITHOUT_DATA)
    return detached.clone()
