"""ONNX's operators as torch functions, by type and by the opset's version: one file a family.

To add an operator, add an entry to the table of its family. A function is differentiable where its
operator is. Operators that are not in the table run in ONNX Runtime.
"""

from worker.engine.formats.onnx.operators import (
    activations,
    arithmetic,
    creation,
    indexing,
    layers,
    norms,
    pads,
    pools,
    reductions,
    reshaping,
    resizing,
)
from worker.engine.formats.onnx.operators.operator import (
    Builder,
    Function,
    Operand,
    Operator,
    UnlistedError,
)

TABLE: dict[str, Builder] = {
    **activations.TABLE,
    **arithmetic.TABLE,
    **creation.TABLE,
    **indexing.TABLE,
    **layers.TABLE,
    **norms.TABLE,
    **pads.TABLE,
    **pools.TABLE,
    **reductions.TABLE,
    **reshaping.TABLE,
    **resizing.TABLE,
}

# The functions of all others return their first output alone.
_SEVERAL_OUTPUTS = ("Dropout", "LayerNormalization", "Split", "TopK")


def function(operator: Operator) -> Function:
    """Return the torch function of an operator.

    Raises:
        UnlistedError: the table does not cover it, or not this form of it.
    """
    build = TABLE.get(operator.kind)
    if build is None:
        raise UnlistedError(operator.kind)
    if operator.used_outputs > 1 and operator.kind not in _SEVERAL_OUTPUTS:
        raise UnlistedError(operator.kind)
    return build(operator)


__all__ = ["TABLE", "Function", "Operand", "Operator", "UnlistedError", "function"]
