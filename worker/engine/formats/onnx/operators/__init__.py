"""ONNX's operators as torch functions, by type and by the opset's version: one file a family.

Each function is differentiable where its operator is. What the table does not cover is left to ONNX Runtime.
"""

from worker.engine.formats.onnx.operators import (
    activations,
    arithmetic,
    layers,
    movement,
    norms,
    pools,
    reductions,
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
    **layers.TABLE,
    **movement.TABLE,
    **norms.TABLE,
    **pools.TABLE,
    **reductions.TABLE,
    **resizing.TABLE,
}

_SEVERAL_OUTPUTS = ("Dropout", "LayerNormalization", "Split", "TopK")


def function(operator: Operator) -> Function:
    """Return the torch function of an operator.

    Raises:
        UnlistedError: the table does not cover it, or not this form of it.
    """
    build = TABLE.get(operator.kind)
    if build is None or (operator.wanted > 1 and operator.kind not in _SEVERAL_OUTPUTS):
        raise UnlistedError(operator.kind)
    return build(operator)


__all__ = ["TABLE", "Function", "Operand", "Operator", "UnlistedError", "function"]
