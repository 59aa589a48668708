"""A TorchScript module, opened for surgery: inlined, so that every layer is a node of its own."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from torch import Tensor
from torch.jit._script import RecursiveScriptModule

from convpress.refusal import Refusal
from convpress.shapes import InputShapes
from worker.engine.formats import input_shapes
from worker.engine.formats.aten import tally
from worker.engine.formats.aten.layers import TensorKey, tensor_key
from worker.engine.formats.aten.sites import layer_of, unused_name
from worker.engine.formats.torchscript import (
    channels,
    file,
    input_types,
    profile,
    rewrite,
    signature,
    storages,
)
from worker.engine.formats.torchscript.graph import literal
from worker.engine.formats.torchscript.layers import LayerNode
from worker.engine.formats.torchscript.preparation.prepare import prepared_methods
from worker.engine.formats.torchscript.program import reader
from worker.engine.formats.torchscript.sites import nodes_by_site, sites_of
from worker.engine.model import CostProfile, Site, TensorSpec
from worker.engine.numerics.convolution import Layer
from worker.engine.program import Program


class TorchScriptModel:
    """A TorchScript module without its Python classes; satisfies `worker.engine.model.Model`.

    It is never run: the executor would keep the graphs as they were before the surgery. The methods
    of the module itself are rewritten. Those of its submodules still ask for the weights that were
    replaced, and fail where these were left out, when somebody calls them on their own.
    """

    def __init__(
        self, module: RecursiveScriptModule, path: Path, extra_files: dict[str, bytes]
    ) -> None:
        self._module = module
        self._path = path
        self._extra_files = extra_files
        self._methods, self._computed = prepared_methods(module)
        self._layers = nodes_by_site(self._methods)
        self._sites = sites_of(self._methods)
        stored = self._stored()
        self._keys = {path: tensor_key(tensor) for path, tensor in stored.items()}
        self._replaced: set[TensorKey] = set()
        names = [*module._c._method_names()]
        forward = names.index("forward")
        self._forward = self._methods[forward]
        layers: list[LayerNode] = []
        for members in self._layers.values():
            layers += members
        self._inputs = signature.inputs(self._forward, layers)
        # Inputs of the last count, without data.
        self._examples: dict[str, Tensor] = {}
        # Inputs whose type neither the program nor the user has told.
        own_type = signature.array_dtype(module)
        self._free = [spec.name for spec in self._inputs if spec.dtype == own_type]

    @classmethod
    def open(cls, path: Path) -> "TorchScriptModel":
        """Open the archive at `path`.

        Raises:
            Refusal: `model_truncated`, `model_invalid` or `model_unsupported` where torch cannot
                load it, or where its forward method takes something else than tensors.
        """
        storages.check(path)
        extra_files: dict[str, bytes] = {}
        module = file.load(path, extra_files=extra_files)
        signature.require_forward(module)
        return cls(module, path, extra_files)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The tensors that `forward` takes, in order."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The tensors that `forward` returns, as far as its type tells."""
        return signature.outputs(self._module)

    @property
    def parameters(self) -> int:
        """The number of elements of all floating-point parameters, buffers and constants."""
        tensors = [*self._module.parameters(), *self._module.buffers()]
        for method in self._methods:
            tensors += method.constant_tensors()
        # Tensors at one address are one tensor by several names.
        sizes = {
            tensor.data_ptr(): tensor.numel()
            for tensor in tensors
            if tensor.is_floating_point()
        }
        return sum(sizes.values())

    def bind(self, shapes: InputShapes | None) -> dict[str, tuple[int, ...]]:
        """Return a full shape for every input; the file has none, so the user has to give them.

        Types that come with the shapes are those of the inputs from now on.

        Raises:
            Refusal: `input_shape_required` where one is missing, `input_shape_mismatch` for one
                that cannot be.
        """
        stated = input_shapes.stated_types(self._inputs, shapes)
        self._inputs = signature.without_batch(self._inputs, shapes)
        specs = [
            replace(spec, dtype=stated.get(spec.name, spec.dtype))
            for spec in self._inputs
        ]
        self._inputs = tuple(specs)
        self._free = [name for name in self._free if name not in stated]
        return input_shapes.bind(self._inputs, shapes)

    def count(self, shapes: Mapping[str, tuple[int, ...]]) -> CostProfile:
        """Return the sites and their costs on inputs of these shapes.

        Where the module fails on an input of the type that it computes in, others are tried.

        Raises:
            Refusal: `input_shape_mismatch` where the module cannot take these shapes.
        """
        count = self._count(shapes)
        tensors = [spec for spec in self._inputs if not spec.is_number]
        self._examples = tally.without_data(tensors, shapes)
        return count

    def _count(self, shapes: Mapping[str, tuple[int, ...]]) -> CostProfile:
        try:
            return profile.count(self._path, self._inputs, shapes)
        except Refusal as refusal:
            for specs in input_types.alternatives(
                self._inputs, self._free, refusal.detail
            ):
                with suppress(Refusal):
                    count = profile.count(self._path, specs, shapes)
                    self._inputs = specs
                    return count
            raise

    def layer(self, site: Site) -> Layer:
        """Return a replaceable site's weights, as float32 or float64 arrays."""
        return layer_of(self._sites[site.name])

    def program(self) -> Program:
        """Return the arithmetic of `forward` as steps that share their weights with this module.

        Call it before any surgery.

        Raises:
            NoProgramError: where it cannot be taken apart.
        """
        named_sites = self._sites.items()
        names = {site.key: name for name, site in named_sites}
        inputs = [spec.name for spec in self._inputs]
        return reader.read(self._forward, names, inputs, self._examples)

    def replace(self, site: Site, *chains: Sequence[Layer]) -> None:
        """Put the sum of chains of layers in a site's place, for all its calls, in its dtype."""
        graph_site = self._sites.pop(site.name)
        weight = graph_site.weight
        modules = {}
        for chain in chains:
            stem = site.name.replace(".", "_") + "_factored"
            name = unused_name(stem, lambda candidate: hasattr(self._module, candidate))
            module = rewrite.chain_module(chain, weight)
            modules[name] = rewrite.add_submodule(self._module, name, module)
        for layer in self._layers.pop(graph_site.key):
            rewrite.replace_node(layer, modules)
        self._replaced.add(tensor_key(weight))
        bias = graph_site.bias
        if bias is not None:
            self._replaced.add(tensor_key(bias))
        for each in self._computed:
            constant = literal(each.constant)
            if tensor_key(constant) in self._replaced:
                self._replaced |= {self._keys[path] for path in each.parameters}

    def can_keep_channels(self, sites: Sequence[str], norms: Sequence[str]) -> bool:
        """Return whether each site is one node of all methods, and these norms are stored."""
        for name in sites:
            if len(self._layers[self._sites[name].key]) != 1:
                return False
        return len(channels.norm_nodes(self._forward, norms)) == len(norms)

    def keep_channels(
        self,
        values: Sequence[str],  # noqa: ARG002 - no file states their sizes
        norms: Sequence[str],
        kept: Sequence[int],
    ) -> None:
        """Keep some channels of the values on one path."""
        for node in channels.norm_nodes(self._forward, norms):
            arrays = channels.stored_arrays(self._forward, node)
            module = channels.kept_arrays(arrays, kept)
            name = unused_name(
                "norm_kept", lambda candidate: hasattr(self._module, candidate)
            )
            self._module._c._register_attribute(name, module._c._type(), module._c)
            channels.read_instead(self._forward, node, name, module)
            self._replaced |= {tensor_key(array) for array in arrays.values()}

    def save(self, target: Path) -> None:
        """Write the archive, with the extra files of the one that was opened.

        Weights of replaced sites that nothing reads any more are left out, by all their names. The
        names remain, of tensors without elements: nothing can be taken out of a module's type.
        """
        for each in self._computed:
            each.take_back()
        for method in self._methods:
            rewrite.clean_up(method.graph)
        still_read = set()
        for method in self._methods:
            still_read |= {tensor_key(tensor) for tensor in method.contents_read()}
        unused = self._replaced - still_read
        for path, key in self._keys.items():
            if key in unused:
                rewrite.empty_weight(self._module, path)
        file.save(self._module, target, self._extra_files)

    def _stored(self) -> dict[str, Tensor]:
        """Return the tensors of the module by path, plain attributes included."""
        stored = dict(self._module.state_dict(keep_vars=True))
        for method in self._methods:
            stored |= method.tensors()
        return stored
