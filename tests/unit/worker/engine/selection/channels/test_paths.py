"""Paths of channels: where a layer's outputs reach one other layer, each on its own."""

import pytest
import torch
from support.engine.depthwise import SHAPE, saved
from support.onnx.text import written
from torch import nn

from convpress.gate.identify import identify
from worker.engine.formats import open_model
from worker.engine.selection.channels.paths import channel_paths

PADS = (0, 0, 1, 1, 0, 0, 1, 1)


def paths(path, shape=SHAPE):
    model = open_model(identify(path), path)
    sites = model.count(model.bind({"": shape})).sites
    return channel_paths(model.program(), sites, model)


def block(folder, *, outputs="float[1,5,8,8] y", activation="Relu(c)", pads=PADS):
    """Write a depthwise block, and return the paths of its channels."""
    text = f"""g (float[1,4,8,8] x) => ({outputs})
        <float[6,4,1,1] first, float[6,1,3,3] depthwise, float[5,6,1,1] last,
         float[1,6,1,1] each, float[1] all> {{
            a = Conv (x, first)
            b = Relu (a)
            pads = Constant <value_ints = [{", ".join(map(str, pads))}]> ()
            p = Pad (b, pads)
            c = Conv <group = 6> (p, depthwise)
            d = {activation}
            y = Conv (d, last)
        }}"""
    return paths(written(folder, text), (1, 4, 8, 8))


def test_a_block_has_a_path_over_activations_and_padding(tmp_path):
    (path,) = block(tmp_path).values()
    assert (path.producer, path.consumer) == ("first", "last")
    assert path.between == ("depthwise",)
    assert path.values == ("d", "c", "p", "b", "a")
    assert path.norms == ()


@pytest.mark.parametrize("suffix", [".onnx", ".pt", ".pt2"])
@pytest.mark.parametrize("norms", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_every_format_finds_the_paths_of_a_network(tmp_path, suffix, norms):
    ways = list(paths(saved(tmp_path, suffix, norms=norms)).values())
    assert len(ways) == 3
    for path in ways:
        assert len(path.between) == 1
        assert len(path.norms) == (2 if norms else 0)
        assert len(path.values) == (6 if norms else 4)
    # a pointwise layer may take the channels of one path and make those of the next
    assert ways[0].consumer == ways[1].producer


@pytest.mark.parametrize(
    "changes",
    [
        # another use, as an output or in the activation
        {"outputs": "float[1,5,8,8] y, float[1,6,8,8] b"},
        {"activation": "Mul (c, c)"},
        # a slope for each channel
        {"activation": "PRelu (c, each)"},
        # an operator across channels
        {"activation": "Softmax <axis = 1> (c)"},
        # padding moves the channels by one
        {"pads": (0, 1, 1, 1, 0, -1, 1, 1)},
    ],
)
def test_other_uses_of_a_value_leave_no_path(tmp_path, changes):
    assert block(tmp_path, **changes) == {}


class Block(nn.Module):
    """A depthwise block with a reader of its channels that no output needs."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(4, 6, 1)
        self.depthwise = nn.Conv2d(6, 6, 3, groups=6)
        self.last = nn.Conv2d(6, 5, 1)
        self.register_buffer("seen", torch.zeros(1, 6, 6, 6))

    def forward(self, x):
        y = torch.relu(self.depthwise(torch.relu(self.first(x))))
        self.read(y)
        return self.last(y)

    def read(self, y):
        pass


class Checked(Block):
    def read(self, y):
        assert y.shape[1] == 6


class Keeping(Block):
    def read(self, y):
        self.seen.copy_(y)


class Idle(Block):
    def read(self, y):
        self.last(torch.relu(y))


def exported(folder, module, *, decomposed=False):
    program = torch.export.export(module.eval(), (torch.zeros(1, 4, 8, 8),))
    path = folder / "block.pt2"
    torch.export.save(program.run_decompositions() if decomposed else program, path)
    return path


def scripted(folder, module):
    path = folder / "block.pt"
    torch.jit.script(module.eval()).save(path)
    return path


# copies of a program's tree of inputs
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
def test_what_reads_channels_for_no_output_leaves_no_path(tmp_path):
    shape = (1, 4, 8, 8)
    assert len(paths(scripted(tmp_path, Block()), shape)) == 1
    assert paths(scripted(tmp_path, Checked()), shape) == {}
    assert paths(scripted(tmp_path, Keeping()), shape) == {}
    assert len(paths(exported(tmp_path, Block()), shape)) == 1
    assert paths(exported(tmp_path, Idle()), shape) == {}
    assert paths(exported(tmp_path, Keeping(), decomposed=True), shape) == {}


def test_a_node_without_effect_leaves_no_path(tmp_path):
    text = """g (float[1,4,8,8] x) => (float[1,5,6,6] y)
        <float[6,4,1,1] first, float[6,1,3,3] depthwise, float[5,6,1,1] last,
         float[2,6,1,1] other> {
            a = Conv (x, first)
            b = Conv <group = 6> (a, depthwise)
            c = Conv (b, other)
            y = Conv (b, last)
        }"""
    assert paths(written(tmp_path, text), (1, 4, 8, 8)) == {}


def test_a_layer_that_runs_twice_has_no_path(tmp_path):
    text = """g (float[1,6,8,8] x) => (float[1,6,6,6] y)
        <float[6,6,1,1] pointwise, float[6,1,3,3] depthwise> {
            a = Conv (x, pointwise)
            b = Conv <group = 6> (a, depthwise)
            y = Conv (b, pointwise)
        }"""
    assert paths(written(tmp_path, text), (1, 6, 8, 8)) == {}


def test_a_plain_pair_has_no_path(tmp_path):
    text = """g (float[1,6,8,8] x) => (float[1,6,8,8] y)
        <float[6,6,1,1] first, float[6,6,1,1] last> {
            a = Conv (x, first)
            b = Relu (a)
            y = Conv (b, last)
        }"""
    assert paths(written(tmp_path, text), (1, 6, 8, 8)) == {}
