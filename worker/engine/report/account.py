"""The account of a model: its inputs, its sites and what they cost."""

from collections.abc import Mapping, Sequence

from convpress import report as records
from convpress.budgets import FLOPS_PER_MAC
from convpress.precision import AUTO, FLOAT, INT8, Precision
from convpress.shapes import format_shape
from worker.engine.model import NO_ROWS, CostProfile, Restored, Shapes, Site, TensorSpec

CONVENTION = (
    "FLOPs = 2 x MACs. A convolution counts one MAC per weight and output position (input "
    "position if transposed), padding included; a matrix product one per output element and "
    "summed element. Bias, normalisation and activations are not counted; uncounted "
    "operators are listed with their number. Weights that are used several times count for "
    "every call. Of the execution paths through a model's Ifs, the one with most MACs counts "
    "(ONNX), or the one that is taken (TorchScript). A free batch counts as 1, or as the "
    "least that the file allows. FLOPs count alike in float and in int8; those on quantised "
    "weights are the integer operations. Parameters are weights of any type, without scales and "
    "zero points."
)

_AFTER_RESTORING: Mapping[Precision | None, str] = {
    None: "An artifact computes in floats, or with precision=int8 in integers again.",
    FLOAT: "The artifact computes in floats; precision=int8 quantises it again.",
    INT8: "The artifact was quantised again.",
    AUTO: "The artifact was quantised again where the budgets want it.",
}
_OTHER_ROWS = (
    " The artifact had other rows on them than the model: its cost is that on the rows of the "
    "model, and the number of its weights was checked instead."
)
_IN_FLOATS_AFTER_ALL = "The artifact computes in floats: no layer is in int8."


def inputs(specs: Sequence[TensorSpec], shapes: Shapes) -> list[records.Tensor]:
    """Return the inputs with the shapes that all costs were counted at."""
    return [
        records.Tensor(
            name=spec.name, dtype=spec.dtype, shape=format_shape(shapes[spec.name])
        )
        for spec in specs
    ]


def tensors(specs: Sequence[TensorSpec]) -> list[records.Tensor]:
    """Return tensors as the model declares them; the shape is None where it declares none."""
    declared = []
    for spec in specs:
        shape = None if spec.shape is None else format_shape(spec.shape)
        declared.append(records.Tensor(name=spec.name, dtype=spec.dtype, shape=shape))
    return declared


def inspected_sites(profile: CostProfile) -> list[records.InspectedSite]:
    """Return the sites of a model as it is."""
    return [_inspected(site) for site in profile.sites]


def _inspected(site: Site) -> records.InspectedSite:
    return records.InspectedSite(
        name=site.name,
        op=site.op,
        weight_shape=list(site.weight_shape),
        macs=site.macs,
        calls=sum(call.times for call in site.calls),
        courses=paths_of(site),
        reason=site.reason or (None if site.macs else NO_ROWS),
    )


def paths_of(site: Site) -> list[int] | None:
    """Return the indices of the execution paths of a site; None where the model has only one."""
    if not site.execution_paths:
        return None
    return [path for path, macs in enumerate(site.execution_paths) if macs]


def uncounted(profile: CostProfile) -> dict[str, int]:
    """Return the number of each operator that was not counted, by name."""
    return dict(sorted(profile.uncounted.items()))


def unaccounted(profile: CostProfile) -> list[records.Unaccounted]:
    """Return the operators that the account of a model leaves out."""
    return [records.Unaccounted(**vars(operator)) for operator in profile.unaccounted]


def sized_by_values(
    profile: CostProfile, *, other_rows: bool = False
) -> records.SizedByValues | None:
    """Return the layers whose rows values of the inputs may decide; None for none.

    `other_rows` says whether the artifact had other rows than the model when both were counted.

    >>> site = Site("head", "Gemm", (8, 4), 32, sized_by_values=True)
    >>> sized_by_values(CostProfile((site,), {})).layers
    ['head']
    """
    layers = [site.name for site in profile.sites if site.sized_by_values]
    if not layers:
        return None
    number = "1 layer has" if len(layers) == 1 else f"{len(layers)} layers have"
    text = (
        f"Values of the inputs may decide how many rows {number}, and whether they run. The cost "
        "is that on inputs that were made for the count; on others it may differ."
    )
    if other_rows:
        text += _OTHER_ROWS
    return records.SizedByValues(layers=layers, other_rows=other_rows, text=text)


def cost(
    profile: CostProfile, parameters: int, size: int, times: records.RunTimes
) -> records.Cost:
    """Return the costs of a model whose file has `size` bytes."""
    return records.Cost(
        macs=profile.macs,
        courses=list(profile.execution_paths),
        flops=FLOPS_PER_MAC * profile.macs,
        integer_operations=FLOPS_PER_MAC * profile.integer_macs,
        parameters=parameters,
        bytes=size,
        latency_ms=None if times.clock is None else times.clock.median_ms,
    )


def restored(
    model: Restored | None,
    precision: Precision | None = None,
    *,
    has_integers: bool = True,
) -> str | None:
    """Say what was turned back into floats, and what an artifact of this precision computes in.

    None for a model that was posted in floats. Without a precision no artifact was written yet.
    `has_integers` says whether any layer of the artifact is in int8, where its precision allows it.

    >>> restored(Restored(weights=2, pairs=1), INT8).rpartition("and ")[2]
    'DequantizeLinear a clip. The artifact was quantised again.'
    """
    if model is None:
        return None
    weights = "1 weight" if model.weights == 1 else f"{model.weights} weights"
    clips = "1 pair of QuantizeLinear and DequantizeLinear a clip"
    if model.pairs != 1:
        clips = f"{model.pairs} pairs of QuantizeLinear and DequantizeLinear clips"
    after = _AFTER_RESTORING[precision]
    if precision in (INT8, AUTO) and not has_integers:
        after = _IN_FLOATS_AFTER_ALL
    return (
        f"The model is quantised: {weights} became the floats that they stand for, and {clips}. "
        f"{after}"
    )
