"""The input shape that a file does not state: required before a job is queued."""

from pathlib import Path

from convpress import shapes
from convpress.formats import FORMATS, Format
from convpress.gate.registry import GATES
from convpress.refusal import Code, Refusal

_LONGEST_SHOWN = 300


def require_shape(
    model_format: Format, input_shape: str | None, path: Path | None = None
) -> None:
    """Require an input shape for a model whose format stores none, or whose file leaves sizes open.

    `path` is the model's file, where it is at hand: it may suggest a shape, or leave sizes open.

    Raises:
        Refusal: `input_shape_required`, with the suggested shape.
    """
    spec = FORMATS[model_format]
    if input_shape:
        return
    if spec.stores_shapes:
        _require_sizes(model_format, path)
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


def _require_sizes(model_format: Format, path: Path | None) -> None:
    """Require the sizes that a file leaves open.

    Raises:
        Refusal: `input_shape_required`.
    """
    sizes = None if path is None else GATES[model_format].open_shape(path)
    if sizes is None:
        return
    shown = sizes if len(sizes) <= _LONGEST_SHOWN else f"{sizes[:_LONGEST_SHOWN]}..."
    raise Refusal(
        Code.INPUT_SHAPE_REQUIRED,
        "the model leaves sizes of its inputs open; state them",
        field=shapes.FIELD,
        expected=f"{shown} with numbers for all sizes",
        got="nothing",
    )
