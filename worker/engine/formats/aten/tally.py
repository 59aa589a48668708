"""The calls of a traced run, gathered by the sites of a graph into a cost profile."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from worker.engine.formats.aten.layers import WEIGHT, SiteKey, TensorKey
from worker.engine.formats.aten.sites import HIDDEN, GraphSite, unused_name
from worker.engine.formats.aten.trace import Account, Operation
from worker.engine.model import (
    ALONE,
    NUMBER,
    Call,
    CostProfile,
    Site,
    TensorSpec,
    UnaccountedOperator,
)
from worker.engine.numerics.convolution import Convolution

# Why a site stays as it is, as reports say it.
NOT_CALLED = "it is not called for this input shape"
INSIDE = "another operator does its multiplication"
NO_RULE = "there is no rule to count this operator"
NO_MATRIX = "its weight is not a matrix"
NO_WEIGHT = "it is a product of two activations and has no weight"

_PRODUCTS_OF_STACKS = frozenset({"bmm", "baddbmm", "baddbmm_"})

_Calls = Counter[Operation]
"""Operations of one site, with the number of times that each was seen."""


class DoesNotRunError(RuntimeError):
    """The model fails on these tensors; the message is torch's own."""


def stored_keys(
    sites: Mapping[str, GraphSite], paths: Mapping[TensorKey, str]
) -> set[TensorKey]:
    """Return the keys of the tensors that may be a weight or a bias."""
    stored = set(paths)
    for site in sites.values():
        stored |= {key for key in (site.key.weight, site.key.bias) if key is not None}
    return stored


def profile_of(
    account: Account, sites: Mapping[str, GraphSite], paths: Mapping[TensorKey, str]
) -> CostProfile:
    """Return the costs of what a trace has seen; `paths` are the names of stored tensors.

    Counted: convolutions, transposed ones and products of matrices, those inside recurrent layers
    and attention included. Not counted, but listed with their number of calls: all other operators,
    except those that only look at a tensor in another way.
    """
    called: dict[str, _Calls] = defaultdict(Counter)
    outside: dict[Operation, _Calls] = defaultdict(Counter)
    for operation, times in account.operations.items():
        name = _site_of(operation, sites)
        if name is None:
            # Calls of one operator on different sizes are one row.
            kind = replace(operation, call=None, macs=0)
            outside[kind][operation] += times
        else:
            called[name][operation] += times

    rows = {name: _site(site, called[name], account) for name, site in sites.items()}
    for operations in outside.values():
        first = next(iter(operations))
        path = _path(paths, first.weight)
        base = (path or first.op).removesuffix(".weight")
        name = unused_name(base, rows.__contains__)
        rows[name] = _site_outside(name, first, operations, account)
    items = account.unaccounted.items()
    unaccounted = tuple(
        UnaccountedOperator(_path(paths, weight) or operator, operator, NO_RULE)
        for operator, weight in items
    )
    return CostProfile(
        tuple(rows.values()), dict(account.others), unaccounted=unaccounted
    )


def with_weight_macs(profile: CostProfile, macs: int) -> CostProfile:
    """Return the costs with those of computing weights from parameters alone, if there are any."""
    if not macs:
        return profile
    name = unused_name("parameters", {site.name for site in profile.sites}.__contains__)
    products = Site(name, "matmul", (), macs, reason=ALONE)
    return replace(profile, sites=(*profile.sites, products))


def without_data(
    inputs: Sequence[TensorSpec], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Tensor]:
    """Return inputs of these shapes, without data where they have axes."""
    tensors = {}
    for spec in inputs:
        shape = shapes[spec.name]
        if spec.dtype == NUMBER:
            tensors[spec.name] = torch.tensor(shape[0])
        else:
            dtype = getattr(torch, spec.dtype)
            tensors[spec.name] = torch.empty(shape, dtype=dtype, device="meta")
    return tensors


def _path(paths: Mapping[TensorKey, str], weight: TensorKey | None) -> str | None:
    """Return the name of a stored tensor; None where it has none, or where there is no tensor."""
    return None if weight is None else paths.get(weight)


@contextmanager
def without_fused_kernels() -> Iterator[None]:
    """Compute attention and recurrent layers by the products that they consist of.

    Kernels of their own would hide the products.
    """
    has_mkldnn = torch._C._get_mkldnn_enabled()
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        # torch.backends.mkldnn.flags sets more than this, and warns of that.
        torch._C._set_mkldnn_enabled(False)
        try:
            yield
        finally:
            torch._C._set_mkldnn_enabled(has_mkldnn)


def _site_of(operation: Operation, sites: Mapping[str, GraphSite]) -> str | None:
    """Return the site that an operation is a call of, by its weight, its bias and its geometry."""
    named_sites = sites.items()
    fitting = [name for name, site in named_sites if _is_call_of(operation, site.key)]
    exact = [
        name for name in fitting if sites[name].convolution == operation.convolution
    ]
    likeliest = exact or fitting
    return next(iter(likeliest), None)


def _is_call_of(operation: Operation, site: SiteKey) -> bool:
    """Whether an operation may stem from a site's nodes.

    1. A site with a setting that is computed at run time shares only the weight.
    2. How a linear layer's bias is added differs from input to input.
    3. Where 'same' needs more zeros at one end, torch pads the input itself, and then convolves
       with the rest of the padding.
    """
    written, traced = site.convolution, operation.convolution
    if operation.weight != site.weight:
        return False
    if written is None:  # case 1
        return True
    if not written.kernel:  # case 2
        return written == traced
    if operation.bias != site.bias:
        return False
    if traced is None or written == traced:
        return written == traced
    return (
        _is_uneven(written) and replace(written, padding=traced.padding) == traced
    )  # case 3


def _is_uneven(convolution: Convolution) -> bool:
    padding = convolution.padding
    if isinstance(padding, str):
        return False
    return any(before != behind for before, behind in padding)


def _site(site: GraphSite, operations: _Calls, account: Account) -> Site:
    calls = []
    for operation, times in operations.items():
        if operation.call is not None:
            call = _unpadded(operation.call, operation.convolution, site.convolution)
            calls.append(replace(call, times=times))
    shape = tuple(site.weight.shape)
    if site.convolution is not None:
        shape = site.convolution.weight_shape
    return Site(
        site.name,
        site.op,
        shape,
        _macs(operations),
        site.convolution,
        tuple(calls),
        site.reason if operations else NOT_CALLED,
        site.weight.element_size(),
        sized_by_values=_are_sized_by_values(operations, account),
    )


def _are_sized_by_values(operations: _Calls, account: Account) -> bool:
    """Return whether values of the inputs may decide the sizes or the number of these calls.

    A site that was not called may be where the program has read another value.
    """
    if not operations:
        return account.values_were_read
    return not operations.keys().isdisjoint(account.sized_by_values)


def _site_outside(
    name: str, first: Operation, operations: _Calls, account: Account
) -> Site:
    """Return a site for arithmetic that no graph names.

    It lies inside other operators, or works on weights that are computed at run time.
    """
    calls = tuple(
        replace(operation.call, times=times)
        for operation, times in operations.items()
        if operation.call is not None
    )
    return Site(
        name,
        first.op,
        first.weight_shape,
        _macs(operations),
        first.convolution,
        calls,
        _why_outside(first),
        sized_by_values=_are_sized_by_values(operations, account),
    )


def _why_outside(operation: Operation) -> str:
    convolution = operation.convolution
    if operation.weight is None:
        return WEIGHT if convolution else NO_WEIGHT
    if convolution and convolution.kernel:
        return HIDDEN
    if convolution is None and operation.op in _PRODUCTS_OF_STACKS:
        return NO_MATRIX
    return INSIDE


def _macs(operations: _Calls) -> int:
    return sum(operation.macs * times for operation, times in operations.items())


def _unpadded(
    call: Call, traced: Convolution | None, written: Convolution | None
) -> Call:
    """Return a call as the graph writes it, with the input's size before torch pads it."""
    if traced is None or written is None:
        return call
    if isinstance(traced.padding, str) or isinstance(written.padding, str):
        return call
    size = [
        padded + sum(inside) - sum(asked)
        for padded, inside, asked in zip(
            call.input_size, traced.padding, written.padding, strict=True
        )
    ]
    return replace(call, input_size=tuple(size))
