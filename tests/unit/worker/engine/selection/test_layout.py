"""Branches compute the same as the whole chain in both formats; a cost table decides."""

from dataclasses import replace
from math import prod

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.engine.costs import cost_table
from torch import nn

from worker.engine.costs.grid import Grid
from worker.engine.decompose import FORMS, Target
from worker.engine.formats import load_runner, open_model
from worker.engine.model import Call, Site
from worker.engine.numerics.convolution import Convolution, Layer
from worker.engine.numerics.moments import unknown
from worker.engine.selection.layout import (
    branch_convolutions,
    branch_number,
    in_layout,
    layout_of,
)

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning"
)  # of torch's exporter of old

TOLERANCE = 1e-5
SIZE = (6, 6)


def factored(form, convolution, rank):
    """Return the layers of a form at a rank, or None where it does not apply."""
    if FORMS[form].why_not(convolution) is not None:
        return None
    (each,) = FORMS[form].factorisations(convolution)
    generator = np.random.default_rng(0)
    layer = Layer(
        convolution,
        generator.standard_normal(convolution.weight_shape),
        np.ones(convolution.out_channels),
    )
    return each.layers(
        Target.of(layer, unknown(convolution)), min(rank, each.ranks[-1])
    )


def site_of(convolution):
    call = Call(2, SIZE[: len(convolution.kernel)], times=3)
    macs = 3 * convolution.macs(call.input_size, 2)
    return Site("conv", "Conv", convolution.weight_shape, macs, convolution, (call,))


def export(model_format, module, x, path):
    if model_format == "onnx":
        torch.onnx.export(module, (x,), path, dynamo=False, input_names=["x"])
    else:
        torch.jit.trace(module, x).save(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("layouts")


@pytest.mark.parametrize(
    "model_format", ["onnx", pytest.param("torchscript", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("form", ["dac", "pointwise-first"])
@given(
    groups=st.integers(1, 2),
    channels=st.tuples(st.integers(2, 5), st.integers(1, 4)),
    kernel=st.sampled_from([(3, 3), (1, 3), (2, 2)]),
    stride=st.integers(1, 2),
    rank=st.integers(1, 4),
)
@settings(max_examples=5, deadline=None)
def test_branches_add_up_to_the_chain(
    folder, model_format, form, groups, channels, kernel, stride, rank
):
    inputs, outputs = (groups * number for number in channels)
    padding = tuple(size // 2 for size in kernel)
    convolution = Convolution(
        (outputs, inputs // groups, *kernel),
        (stride, stride),
        tuple((size, size) for size in padding),
        (1, 1),
        groups,
    )
    layers = factored(form, convolution, rank)
    if layers is None:
        return
    number = branch_number([layer.convolution for layer in layers])
    x = torch.randn(2, inputs, *SIZE, generator=torch.Generator().manual_seed(1))
    path = folder / "model"
    export(
        model_format,
        nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups),
        x,
        path,
    )
    results = {}
    for layout in ("whole", "branches"):
        model = open_model(model_format, path)
        (site,) = model.count({model.inputs[0].name: tuple(x.shape)}).sites
        chains = in_layout(layers, layout)
        model.replace(site, *chains)
        model.save(folder / layout)
        (results[layout],) = load_runner(model_format, folder / layout)(
            {model.inputs[0].name: x.numpy()}
        ).values()
        written = open_model(model_format, folder / layout)
        counted = written.count({model.inputs[0].name: tuple(x.shape)})
        assert counted.macs == site.macs_of([layer.convolution for layer in layers])
        assert len(chains) == (1 if layout == "whole" else number)
        assert len(counted.sites) == 2 * len(chains)
    assert (
        np.abs(results["whole"] - results["branches"]).max()
        <= TOLERANCE * np.abs(results["whole"]).max()
    )
    if model_format == "onnx":
        onnx.checker.check_model(str(folder / "branches"), full_check=True)


def test_the_old_name_and_its_documentation_are_those_of_the_sum(folder):
    path = folder / "named.onnx"
    export("onnx", nn.Conv2d(4, 4, 3), torch.zeros(1, 4, 6, 6), path)
    proto = onnx.load(path)
    proto.graph.node[0].doc_string = "what it is for"
    onnx.save(proto, path)
    model = open_model("onnx", path)
    (site,) = model.count({"x": (1, 4, 6, 6)}).sites
    model.replace(site, *in_layout(factored("dac", site.convolution, 3), "branches"))
    model.save(folder / "out.onnx")
    *nodes, last = onnx.load(folder / "out.onnx").graph.node
    assert [node.op_type for node in nodes] == ["Conv"] * 4 + ["Add"] + ["Conv"] * 2
    assert last.op_type == "Add"
    assert last.name == proto.graph.node[0].name
    assert last.doc_string == "what it is for"
    names = [node.name for node in (*nodes, last)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    "layers", [[], ["one"], ["transposed", "one"], ["spatial", "spatial"]]
)
def test_other_chains_are_whole(layers):
    ones = ((1, 1), ((0, 0), (0, 0)), (1, 1))
    kinds = {
        "one": Convolution((8, 8, 1, 1), *ones),
        "transposed": Convolution(
            (8, 3, 3, 3), *ones, groups=8, transposed=True, output_padding=(0, 0)
        ),
        "spatial": Convolution((8, 8, 3, 1), *ones),
    }
    chain = [kinds[layer] for layer in layers]
    assert branch_number(chain) == 1
    assert branch_convolutions(chain) == tuple(chain)
    assert layout_of(site_of(kinds["one"]), chain, "onnx") == "whole"


def chain_of(rank):
    convolution = Convolution((8, 8, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))
    return site_of(convolution), [
        layer.convolution for layer in factored("dac", convolution, rank)
    ]


def test_a_table_decides_and_without_one_the_format_does():
    site, chain = chain_of(3)
    assert layout_of(site, chain, "onnx") == "branches"
    assert layout_of(site, chain, "torchscript") == "whole"
    flat = [replace(each, weight_shape=(*each.weight_shape[:2], 1)) for each in chain]
    assert layout_of(site, flat, "onnx") == "whole"  # of one spatial axis
    # by a table of one price, branches take longer by what every layer costs beside its arithmetic
    assert layout_of(site, chain, cost_table(layer_ns=100.0)) == "whole"
    # and less where several filters a channel are costly
    quick = cost_table("torchscript")
    costly = Grid((1,), (1, 3), (1,), (((1.0,), (50.0,)),))
    quick = replace(
        quick,
        grids={**quick.grids, "ragged depthwise 3x3": costly, "depthwise 3x3": costly},
    )
    assert layout_of(site, chain, quick) == "branches"
    # no price for depthwise layers
    grids = {
        kind: grid
        for kind, grid in cost_table().grids.items()
        if "depthwise" not in kind
    }
    assert layout_of(site, chain, replace(cost_table(), grids=grids)) == "branches"


def test_sums_cost_time_where_the_runtime_does_not_add_within_a_layer():
    _, chain = chain_of(3)
    depthwise, pointwise = branch_convolutions(chain)
    pair = [depthwise, pointwise]
    for model_format, sums in (("onnx", 0), ("torchscript", 2)):
        table = cost_table(model_format)
        once = table.summed(pair, 1, SIZE)
        assert once == table.nanoseconds(depthwise, SIZE) + table.nanoseconds(
            pointwise, SIZE
        )
        assert table.summed(pair, 3, SIZE) == 3 * once + sums * (8 * prod(SIZE) + 100)
    four = Convolution((8, 8, 1, 1, 1, 1), (1,) * 4, ((0, 0),) * 4, (1,) * 4)
    assert table.summed([four], 1, (6,) * 4) is None
