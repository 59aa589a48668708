"""The targets that a node of a program may name: operators of aten that compute, and little else.

torch looks up the targets by their names in `torch`, `operator` and `math`, and calls them when the
program runs. So the names are from lists: the operators of tensors that TorchScript may name, those
that only the exporter writes, and arithmetic of sizes.
"""

import re

from convpress.gate.pt2.json_text import Json
from convpress.gate.pt2.schema import Place, brief, shown, text
from convpress.gate.refusals import unsafe, unsupported
from convpress.gate.torchscript import operators

_OPERATOR = re.compile(
    r"torch\.ops\.([A-Za-z_]\w*)\.([A-Za-z_]\w*)(?:\.([A-Za-z_]\w*))?", re.ASCII
)
_CONTAINERS_AND_TEXTS = frozenset(
    """
    Bool Complex ComplexImplicit Delete Float FloatImplicit Generator Int IntImplicit ScalarImplicit
    Size __contains__ __derive_index __getitem__ __interpolate __is__ __isnot__ __not__
    __range_length __upsample __upsample_bilinear __upsample_nearest _get_tracing_state _infer_size
    _list_to_tensor _set_item _size_if_not_equal _unwrap_optional append as_tensor bin
    broadcast_shapes can_cast capitalize center chr clear count cuda degrees device dict divmod
    endswith expandtabs extend fabs factorial find floordiv format gamma get get_autocast_dtype
    get_gradients hash hex insert is_autocast_cpu_enabled is_autocast_enabled is_grad_enabled
    is_owner is_scripting isalnum isalpha isdecimal isdigit isidentifier islower isnumeric
    isprintable isspace istitle isupper items join keys len list ljust lower lstrip mathremainder
    modf oct ord partition percentFormat pop popitem radians remove replace reverse
    rfind rindex rjust rpartition rsplit rstrip set_grad_enabled setdefault sorted splitlines
    startswith str strip swapcase title update upper wait warn zfill
    """.split()  # noqa: SIM905 - a list of quoted words is no easier to read
)
"""Operators of TorchScript's own values, which no graph of torch.export has."""

_EXPORTED = frozenset(
    """
    _assert_scalar lift lift_fresh lift_fresh_copy sym_constrain_range
    sym_constrain_range_for_size sym_numel sym_size sym_storage_offset sym_stride
    """.split()  # noqa: SIM905 - as above
)
"""Operators that the exporter writes, and TorchScript has not."""

ATEN = (operators.ATEN - _CONTAINERS_AND_TEXTS) | _EXPORTED

OVERLOADS = frozenset(
    """
    Scalar ScalarOpt_dim ScalarOpt_dim_dtype ScalarOpt_dtype ScalarOther ScalarSelf Scalar_Other
    Scalar_Self Scalar_Tensor Scalar_mode Sequence Tensor TensorList_bins Tensor_Scalar
    Tensor_Tensor Tensor_float Tensor_generator Tensor_hacked_twin Tensor_mode array
    atol_rtol_float atol_rtol_tensor beta bin_ct bins_tensor center correction data decimals default
    deprecated device dim dim_IntList dim_int dims dtype dtype_layout dx float float_Tensor
    float_float from generator hacked_twin indexing indices input int int_Scalar int_Tensor int_bins
    intlist low low_dtype low_generator low_generator_dtype m memory_format msg n_scalar no_stats
    ord_str other other_scalar p padding padding_idx periodic periodic_alpha periodic_alpha_beta
    prim_Device prim_dtype prim_other rcond_tensor reduce scalar scalararray scalarint
    scalarrayarray scalarrayint sections self self_Tensor self_int self_scalar sizes src stable
    start start_step step str_ord sublist tensor_indices_or_sections tensorarray tensorarrayint to
    tol_tensor two using_ints value value_reduce vec x x_scalar
    """.split()  # noqa: SIM905 - as above
)
"""Overloads of operators of tensors in torch 2.13, without those that write into given tensors."""

SIZES = frozenset(
    {
        "_operator.add",
        "_operator.and_",
        "_operator.eq",
        "_operator.floordiv",
        "_operator.ge",
        "_operator.gt",
        "_operator.le",
        "_operator.lt",
        "_operator.mod",
        "_operator.mul",
        "_operator.ne",
        "_operator.neg",
        "_operator.or_",
        "_operator.pos",
        "_operator.pow",
        "_operator.sub",
        "_operator.truediv",
        "math.trunc",
        "torch.sym_float",
        "torch.sym_int",
        "torch.sym_ite",
        "torch.sym_max",
        "torch.sym_min",
        "torch.sym_not",
        "torch.sym_sqrt",
    }
)
"""Functions of numbers, as the exporter writes them; without shifts, which make giant numbers."""

POWER = "_operator.pow"

WITH_GRAPHS = frozenset(
    {
        "torch.ops.higher_order.cond",
        "torch.ops.higher_order.wrap_with_autocast",
        "torch.ops.higher_order.wrap_with_set_grad_enabled",
    }
)
"""Operators that run graphs of the program, which are checked like the graph that they are in."""

_LONGEST = 500
_EXPECTED = "operators of aten, and arithmetic of sizes"
_is_text = text(_LONGEST)


def target(value: Json, place: Place) -> None:
    """Require the target of a node to be one that networks need.

    Raises:
        Refusal: `model_unsupported` for an operator of another package, or of higher order;
            `model_unsafe` for any other function.
    """
    _is_text(value, place)
    if value in SIZES or value in WITH_GRAPHS:
        return
    match = _OPERATOR.fullmatch(value)
    if match is None:
        raise unsafe(
            f"{shown(place)} is {brief(value)}, which is no operator of aten", _EXPECTED
        )
    package, name, overload = match.groups()
    if package == "higher_order":
        raise unsupported(
            f"{shown(place)} is {brief(value)}, an operator that runs graphs in a way that the "
            "service does not know: export the network without it",
            _EXPECTED,
        )
    if package != "aten":
        raise unsupported(
            f"{shown(place)} is {brief(value)}, an operator of the package {brief(package)}: "
            "export the network with operators of PyTorch alone",
            _EXPECTED,
        )
    if name not in ATEN or overload not in OVERLOADS:
        raise unsafe(
            f"{shown(place)} is {brief(value)}, which is none of the operators of aten that the "
            "service runs: save the program as torch.export.export returns it, without "
            "run_decompositions",
            _EXPECTED,
        )
