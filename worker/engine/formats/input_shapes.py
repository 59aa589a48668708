"""Input shapes: what the user gave, joined with what the model itself says of its inputs."""

from collections.abc import Collection, Mapping, Sequence

from convpress.refusal import Code, Refusal
from convpress.shapes import FIELD, InputShapes, format_shape
from worker.engine.model import TensorSpec


def bind(inputs: Sequence[TensorSpec], shapes: InputShapes | None) -> dict[str, tuple[int, ...]]:
    """Return a full shape for every input.

    1. A shape that the user gave stands, where it contradicts no size that the model fixes.
    2. Sizes that the model calls by one name are equal, so a given shape tells other inputs'
       sizes too.
    3. The first axis, the batch, is 1 where nothing tells it.
    4. A whole number is given as a shape of one size; 0 is where an ONNX model has one that
       nobody gave.

    Raises:
        Refusal: `input_shape_required` where sizes remain unknown, `input_shape_mismatch` for a
            contradiction.

    >>> image = TensorSpec("image", "float32", ("batch", 3, "side", "side"))
    >>> bind([image], {"": (2, 3, 8, 8)})
    {'image': (2, 3, 8, 8)}
    >>> bind([image, TensorSpec("mask", "float32", ("batch", "side"))], {"mask": (1, 8)})
    {'image': (1, 3, 8, 8), 'mask': (1, 8)}
    """
    given = _by_name(inputs, shapes or {})
    sizes: dict[str, int] = {}
    for spec in inputs:
        if spec.name in given:
            _accept(spec, given[spec.name], sizes)
    for spec in inputs:
        if spec.shape and isinstance(spec.shape[0], str):
            sizes.setdefault(spec.shape[0], 1)
    bound: dict[str, tuple[int, ...]] = {}
    missing: dict[str, tuple[int | str | None, ...] | None] = {}
    for spec in inputs:
        shape = given.get(spec.name) or _filled(spec, sizes)
        if shape is not None and all(isinstance(size, int) for size in shape):
            bound[spec.name] = tuple(size for size in shape if isinstance(size, int))
        else:
            missing[spec.name] = shape
    if missing:
        raise _required(inputs, missing)
    return bound


def _by_name(inputs: Sequence[TensorSpec], shapes: InputShapes) -> InputShapes:
    """Return the shapes by input name; a shape without a name is that of the only input."""
    names = [spec.name for spec in inputs]
    named = (
        dict(zip(names, shapes.values(), strict=True))
        if len(names) == 1 and list(shapes) == [""]
        else shapes
    )
    unknown = sorted(set(named) - set(names))
    if unknown:
        raise Refusal(
            Code.INPUT_SHAPE_MISMATCH,
            "the model has several inputs: give each shape with its input's name"
            if unknown == [""]
            else f"the model has no input {unknown[0]!r}",
            field=FIELD,
            expected=_written(
                {spec.name: spec.shape for spec in inputs},
                named=True,
                numbers={spec.name for spec in inputs if spec.is_number},
            ),
            got=_written(named, named=True),
        )
    return named


def _accept(spec: TensorSpec, shape: tuple[int, ...], sizes: dict[str, int]) -> None:
    """Check a given shape against the model's, and note the sizes that the model has names for."""
    if spec.is_number and len(shape) != 1:
        raise Refusal(
            Code.INPUT_SHAPE_MISMATCH,
            f"input {spec.name!r} of the model is a whole number",
            field=FIELD,
            expected=f"{spec.name}=NUMBER",
            got=f"{spec.name}={format_shape(shape)}",
        )
    if spec.shape is None or spec.is_number:
        return
    fits = len(shape) == len(spec.shape)
    for size, own in zip(shape, spec.shape, strict=False):
        expected = sizes.setdefault(own, size) if isinstance(own, str) else own
        fits = fits and expected in (None, size)
    if not fits:
        raise Refusal(
            Code.INPUT_SHAPE_MISMATCH,
            f"input {spec.name!r} of the model takes another shape",
            field=FIELD,
            expected=format_shape(
                tuple(sizes.get(own, own) if isinstance(own, str) else own for own in spec.shape)
            ),
            got=format_shape(shape),
        )


def _filled(spec: TensorSpec, sizes: Mapping[str, int]) -> tuple[int | str | None, ...] | None:
    if spec.shape is None:
        return None
    filled = [sizes.get(size, size) if isinstance(size, str) else size for size in spec.shape]
    if filled and filled[0] is None:
        filled[0] = 1
    return tuple(filled)


def _required(
    inputs: Sequence[TensorSpec], missing: Mapping[str, tuple[int | str | None, ...] | None]
) -> Refusal:
    numbers = {spec.name for spec in inputs if spec.is_number}
    said = "; ".join(
        f"input {name!r} is a whole number and has no default"
        if name in numbers
        else f"input {name!r} carries no shape"
        if shape is None
        else f"input {name!r} does not say its size along axis "
        + " and ".join(str(axis) for axis, size in enumerate(shape) if not isinstance(size, int))
        for name, shape in missing.items()
    )
    return Refusal(
        Code.INPUT_SHAPE_REQUIRED,
        f"{said} (axes count from 0)",
        field=FIELD,
        expected=_written(missing, named=len(inputs) > 1, numbers=numbers),
        got="nothing",
    )


def _written(
    shapes: Mapping[str, tuple[int | str | None, ...] | None],
    *,
    named: bool,
    numbers: Collection[str] = (),
) -> str:
    """Write shapes as a user gives them."""
    sizes = {
        name: "NUMBER" if name in numbers else "a shape" if shape is None else format_shape(shape)
        for name, shape in shapes.items()
    }
    return ",".join(f"{name}={shape}" if named else shape for name, shape in sizes.items())
