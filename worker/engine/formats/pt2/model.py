"""A program of torch.export, opened for surgery: every layer is a node of its graph."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from torch.export import ExportedProgram
from torch.fx import Node

from convpress.formats import FIELD
from convpress.refusal import Code, Refusal
from convpress.shapes import InputShapes
from worker.engine.formats import input_shapes
from worker.engine.formats.aten.errors import TORCH_ERRORS, message_of, require_memory
from worker.engine.formats.aten.sites import by_site, layer_of, named_sites
from worker.engine.formats.pt2 import (
    channels,
    file,
    profile,
    reader,
    rewrite,
    signature,
    training,
)
from worker.engine.formats.pt2.flat import flattened
from worker.engine.formats.pt2.graph import Constants, stored_tensors
from worker.engine.formats.pt2.layers import layer_nodes, weights_elsewhere
from worker.engine.model import CostProfile, Site, TensorSpec
from worker.engine.numerics.convolution import Layer
from worker.engine.program import Program


class ExportedModel:
    """An exported program; satisfies `worker.engine.model.Model`.

    The graph, the signature and the weights of the program are rewritten, and all else that the
    file holds stays: symbols and their ranges, names, metadata, buffers that the program writes.
    """

    def __init__(self, program: ExportedProgram, extra_files: dict[str, str]) -> None:
        flat = flattened(program)
        training.require_evaluation(flat.nodes)
        self._program = program
        self._flat = flat
        self._extra_files = extra_files
        self._inputs = signature.inputs(program, flat.graph)
        self._ranges = signature.size_ranges(program)
        stored = stored_tensors(program)
        constants = Constants(
            flat.nodes, {name: tensor for name, (_, tensor) in stored.items()}
        )
        paths = {name: path for name, (path, _) in stored.items()}
        layers = layer_nodes(flat.nodes, constants, paths)
        self._layers = by_site(layers)
        self._sites = named_sites(
            layers,
            flat.in_branches(paths).__contains__,
            weights_elsewhere(flat.nodes, constants, layers),
        )
        self._unused: list[Node] = []

    @classmethod
    def open(cls, path: Path) -> "ExportedModel":
        """Open the archive at `path`, which `file.without_samples` or convpress wrote.

        Raises:
            Refusal: `model_invalid` where torch cannot load it or its operators have arguments that
                they do not take, `model_unsupported` where it takes
                something else than tensors and numbers, holds graphs of an unknown kind within its
                graph, or was exported in training mode.
        """
        program = file.load(path)
        try:
            return cls(program, file.extra_files(path))
        except Refusal:  # a kind of ValueError
            raise
        except TORCH_ERRORS as error:
            require_memory(error)
            raise Refusal(
                Code.MODEL_INVALID,
                f"the arguments of the program's operators cannot be read: {message_of(error)}",
                field=FIELD,
            ) from error

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The tensors and numbers that the program takes, in order."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The tensors and numbers that the program returns, in order."""
        return signature.outputs(self._program)

    @property
    def parameters(self) -> int:
        """The number of elements of all floating-point parameters, buffers and constants."""
        # Tensors at one address are one tensor by several names.
        sizes = {
            tensor.data_ptr(): tensor.numel()
            for _, tensor in stored_tensors(self._program).values()
            if tensor.is_floating_point()
        }
        return sum(sizes.values())

    def bind(self, shapes: InputShapes | None) -> dict[str, tuple[int, ...]]:
        """Return a full shape for every input: the file states all sizes that are fixed.

        Raises:
            Refusal: `input_shape_required` where a size is free, `input_shape_mismatch` for one
                that the program does not take.
        """
        least = {symbol: bounds.least for symbol, bounds in self._ranges.items()}
        bound = input_shapes.bind(self._inputs, shapes, least)
        signature.require_in_range(self._inputs, bound, self._ranges)
        return bound

    def count(self, shapes: Mapping[str, tuple[int, ...]]) -> CostProfile:
        """Return the sites and their costs on inputs of these shapes.

        Raises:
            Refusal: `input_shape_mismatch` where the program cannot take these shapes.
        """
        return profile.count(self._program, self._inputs, shapes)

    def layer(self, site: Site) -> Layer:
        """Return a replaceable site's weights, as float32 or float64 arrays."""
        return layer_of(self._sites[site.name])

    def program(self) -> Program:
        """Return the arithmetic of the graph as steps that share their weights with the program.

        Call it before any surgery.

        Raises:
            NoProgramError: where it cannot be taken apart.
        """
        names = {site.key: name for name, site in self._sites.items()}
        site_of = {}
        for key, members in self._layers.items():
            for layer in members:
                site_of[layer.node] = (names[key], layer)
        return reader.read(self._program, self._flat, site_of)

    def replace(self, site: Site, *chains: Sequence[Layer]) -> None:
        """Put the sum of chains of layers in a site's place, for all its calls, in its dtype."""
        graph_site = self._sites.pop(site.name)
        stored = []
        for number, chain in enumerate(chains):
            stem = (
                f"{site.name}_factored"
                if number == 0
                else f"{site.name}_factored_{number + 1}"
            )
            layers = []
            for index, layer in enumerate(chain):
                path = f"{stem}.{index}"
                layers.append(
                    rewrite.store(self._program, path, layer, graph_site.weight)
                )
            stored.append(layers)
        for place in self._layers.pop(graph_site.key):
            own = replace(place, node=self._flat.origins[place.node])
            self._unused += rewrite.stored_operands(own)
            rewrite.replace_node(own, stored, self._flat.blocks)

    def can_keep_channels(self, sites: Sequence[str], norms: Sequence[str]) -> bool:
        """Return whether each site is one node of a graph without blocks, and norms are stored."""
        if self._flat.blocks:
            return False
        for name in sites:
            if len(self._layers[self._sites[name].key]) != 1:
                return False
        nodes = self._own_nodes(norms)
        return all(channels.stores_arrays(self._program, node) for node in nodes)

    def keep_channels(
        self, values: Sequence[str], norms: Sequence[str], kept: Sequence[int]
    ) -> None:
        """Keep some channels of the values on one path."""
        for node in self._own_nodes(norms):
            self._unused += channels.keep_in_norm(self._program, node, kept)
        for node in self._own_nodes(values):
            channels.keep_in_shapes(node, len(kept))

    def _own_nodes(self, values: Sequence[str]) -> list[Node]:
        """Return the program's nodes of values that go by these names in its arithmetic."""
        return [
            self._flat.origins[node] for node in self._flat.nodes if node.name in values
        ]

    def save(self, target: Path) -> None:
        """Write the archive, with the extra files of the one that was opened.

        Weights of replaced sites that nothing reads any more are left out.
        """
        rewrite.drop_unused(self._program, self._unused, self._flat.blocks)
        self._unused = []
        for graph in (*self._flat.blocks, self._program.graph):
            graph.owning_module.recompile()
            graph.lint()
        file.save(self._program, target, self._extra_files)
