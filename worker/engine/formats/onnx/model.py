"""ONNX models that can be rewritten: a skeleton in memory, the weights in the file."""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from onnx import (
    IR_VERSION,
    ModelProto,
    NodeProto,
    defs,
)

from convpress.formats import FIELD
from convpress.gate import bundle
from convpress.refusal import Code, Refusal
from convpress.shapes import FIELD as SHAPE_FIELD
from convpress.shapes import InputShapes, format_shape
from worker.engine.formats import input_shapes
from worker.engine.formats.onnx import linear
from worker.engine.formats.onnx.canonical.domain import use_one_domain
from worker.engine.formats.onnx.canonical.parameters import store_computed_weights
from worker.engine.formats.onnx.canonical.unfuse import unfuse
from worker.engine.formats.onnx.constants import Constant
from worker.engine.formats.onnx.control_flow import make_names_unique
from worker.engine.formats.onnx.dilated_padding import write_pads_of_dilated
from worker.engine.formats.onnx.functions import inline_functions_with
from worker.engine.formats.onnx.graph import (
    FLOATS,
    input_name,
    listed_floats,
    main_tensors,
    nested_tensors,
    own_opset,
    quantised_names,
)
from worker.engine.formats.onnx.padding import drop_empty_inputs
from worker.engine.formats.onnx.profile.count import CountedModel, count
from worker.engine.formats.onnx.profile.node_use import OPERATORS
from worker.engine.formats.onnx.rewrite import GraphRewriter
from worker.engine.formats.onnx.shapes import InputShapeError, without_declared_shapes
from worker.engine.formats.onnx.signature import input_specs, ones, output_specs
from worker.engine.formats.onnx.storage import bundle as bundle_files
from worker.engine.formats.onnx.storage import single_file, skeleton
from worker.engine.model import CostProfile, Site, TensorSpec
from worker.engine.numerics.convolution import Array, Layer

if TYPE_CHECKING:  # torch, which ONNX models need for calibration alone
    from worker.engine.program import Program

# The oldest versions whose models the operators here can be written in.
_LEAST_IR = 3
_LEAST_OPSET = 6


class OnnxModel:
    """An ONNX model in one file, or in an uncompressed bundle; satisfies `engine.model.Model`."""

    def __init__(self, model: ModelProto, source: Path) -> None:
        self._model = model
        self._source = source
        self._inputs = input_specs(model.graph)
        self._outputs = output_specs(model.graph)
        self._counted: CountedModel | None = None
        self._rewriter: GraphRewriter | None = None

    @classmethod
    def open(cls, path: Path) -> "OnnxModel":
        """Open the model at `path`, which must exist as long as this object is used.

        Raises:
            Refusal: `model_invalid` where the file cannot be parsed, two nodes have one output or
                local functions call themselves; `model_unsupported` for versions of ONNX that are
                too old or too new, weights in other files, inputs that are no tensors.
        """
        model = skeleton.read(path)
        _check_versions(model)
        _check_names(model)
        use_one_domain(model)
        # Inlined functions bring names that others have already.
        model = inline_functions_with(model, OPERATORS)
        make_names_unique(model)
        unfuse(model)
        write_pads_of_dilated(model)
        store_computed_weights(model, path)
        return cls(model, path)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The tensors that a caller passes, in order, without the weights among the inputs."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The tensors that the model returns, in order."""
        return self._outputs

    @property
    def parameters(self) -> int:
        """The number of elements of all floating-point and quantised values in the model."""
        self._finish_rewriting()
        quantised, scales = quantised_names(self._model.graph)
        parameters = listed_floats(self._model)
        for tensor in (*main_tensors(self._model), *nested_tensors(self._model)):
            is_weight = tensor.data_type in FLOATS or tensor.name in quantised
            if is_weight and tensor.name not in scales:
                parameters += prod(tensor.dims)
        return parameters

    def bind(self, shapes: InputShapes | None) -> dict[str, tuple[int, ...]]:
        """Return a shape for every input: the user's, else the model's, with batch 1 where free.

        Raises:
            Refusal: `input_shape_required` where neither has one, `input_shape_mismatch` where they
                contradict each other.
        """
        return input_shapes.bind(self._inputs, shapes)

    def count(self, shapes: Mapping[str, tuple[int, ...]]) -> CostProfile:
        """Return the sites and their costs for inputs of these shapes.

        Raises:
            Refusal: `input_shape_mismatch` where the model cannot take these shapes,
                `model_invalid` where it takes no others.
        """
        self._finish_rewriting()
        try:
            stated = {
                spec.name for spec in self._inputs if spec.is_stated(shapes[spec.name])
            }
            inputs = ones(self._inputs, shapes)
            self._counted = count(self._model, inputs, self._source, stated)
        except InputShapeError as error:
            raise self._mismatch(shapes, str(error)) from error
        return self._counted.profile

    def layer(self, site: Site) -> Layer:
        """Return the weights of a site of the last `count`, as float32 or float64 arrays."""
        # A site that can be replaced has a geometry.
        assert site.convolution is not None
        rewriter = self._open_rewriter()
        name = self._nodes_of(site)[0]
        node = rewriter.node(name)
        weight_constant, bias_constant = self._operands(node)
        weight = self._array(weight_constant)
        bias = self._array(bias_constant) if bias_constant else None
        if not site.convolution.kernel:
            weight, bias = linear.arrays(node, weight, bias)
        return Layer(site.convolution, weight, bias)

    def replace(self, site: Site, *chains: Sequence[Layer]) -> None:
        """Replace a site in all its calls by the sum of chains of layers, in its element type."""
        rewriter = self._open_rewriter()
        nodes = self._nodes_of(site)
        first = rewriter.node(nodes[0])
        weight, _ = self._operands(first)
        rewriter.replace(nodes, chains, weight.data_type)

    def can_keep_channels(self, sites: Sequence[str], norms: Sequence[str]) -> bool:
        """Return whether each site is one node, and all constants of these norms are stored."""
        assert self._counted is not None  # the sites come from a count
        rewriter = self._open_rewriter()
        for name in sites:
            if len(self._counted.site_nodes[name]) != 1:
                return False
        for value in norms:
            node = rewriter.giver(value)
            if node is None:
                return False
            if any(name not in rewriter.constants for name in node.input[1:]):
                return False
        return True

    def keep_channels(
        self, values: Sequence[str], norms: Sequence[str], kept: Sequence[int]
    ) -> None:
        """Keep some channels of the values on one path."""
        rewriter = self._open_rewriter()
        for value in norms:
            operands = []
            for name in rewriter.node(value).input[1:]:
                constant = rewriter.constants[name]
                array = self._array(constant)[np.asarray(kept)]
                operands.append((array, constant.data_type))
            rewriter.replace_operands(value, operands)
        rewriter.forget_shapes(values)

    def program(self) -> "Program":
        """Return the model as steps on torch tensors, along the execution path of the last count.

        The steps of replaceable sites of that count are marked, but not those inside of bodies. A
        weight is mapped from the model's file, or a copy in float32. Half-precision inputs may be
        passed as they are or as float32. Outputs are float32.

        Raises:
            NoProgramError: an operator can neither be computed in torch nor be run alone.
            Refusal: `model_invalid` where ONNX Runtime cannot load the model.
        """
        # Imported here: a program needs torch.
        from worker.engine.formats.onnx import program as onnx_program

        self._finish_rewriting()
        if self._counted is None:
            model = without_declared_shapes(self._model)
            return onnx_program.read(model, self._source, {})
        model = self._counted.path.model
        return onnx_program.read(model, self._source, self._counted.site_nodes)

    def save(self, path: Path) -> None:
        """Write the model as one file, or as a bundle where it came as one, without unused weights.

        A bundle of another suffix than `path` becomes one file.

        Raises:
            ValueError: `path` is the file of the model, which still holds its weights.
        """
        self._finish_rewriting()
        drop_empty_inputs(self._model)
        archive = bundle.read(self._source)
        becomes_file = (
            path.suffix != self._source.suffix and path.suffix == bundle.SUFFIX
        )
        if archive is None or becomes_file:
            single_file.write(self._model, self._source, path)
        else:
            bundle_files.write(self._model, archive, self._source, path)

    def _open_rewriter(self) -> GraphRewriter:
        """Return the rewriter of this model, until it is closed."""
        if self._rewriter is None:
            self._rewriter = GraphRewriter(self._model)
        return self._rewriter

    def _finish_rewriting(self) -> None:
        """Close the rewriter, so that the model has no unused weights."""
        if self._rewriter is not None:
            self._rewriter.close()
            self._rewriter = None

    def _nodes_of(self, site: Site) -> tuple[str, ...]:
        """Return the first outputs of the nodes that call a site."""
        # Sites come from a count.
        assert self._counted is not None
        return self._counted.site_nodes[site.name]

    def _operands(self, node: NodeProto) -> tuple[Constant, Constant | None]:
        """Return the weight and the bias of a node."""
        known = self._open_rewriter().constants
        weight = known[node.input[1]]
        bias_name = input_name(node, 2)
        bias = known.get(bias_name) if bias_name else None
        return weight, bias

    def _array(self, constant: Constant) -> Array:
        """Return a constant's elements as float32, or as float64 where they are double."""
        values = constant.array(self._source)
        dtype = np.float64 if values.dtype == np.float64 else np.float32
        # torch takes writeable arrays alone.
        return values.astype(dtype, copy=not values.flags.writeable)

    def _mismatch(self, shapes: Mapping[str, tuple[int, ...]], detail: str) -> Refusal:
        """Return the refusal of inputs of these shapes."""
        texts = [f"{name}={format_shape(shape)}" for name, shape in shapes.items()]
        got = ",".join(texts)
        numbers = input_shapes.unstated_numbers(self._inputs, shapes)
        has_fixed_shapes = numbers is None and all(
            spec.shape == shapes[spec.name] for spec in self._inputs
        )
        # The model fixes all shapes, so the model is invalid.
        if has_fixed_shapes:
            return Refusal(
                Code.MODEL_INVALID,
                detail,
                field=FIELD,
                expected="a model that fits its inputs",
                got=got,
            )
        return Refusal(
            Code.INPUT_SHAPE_MISMATCH,
            f"{detail}; {numbers}" if numbers else detail,
            field=SHAPE_FIELD,
            expected="a shape that the model can take",
            got=got,
        )


def _check_versions(model: ModelProto) -> None:
    """Refuse a model in a version of ONNX that the engine, or onnx itself, does not know."""
    opset = own_opset(model)
    newest = defs.onnx_opset_version()
    is_known_ir = _LEAST_IR <= model.ir_version <= IR_VERSION
    if is_known_ir and _LEAST_OPSET <= opset <= newest:
        return
    raise Refusal(
        Code.MODEL_UNSUPPORTED,
        "the model is written in a version of ONNX that is not supported; export it anew, or "
        "convert it with onnx.version_converter",
        field=FIELD,
        expected=f"IR version {_LEAST_IR} to {IR_VERSION}, opset {_LEAST_OPSET} to {newest}",
        got=f"IR version {model.ir_version}, opset {opset or 'missing'}",
    )


def _check_names(model: ModelProto) -> None:
    """Refuse a main graph in which two nodes have one output: outputs identify nodes."""
    counts: Counter[str] = Counter()
    for node in model.graph.node:
        counts.update(name for name in node.output if name)
    repeated = [name for name, times in counts.items() if times > 1]
    if repeated:
        raise Refusal(
            Code.MODEL_INVALID,
            f"several nodes of the model have the output {repeated[0]!r}",
            field=FIELD,
            expected="outputs of one node each",
            got=f"{len(repeated)} outputs of several nodes",
        )
