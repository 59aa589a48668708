"""A toy model format: a chain of 1x1 convolutions, run by numpy; only tests know it.

A file is a zero byte, a magic line and JSON:

    TOY 1
    {"toy": 1, "input": [16, 6, 6], "steps": [{"name": "a", "relu": true, "branches": [[LAYER]]}]}

A step is a sum of branches, a branch a chain of layers. A layer is
`{"weight": [[...]], "bias": [...], "groups": 1}`.
"""

import json
from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch

from convpress.formats import FORMATS
from convpress.gate.archive import over_limit, unsafe
from convpress.gate.registry import GATES, FormatGate
from worker.engine.formats import ADAPTERS, input_shapes
from worker.engine.formats.adapter import FormatAdapter
from worker.engine.model import Call, CostProfile, Site, TensorSpec
from worker.engine.numerics.convolution import Convolution, Layer
from worker.engine.numerics.patches import convolve
from worker.engine.program import Program, Step

MAGIC = b"\x00TOY 1\n"


def register(monkeypatch):
    """Add a line to each registry, as a format of the product has one."""
    monkeypatch.setitem(FORMATS, "toy", SPEC)
    monkeypatch.setitem(GATES, "toy", FormatGate(recognise, check))
    monkeypatch.setitem(ADAPTERS, "toy", "support.engine.toy_format")


def write(path, shape, steps):
    """Write a model of `(name, relu, branches)`."""
    content = {
        "toy": 1,
        "input": list(shape),
        "steps": [_step_json(*step) for step in steps],
    }
    path.write_bytes(MAGIC + json.dumps(content).encode())


def read(path):
    """Return the JSON of a file."""
    return json.loads(path.read_bytes().removeprefix(MAGIC))


# The gate: the standard library alone.


def recognise(container):
    return bytes(container.content[: len(MAGIC)]) == MAGIC


def check(path, limits):
    content = read(path)
    if content.keys() != {"toy", "input", "steps"}:
        raise unsafe("the toy has members of its own", "toy, input and steps")
    if len(content["steps"]) > limits.nodes:
        raise over_limit("the toy has too many steps", f"at most {limits.nodes}")


# The model: opened for surgery.


@dataclass
class ToyStep:
    name: str
    relu: bool
    branches: list[list[Layer]]


class ToyModel:
    def __init__(self, content):
        self._shape = tuple(content["input"])
        self._steps = [
            ToyStep(
                step["name"],
                step["relu"],
                [[*map(_layer, b)] for b in step["branches"]],
            )
            for step in content["steps"]
        ]

    @classmethod
    def open(cls, path):
        return cls(read(path))

    @property
    def inputs(self):
        return (TensorSpec("x", "float32", ("batch", *self._shape)),)

    @property
    def outputs(self):
        return (TensorSpec("y", "float32", None),)

    @property
    def parameters(self):
        arrays = [
            array
            for _, _, layer in self._layers()
            for array in (layer.weight, layer.bias)
        ]
        return sum(array.size for array in arrays if array is not None)

    def bind(self, shapes):
        return input_shapes.bind(self.inputs, shapes)

    def count(self, shapes):
        batch, _, *size = shapes["x"]
        call = Call(batch, tuple(size))
        sites = []
        for name, _, layer in self._layers():
            geometry = layer.convolution
            macs = geometry.macs(size, batch)
            sites.append(
                Site(name, "Conv", geometry.weight_shape, macs, geometry, (call,))
            )
        relus = sum(step.relu for step in self._steps)
        return CostProfile(tuple(sites), {"Relu": relus})

    def layer(self, site):
        return next(layer for name, _, layer in self._layers() if name == site.name)

    def replace(self, site, *chains):
        step = next(step for name, step, _ in self._layers() if name == site.name)
        assert [len(branch) for branch in step.branches] == [
            1
        ]  # a toy is factored once
        step.branches = [list(chain) for chain in chains]

    def can_keep_channels(self, sites, norms):
        return not norms

    def keep_channels(self, values, norms, kept):
        assert not norms  # a toy has none, and declares no sizes

    def program(self):
        steps = []
        value = "x"
        for step in self._steps:
            ((layer,),) = step.branches
            inner = f"{step.name}_conv"
            outer = f"{step.name}_out"
            activation = torch.relu if step.relu else torch.clone
            run = lambda y, activation=activation: (activation(y),)  # noqa: E731
            steps.append(
                Step("Conv", (value,), (inner,), _torch_call(layer), site=step.name)
            )
            steps.append(Step("Relu", (inner,), (outer,), run))
            value = outer
        return Program(("x",), (value,), {}, tuple(steps))

    def save(self, path):
        write(
            path,
            self._shape,
            [(step.name, step.relu, step.branches) for step in self._steps],
        )

    def run(self, inputs):
        x = inputs["x"]
        for step in self._steps:
            x = sum(_through(branch, x) for branch in step.branches)
            x = np.maximum(x, 0) if step.relu else x
        return {"y": x}

    def _layers(self):
        for step in self._steps:
            for branch in step.branches:
                for layer in branch:
                    is_whole = len(step.branches) == len(branch) == 1
                    yield (
                        step.name if is_whole else f"{step.name}_{id(layer)}",
                        step,
                        layer,
                    )


def _through(branch, x):
    for layer in branch:
        batch, _, *size = x.shape
        groups = layer.convolution.groups
        weight = layer.weight.reshape(groups, -1, layer.weight.shape[1])
        grouped = x.reshape(batch, groups, -1, np.prod(size))
        x = np.einsum("gnc,bgcp->bgnp", weight, grouped).reshape(batch, -1, *size)
        x = x if layer.bias is None else x + layer.bias[:, None, None]
    return x


def _torch_call(layer):
    weight = torch.from_numpy(layer.weight)
    bias = None if layer.bias is None else torch.from_numpy(layer.bias)
    return lambda x: (convolve(layer.convolution, x, weight, bias),)


def _layer(content):
    weight = np.array(content["weight"], np.float32)[:, :, None, None]
    bias = None if content["bias"] is None else np.array(content["bias"], np.float32)
    geometry = Convolution(
        weight.shape, (1, 1), ((0, 0), (0, 0)), (1, 1), content["groups"]
    )
    return Layer(geometry, weight, bias)


def _step_json(name, relu, branches):
    return {
        "name": name,
        "relu": relu,
        "branches": [[*map(_layer_json, b)] for b in branches],
    }


def _layer_json(layer):
    bias = None if layer.bias is None else layer.bias.tolist()
    weight = layer.weight[:, :, 0, 0].tolist()
    return {"weight": weight, "bias": bias, "groups": layer.convolution.groups}


# The two records.

SPEC = replace(
    FORMATS["onnx"],
    name="toy",
    label="Toy",
    noun="a toy",
    container=".toy",
    archive_sign="a toy in it",
    exporter="support.engine.toy_format.write",
    suffix=".toy",
    upload_suffixes=(".toy",),
    bundle_suffixes=(),
    packages=("scipy",),
    runtime="scipy",
)

ADAPTER = FormatAdapter(
    open=ToyModel.open,
    load_runner=lambda path: ToyModel.open(path).run,
    readable=nullcontext,
    stopwatch=lambda: (lambda layer, size, batch: float(layer.macs(size, batch)), 0.0),
    default_layout="whole",
    aligned_ranks=False,
    adds_in_convolution=False,
    macs_per_output=0,
)
