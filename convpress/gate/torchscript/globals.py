"""The classes and functions that a pickle of a model may name, as a module and a name."""

import re

from convpress.gate.refusals import unsafe, unsupported

# The bytes of one number in each kind of storage.
ITEM_BYTES = {
    "torch DoubleStorage": 8,
    "torch FloatStorage": 4,
    "torch HalfStorage": 2,
    "torch BFloat16Storage": 2,
    "torch LongStorage": 8,
    "torch IntStorage": 4,
    "torch ShortStorage": 2,
    "torch CharStorage": 1,
    "torch ByteStorage": 1,
    "torch BoolStorage": 1,
    "torch ComplexDoubleStorage": 16,
    "torch ComplexFloatStorage": 8,
}
REBUILD_TENSOR = "torch._utils _rebuild_tensor_v2"
_REBUILD_QUANTISED = "torch._utils _rebuild_qtensor"
_REBUILD_SPARSE = "torch._utils _rebuild_sparse_tensor"
RESTORE_TYPE = "torch.jit._pickle restore_type_tag"
LISTS = frozenset(
    {
        "torch.jit._pickle build_intlist",
        "torch.jit._pickle build_doublelist",
        "torch.jit._pickle build_boollist",
        "torch.jit._pickle build_tensorlist",
    }
)
# The classes of weights that are packed for kernels of whole numbers.
_QUANTISED_CLASSES = tuple(
    f"__torch__.torch.classes.{kernels}" for kernels in ("quantized", "rnn", "sparse")
)
# The classes of weights that optimize_for_mobile packs.
_MOBILE_CLASSES = tuple(
    f"__torch__.torch.classes.{backend}" for backend in ("xnnpack", "metal", "vulkan")
)
_FUNCTIONS = frozenset(
    {
        REBUILD_TENSOR,
        "torch._utils _rebuild_parameter",
        "collections OrderedDict",
        *LISTS,
        RESTORE_TYPE,
        "torch device",
    }
)
# The names of the model's own classes.
_OWN = re.compile(r"__torch__(\.[A-Za-z_][A-Za-z0-9_]*)+")
# torch has classes of its own in C++, whose deserialisers trust what they read.
_CLASSES_OF_TORCH = "__torch__.torch.classes."
# No exporter writes a longer name of a storage or a type; each is looked at for every use of it.
LONGEST_NAME = 10_000


def require_known_global(name: str, pickle: str) -> None:
    """Check that a pickle names nothing but tensors, plain containers and the model's own classes.

    Raises:
        Refusal: `model_unsupported` for tensors that are quantised, sparse or packed,
            `model_unsafe` for all else.
    """
    # Quantised models are honest: tell their owners what to do.
    if name == _REBUILD_QUANTISED or name.startswith(_QUANTISED_CLASSES):
        raise unsupported(
            f"{pickle} holds quantised tensors, which cannot be factored",
            "the model as it was before it was quantised",
        )
    if name == _REBUILD_SPARSE:
        raise unsupported(
            f"{pickle} holds sparse tensors, which are not supported",
            "the model with dense tensors in their places",
        )
    if name.startswith(_MOBILE_CLASSES):
        raise unsupported(
            f"{pickle} holds weights that were packed for mobile devices",
            "the model from before optimize_for_mobile",
        )
    if name not in _FUNCTIONS and name not in ITEM_BYTES and not is_own(name):
        raise unsafe(
            f"{pickle} names {name[:100]!r}",
            "the model's own classes, tensors and plain containers",
        )


def is_own(name: str) -> bool:
    r"""Return whether a global is a class of the model's own source.

    >>> is_own("__torch__.net Net"), is_own("__torch__.torch.classes.quantized Conv2d")
    (True, False)
    """
    full = name.replace(" ", ".", 1)
    is_name = len(full) <= LONGEST_NAME and _OWN.fullmatch(full) is not None
    return is_name and not full.startswith(_CLASSES_OF_TORCH)
