"""Input shapes: the user's, joined with what the model states of its own inputs."""

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

from convpress.refusal import Code, Refusal
from convpress.shapes import FIELD, InputShapes, TypedShape, format_shape
from worker.engine.model import TensorSpec, Values

Shape = tuple[int, ...]
OpenShape = tuple[int | str | None, ...] | None
"""A shape with sizes that may be a symbol or unknown, or no shape at all."""


def bind(
    inputs: Sequence[TensorSpec],
    shapes: InputShapes | None,
    least: Mapping[str, int] = MappingProxyType({}),
) -> dict[str, Shape]:
    """Return a full shape for every input.

    1. The user's shape holds, where it contradicts no size that the model fixes.
    2. Sizes with the same symbol in the model are equal, so one shape tells sizes of other inputs.
    3. The first axis, the batch, is 1 where nothing tells it, or the `least` of its symbol.
    4. A whole number is written as a shape of one size. An ONNX model may have a whole number that
       the user left out: it is 0.
    5. What is written for an input of a fixed number of whole numbers are its values.

    Raises:
        Refusal: `input_shape_required` where sizes remain unknown, `input_shape_mismatch` for a
            contradiction.

    >>> image = TensorSpec("image", "float32", ("batch", 3, "side", "side"))
    >>> bind([image], {"": (2, 3, 8, 8)})
    {'image': (2, 3, 8, 8)}
    >>> bind([image, TensorSpec("mask", "float32", ("batch", "side"))], {"mask": (1, 8)})
    {'image': (1, 3, 8, 8), 'mask': (1, 8)}
    """
    by_name = _by_name(inputs, shapes or {})
    sizes: dict[str, int] = {}
    for spec in inputs:
        if spec.name in by_name:
            _accept(spec, by_name[spec.name], sizes)
    _assume_smallest_batch(inputs, sizes, least)

    bound: dict[str, Shape] = {}
    missing: dict[str, OpenShape] = {}
    for spec in inputs:
        shape = by_name.get(spec.name) or _filled(spec, sizes)
        full = _full(shape)
        if full is None:
            missing[spec.name] = shape
        elif spec.name in by_name and _are_values(spec, full):
            bound[spec.name] = Values(full)
        else:
            bound[spec.name] = full
    if missing:
        raise _required(inputs, missing)
    return bound


def stated_types(
    inputs: Sequence[TensorSpec], shapes: InputShapes | None
) -> dict[str, str]:
    """Return the types that the user stated, by input.

    Raises:
        Refusal: `input_shape_mismatch` for a shape of no input.
    """
    by_name = _by_name(inputs, shapes or {})
    return {
        name: shape.dtype
        for name, shape in by_name.items()
        if isinstance(shape, TypedShape)
    }


def _by_name(inputs: Sequence[TensorSpec], shapes: InputShapes) -> InputShapes:
    """Return the shapes by input name; a shape without a name is that of the only input.

    Raises:
        Refusal: `input_shape_mismatch` for a shape of no input.
    """
    names = [spec.name for spec in inputs]
    if len(names) == 1 and list(shapes) == [""]:
        return {names[0]: shapes[""]}
    unknown = sorted(set(shapes) - set(names))
    if not unknown:
        return shapes
    detail = f"the model has no input {unknown[0]!r}"
    if unknown == [""]:
        detail = "the model has several inputs: give each shape with its input's name"
    raise Refusal(
        Code.INPUT_SHAPE_MISMATCH,
        detail,
        field=FIELD,
        expected=_text({spec.name: spec.shape for spec in inputs}, _numbers(inputs)),
        got=_text(shapes),
    )


def _accept(spec: TensorSpec, shape: Shape, sizes: dict[str, int]) -> None:
    """Check the user's shape against the model's, and note the sizes of the model's symbols.

    Raises:
        Refusal: `input_shape_mismatch`.
    """
    if isinstance(shape, TypedShape) and shape.dtype != spec.dtype:
        raise Refusal(
            Code.INPUT_SHAPE_MISMATCH,
            f"input {spec.name!r} of the model takes another type",
            field=FIELD,
            expected=spec.dtype,
            got=shape.dtype,
        )
    if spec.is_number:
        _require_number(spec, shape)
        return
    if _are_values(spec, shape):
        return
    if spec.shape is None:
        return
    fits = len(shape) == len(spec.shape)
    # All sizes are noted before a refusal, which shows what the symbols stand for.
    for size, own in zip(shape, spec.shape, strict=False):
        expected = own
        if isinstance(own, str):
            expected = sizes.setdefault(own, size)
        if expected not in (None, size):
            fits = False
    if fits:
        return
    raise Refusal(
        Code.INPUT_SHAPE_MISMATCH,
        f"input {spec.name!r} of the model takes another shape",
        field=FIELD,
        expected=format_shape(_substituted(spec.shape, sizes)),
        got=format_shape(shape),
    )


def _are_values(spec: TensorSpec, shape: Shape) -> bool:
    """Return whether what the user wrote for an input of one axis are its values.

    Its shape is fixed, so that nobody needs to write it.
    """
    return spec.is_list and spec.shape == (len(shape),)


def unstated_numbers(
    inputs: Sequence[TensorSpec], shapes: Mapping[str, Shape]
) -> str | None:
    """Return a sentence on inputs of whole numbers whose values the user has not stated.

    None where there are none. Their values may be sizes, on which the model depends.
    """
    examples = []
    for spec in inputs:
        shape = shapes[spec.name]
        if spec.is_number and not shape:
            examples.append(f"{spec.name}=NUMBER")
        elif spec.is_list and not isinstance(shape, Values):
            examples.append(f"{spec.name}={'x'.join(['NUMBER'] * shape[0])}")
    if not examples:
        return None
    return (
        f"its inputs of whole numbers may be sizes: state their values in {FIELD} "
        f"({','.join(examples)})"
    )


def _require_number(spec: TensorSpec, shape: Shape) -> None:
    """Check that the user wrote one size, the number itself, for a whole number.

    Raises:
        Refusal: `input_shape_mismatch`.
    """
    if len(shape) == 1:
        return
    raise Refusal(
        Code.INPUT_SHAPE_MISMATCH,
        f"input {spec.name!r} of the model is a whole number",
        field=FIELD,
        expected=f"{spec.name}=NUMBER",
        got=f"{spec.name}={format_shape(shape)}",
    )


def _assume_smallest_batch(
    inputs: Sequence[TensorSpec], sizes: dict[str, int], least: Mapping[str, int]
) -> None:
    """Let the symbol of a first axis be 1, or the least that it may be, where no shape tells it."""
    for spec in inputs:
        if spec.shape and isinstance(spec.shape[0], str):
            symbol = spec.shape[0]
            smallest = least.get(symbol, 1)
            sizes.setdefault(symbol, max(1, smallest))


def _filled(spec: TensorSpec, sizes: Mapping[str, int]) -> OpenShape:
    """Return the model's own shape with known symbols as numbers, and 1 for an unnamed batch."""
    if spec.shape is None:
        return None
    filled = _substituted(spec.shape, sizes)
    # The first axis is the batch, and one sample is enough to count and to run a model.
    if filled[:1] == (None,):
        return (1, *filled[1:])
    return filled


def _substituted(
    shape: tuple[int | str | None, ...], sizes: Mapping[str, int]
) -> tuple[int | str | None, ...]:
    """Return a shape with known symbols as numbers."""
    substituted: list[int | str | None] = []
    for size in shape:
        if isinstance(size, str):
            substituted.append(sizes.get(size, size))
        else:
            substituted.append(size)
    return tuple(substituted)


def _full(shape: OpenShape) -> Shape | None:
    """Return a shape whose sizes are all numbers, None for any other."""
    if shape is None:
        return None
    numbers = tuple(size for size in shape if isinstance(size, int))
    if len(numbers) < len(shape):
        return None
    return numbers


def _required(
    inputs: Sequence[TensorSpec], missing: Mapping[str, OpenShape]
) -> Refusal:
    """Return the refusal that names every size that is missing."""
    numbers = _numbers(inputs)
    reasons = [
        _why_missing(name, shape, name in numbers) for name, shape in missing.items()
    ]
    return Refusal(
        Code.INPUT_SHAPE_REQUIRED,
        f"{'; '.join(reasons)} (axes count from 0)",
        field=FIELD,
        expected=_text(missing, numbers, named=len(inputs) > 1),
        got="nothing",
    )


def _why_missing(name: str, shape: OpenShape, is_number: bool) -> str:
    if is_number:
        return f"input {name!r} is a whole number and has no default"
    if shape is None:
        return f"input {name!r} carries no shape"
    axes = [str(axis) for axis, size in enumerate(shape) if not isinstance(size, int)]
    listed = " and ".join(axes)
    return f"input {name!r} does not say its size along axis {listed}"


def _numbers(inputs: Sequence[TensorSpec]) -> set[str]:
    """Return the names of the inputs that are whole numbers."""
    return {spec.name for spec in inputs if spec.is_number}


def _text(
    shapes: Mapping[str, OpenShape],
    numbers: Collection[str] = (),
    *,
    named: bool = True,
) -> str:
    """Write shapes as a user writes them, with NUMBER for a whole number."""
    texts = []
    for name, shape in shapes.items():
        text = "a shape"
        if name in numbers:
            text = "NUMBER"
        elif shape is not None:
            text = format_shape(shape)
        texts.append(f"{name}={text}" if named else text)
    return ",".join(texts)
