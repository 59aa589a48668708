"""The input shape that a format does not store: required before a job is queued."""

from pathlib import Path

from convpress import shapes
from convpress.formats import FORMATS, Format
from convpress.gate.registry import GATES
from convpress.refusal import Code, Refusal


def require_shape(model_format: Format, input_shape: str | None, path: Path | None = None) -> None:
    """Require an input shape for a model whose format stores none.

    `path` is the model's file, where it is at hand: it may suggest a shape.

    Raises:
        Refusal: `input_shape_required`, with the suggested shape.
    """
    spec = FORMATS[model_format]
    if spec.stores_shapes or input_shape:
        return
    suggestion = None if path is None else GATES[model_format].suggested_shape(path)
    detail = f"{spec.noun} does not store the shape of its input"
    if suggestion is not None:
        detail += f"; its notes suggest {shapes.FIELD}={suggestion}"
    raise Refusal(
        Code.INPUT_SHAPE_REQUIRED,
        detail,
        field=shapes.FIELD,
        expected=suggestion or shapes.EXPECTED,
        got="nothing",
    )
