"""ONNX models, opened for surgery on their skeleton: the weights stay in the file until they are asked for."""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from onnx import IR_VERSION, ModelProto, NodeProto, TensorShapeProto, ValueInfoProto, defs, helper

from convpress.formats import FIELD
from convpress.gate import bundle
from convpress.refusal import Code, Refusal
from convpress.shapes import FIELD as SHAPE_FIELD
from convpress.shapes import InputShapes, format_shape
from worker.engine.formats import input_shapes
from worker.engine.formats.onnx import bundle as onnx_bundle
from worker.engine.formats.onnx import file, linear
from worker.engine.formats.onnx.constants import Constant
from worker.engine.formats.onnx.control_flow import make_unique
from worker.engine.formats.onnx.functions import with_inlined
from worker.engine.formats.onnx.graph import FLOATS, main_tensors, nested_tensors, own_opset
from worker.engine.formats.onnx.padding import shorten
from worker.engine.formats.onnx.profile import OPERATORS, Counted, count
from worker.engine.formats.onnx.rewrite import Surgery
from worker.engine.formats.onnx.shapes import Unfit, prepared
from worker.engine.model import CostProfile, Site, TensorSpec
from worker.engine.numerics.convolution import Array, Layer

if TYPE_CHECKING:  # torch, which an ONNX model needs for calibrating alone
    from worker.engine.program import Program

_LEAST_IR, _LEAST_OPSET = 3, 6


class OnnxModel:
    """An ONNX model of one file, or of an uncompressed bundle; satisfies `worker.engine.formats.Model`."""

    def __init__(self, model: ModelProto, source: Path) -> None:
        self._model = model
        self._source = source
        initializers = {tensor.name for tensor in model.graph.initializer}
        initializers.update(sparse.values.name for sparse in model.graph.sparse_initializer)
        self._inputs = tuple(
            _spec(value) for value in model.graph.input if value.name not in initializers
        )
        self._outputs = tuple(_spec(value) for value in model.graph.output)
        self._counted: Counted | None = None
        self._surgery: Surgery | None = None

    @classmethod
    def open(cls, path: Path) -> "OnnxModel":
        """Open the model at `path`, which must stay there as long as this object is used.

        Raises:
            Refusal: `model_invalid` where the file cannot be parsed, two nodes give one value or local functions call
                themselves; `model_unsupported` for versions of ONNX that are too old or too new, weights in other
                files, inputs or outputs that are no tensors.
        """
        model = file.read(path)
        _check_versions(model)
        _check_names(model)
        model = with_inlined(model, OPERATORS)
        make_unique(model)
        return cls(model, path)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The tensors that a caller passes, in order; weights that are listed as inputs are none."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The tensors that come out, in order."""
        return self._outputs

    @property
    def parameters(self) -> int:
        """The number of elements of all floating-point tensors that the model stores."""
        self._close()
        stored = (*main_tensors(self._model), *nested_tensors(self._model))
        return sum(prod(tensor.dims) for tensor in stored if tensor.data_type in FLOATS)

    def bind(self, shapes: InputShapes | None) -> dict[str, tuple[int, ...]]:
        """Return a full shape for every input: what the user gave, else what the model carries, batch 1 if free.

        Raises:
            Refusal: `input_shape_required` where neither tells, `input_shape_mismatch` where they contradict.
        """
        return input_shapes.bind(self._inputs, shapes)

    def count(self, shapes: Mapping[str, tuple[int, ...]]) -> CostProfile:
        """Return the sites and what they cost on inputs of these shapes.

        Raises:
            Refusal: `input_shape_mismatch` where the model cannot take these shapes, `model_invalid` where these are
                the only ones that it takes.
        """
        self._close()
        try:
            self._counted = count(self._model, _ones(self._inputs, shapes), self._source)
        except Unfit as error:
            raise self._unfit(shapes, str(error)) from error
        return self._counted.count

    def layer(self, site: Site) -> Layer:
        """Return a replaceable site's weights, as float32 or float64 arrays; `site` stems from the last `count`."""
        assert site.convolution is not None  # a site that can be replaced is a convolution
        node = self._opened().node(self._nodes_of(site)[0])
        weight, bias = self._operands(node)
        stored = self._array(weight), None if bias is None else self._array(bias)
        return Layer(
            site.convolution, *(stored if site.convolution.kernel else linear.arrays(node, *stored))
        )

    def replace(self, site: Site, *chains: Sequence[Layer]) -> None:
        """Put the sum of chains, layers that feed one another, in a site's place, for all its calls, in its dtype."""
        nodes = self._nodes_of(site)
        weight, _ = self._operands(self._opened().node(nodes[0]))
        self._opened().replace(nodes, chains, weight.data_type)

    def program(self) -> "Program":
        """Return the model as steps on torch tensors, along the course that inputs of the last count's shapes take.

        Their sites are those of the last `count` that can be replaced and are called along it, but not in other bodies.
        A weight lies over the model's file, or is a copy in float32. Half-precision inputs are taken as they are or as
        float32, and outputs come out as float32.

        Raises:
            NoProgramError: an operator can neither be computed in torch nor be run by itself.
            Refusal: `model_invalid` where ONNX Runtime cannot load the model.
        """
        from worker.engine.formats.onnx import program as onnx_program

        self._close()
        if self._counted is None:
            return onnx_program.read(prepared(self._model), self._source, {})
        return onnx_program.read(self._counted.course.model, self._source, self._counted.nodes)

    def save(self, path: Path) -> None:
        """Write the model as one file, a bundle where it came as one; weights that nothing uses any more are left out.

        Raises:
            ValueError: `path` is the file that the model was opened from, which still holds its weights.
        """
        self._close()
        shorten(self._model)
        archive = bundle.read(self._source)
        if archive is not None:
            onnx_bundle.write(self._model, archive, self._source, path)
        else:
            file.write(self._model, self._source, path)

    def _opened(self) -> Surgery:
        if self._surgery is None:
            self._surgery = Surgery(self._model)
        return self._surgery

    def _close(self) -> None:
        """End the surgery, so that the model is whole again."""
        if self._surgery is not None:
            self._surgery.close()
            self._surgery = None

    def _nodes_of(self, site: Site) -> tuple[str, ...]:
        assert self._counted is not None  # sites stem from a count
        return self._counted.nodes[site.name]

    def _operands(self, node: NodeProto) -> tuple[Constant, Constant | None]:
        """Return the weight and the bias that a node takes."""
        fixed = self._opened().constants
        return fixed[node.input[1]], fixed.get(node.input[2]) if len(node.input) > 2 else None

    def _array(self, constant: Constant) -> Array:
        values = constant.array(self._source)
        dtype = np.float64 if values.dtype == np.float64 else np.float32
        return values.astype(dtype, copy=not values.flags.writeable)  # torch takes no others

    def _unfit(self, shapes: Mapping[str, tuple[int, ...]], detail: str) -> Refusal:
        got = ",".join(f"{name}={format_shape(shape)}" for name, shape in shapes.items())
        if all(spec.shape == shapes[spec.name] for spec in self._inputs):
            return Refusal(
                Code.MODEL_INVALID,
                detail,
                field=FIELD,
                expected="a model that fits its inputs",
                got=got,
            )
        return Refusal(
            Code.INPUT_SHAPE_MISMATCH,
            detail,
            field=SHAPE_FIELD,
            expected="a shape it can take",
            got=got,
        )


def _ones(
    specs: Sequence[TensorSpec], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, NDArray[np.generic]]:
    """Return inputs of these shapes: ones, and whole numbers without axes as they are bound."""
    return {
        spec.name: spec.number(shapes[spec.name])
        if spec.is_number and shapes[spec.name]
        else np.ones(spec.axes(shapes[spec.name]), np.dtype(spec.dtype))
        for spec in specs
    }


def _check_versions(model: ModelProto) -> None:
    opset = own_opset(model)
    newest = defs.onnx_opset_version()
    if _LEAST_IR <= model.ir_version <= IR_VERSION and _LEAST_OPSET <= opset <= newest:
        return
    raise Refusal(
        Code.MODEL_UNSUPPORTED,
        "the model is written in a version of ONNX that is not supported; export it anew, or convert it with "
        "onnx.version_converter",
        field=FIELD,
        expected=f"IR version {_LEAST_IR} to {IR_VERSION}, opset {_LEAST_OPSET} to {newest}",
        got=f"IR version {model.ir_version}, opset {opset or 'missing'}",
    )


def _check_names(model: ModelProto) -> None:
    """Refuse a main graph in which two nodes give one value: values are how nodes are told apart."""
    given = Counter(name for node in model.graph.node for name in node.output if name)
    twice = [name for name, times in given.items() if times > 1]
    if twice:
        raise Refusal(
            Code.MODEL_INVALID,
            f"several nodes of the model give the value {twice[0]!r}",
            field=FIELD,
            expected="values that one node gives",
            got=f"{len(twice)} values that several nodes give",
        )


def _spec(value: ValueInfoProto) -> TensorSpec:
    """Return what a graph's input or output is; sizes that are written as 0, -1 or ? are not known.

    Raises:
        Refusal: `model_unsupported` where it is no tensor, `model_invalid` where its elements have no type.
    """
    kind = value.type.WhichOneof("value")
    if kind not in ("tensor_type", None):
        raise Refusal(
            Code.MODEL_UNSUPPORTED,
            f"{value.name!r} is no tensor",
            field=FIELD,
            expected="inputs and outputs that are tensors",
            got=kind,
        )
    tensor = value.type.tensor_type
    if tensor.elem_type not in helper.get_all_tensor_dtypes():
        raise Refusal(
            Code.MODEL_INVALID,
            f"the model does not say what type {value.name!r} has",
            field=FIELD,
            expected="inputs and outputs with an element type",
            got=f"element type {tensor.elem_type}",
        )
    dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    if not tensor.HasField("shape"):
        return TensorSpec(value.name, dtype, None)
    return TensorSpec(value.name, dtype, tuple(_size(dim) for dim in tensor.shape.dim))


def _size(dim: TensorShapeProto.Dimension) -> int | str | None:
    if dim.dim_value > 0:
        return dim.dim_value
    return dim.dim_param if any(character.isalpha() for character in dim.dim_param) else None
