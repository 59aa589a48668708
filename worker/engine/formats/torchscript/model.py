"""TorchScript modules, opened for surgery: inlined, so that every convolution is a node, and grafted."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.jit._script import RecursiveScriptModule

from convpress.shapes import InputShapes
from worker.engine.formats import input_shapes
from worker.engine.formats.torchscript import file as archive
from worker.engine.formats.torchscript import rewrite as graft
from worker.engine.formats.torchscript import signature, storages
from worker.engine.formats.torchscript.graph import Scope, scopes
from worker.engine.formats.torchscript.layers import Key, key_of
from worker.engine.formats.torchscript.profile import count
from worker.engine.formats.torchscript.program import read
from worker.engine.formats.torchscript.sites import gather, group, unused_name
from worker.engine.model import CostProfile, Site, TensorSpec
from worker.engine.numerics.convolution import Array, Layer
from worker.engine.program import Program


class TorchScriptModel:
    """A TorchScript module without its Python classes; satisfies `worker.engine.formats.Model`.

    It is never run: the executor would keep the graphs as they were before the surgery. What is rewritten are the
    methods of the module itself; those of its submodules, called on their own, still ask for the weights that were
    replaced, and fail where these were left out.
    """

    def __init__(
        self, module: RecursiveScriptModule, path: Path, extra_files: dict[str, bytes]
    ) -> None:
        self._module = module
        self._path = path
        self._extra_files = extra_files
        self._scopes = scopes(module, "", set())
        self._uses = group(self._scopes)
        self._sites = gather(self._scopes)
        stored = dict(module.state_dict(keep_vars=True))
        for scope in self._scopes:
            stored |= scope.tensors()
        self._keys = {path: key_of(tensor) for path, tensor in stored.items()}
        self._replaced: set[Key] = set()
        self._forward = self._scopes[[*module._c._method_names()].index("forward")]
        self._inputs = signature.inputs(
            self._forward, [use for uses in self._uses.values() for use in uses]
        )

    @classmethod
    def open(cls, path: Path) -> "TorchScriptModel":
        """Open the archive at `path`.

        Raises:
            Refusal: `model_truncated`, `model_invalid` or `model_unsupported` where torch cannot load it, or where its
                forward method takes something else than tensors.
        """
        storages.check(path)
        extra_files: dict[str, bytes] = {}
        module = archive.load(path, extra_files=extra_files)
        signature.require_forward(module)
        return cls(module, path, extra_files)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The tensors that `forward` takes, in order."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The tensors that `forward` gives, as far as its type tells."""
        return signature.outputs(self._module)

    @property
    def parameters(self) -> int:
        """The number of elements of all floating-point parameters, buffers and constants, each counted once."""
        stored = [*self._module.parameters(), *self._module.buffers(), *_constants(self._scopes)]
        return sum(
            {
                tensor.data_ptr(): tensor.numel() for tensor in stored if tensor.is_floating_point()
            }.values()
        )

    def bind(self, shapes: InputShapes | None) -> dict[str, tuple[int, ...]]:
        """Return a full shape for every input; the file carries none, so the user has to give them.

        Raises:
            Refusal: `input_shape_required` where the user gave none, `input_shape_mismatch` for what cannot be.
        """
        return input_shapes.bind(self._inputs, shapes)

    def count(self, shapes: Mapping[str, tuple[int, ...]]) -> CostProfile:
        """Return the sites and what they cost on inputs of these shapes.

        Raises:
            Refusal: `input_shape_mismatch` where the module cannot take these shapes.
        """
        return count(self._path, self._inputs, shapes)

    def layer(self, site: Site) -> Layer:
        """Return a replaceable site's weights, as float32 or float64 arrays."""
        found = self._sites[site.name]
        assert found.convolution is not None  # a site that can be replaced is a convolution
        weight = found.weight.t() if found.turned else found.weight
        return Layer(
            found.convolution, _array(weight), None if found.bias is None else _array(found.bias)
        )

    def program(self) -> Program:
        """Return the arithmetic of `forward` as steps that share their weights with this module, before any surgery.

        Raises:
            NoProgramError: where it cannot be taken apart.
        """
        names = {found.identity: name for name, found in self._sites.items()}
        return read(self._forward, names, [spec.name for spec in self._inputs])

    def replace(self, site: Site, *chains: Sequence[Layer]) -> None:
        """Put the sum of chains, layers that feed one another, in a site's place, for all its calls, in its dtype."""
        found = self._sites.pop(site.name)
        hung = {}
        for layers in chains:
            name = unused_name(
                site.name.replace(".", "_") + "_factored",
                lambda wanted: hasattr(self._module, wanted),
            )
            hung[name] = graft.hang(self._module, name, graft.chain(layers, found.weight))
        for use in self._uses.pop(found.identity):
            graft.call_instead(use, hung)
        self._replaced.update(
            key_of(tensor) for tensor in (found.weight, found.bias) if tensor is not None
        )

    def save(self, target: Path) -> None:
        """Write the archive, with the extra files of the one it came from.

        The weights of replaced sites that nothing reads any more are left out, by whatever names; the names remain, of
        tensors without elements, because nothing can be taken out of the type of a module.
        """
        for scope in self._scopes:
            graft.tidy(scope.graph)
        read = {key_of(tensor) for scope in self._scopes for tensor in scope.tensors().values()}
        unused = self._replaced - read
        for path, key in self._keys.items():
            if key in unused:
                graft.empty(self._module, path)
        archive.save(self._module, target, self._extra_files)


def _array(tensor: Tensor) -> Array:
    detached = tensor.detach()
    return (
        (detached if detached.dtype in (torch.float32, torch.float64) else detached.float())
        .cpu()
        .numpy()
    )


def _constants(found: Sequence[Scope]) -> list[Tensor]:
    """Return the tensors that the methods' graphs themselves hold, as those of a frozen module do."""
    values = (value for scope in found for value in scope.constants())
    return [value for value in values if isinstance(value, Tensor)]
