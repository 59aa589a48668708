"""Layers of few input channels, as of images: what is slower than they are is not chosen."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.engine.analyses import GEOMETRY, UNPRICED, analysed, objective_of
from torch import nn

from convpress.budgets import FLOPS
from convpress.refusal import Refusal
from worker.engine import pipeline
from worker.engine.decompose import FORMS
from worker.engine.decompose.forms.dac import dac
from worker.engine.decompose.forms.spatial import spatial
from worker.engine.model import Call, Site
from worker.engine.numerics.convolution import Convolution, Layer
from worker.engine.request import Request
from worker.engine.selection.candidates import ORIGINAL
from worker.engine.selection.enumeration import candidates_of_forms
from worker.engine.selection.few_channels import is_slower
from worker.engine.selection.layout import layout_of
from worker.engine.selection.objective import choose

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning"
)  # of torch's exporter of old

STEM = Convolution((64, 3, 7, 7), (2, 2), ((3, 3), (3, 3)), (1, 1))


class OneLayer:
    """Stands in for a model of one site."""

    def __init__(self, layer):
        self._layer = layer

    def layer(self, site):
        return self._layer


def site_of(convolution, side=224):
    size = (side,) * len(convolution.kernel)
    macs = convolution.macs(size, 1)
    shape = convolution.weight_shape
    return Site("stem", "Conv", shape, macs, convolution, (Call(1, size),))


def slower(convolution, form, rank, model_format="onnx"):
    factorisation = form(convolution)[0]
    layers = factorisation.convolutions(rank)
    return is_slower(site_of(convolution), layers, model_format)


@pytest.mark.parametrize(
    ("form", "rank", "expected"),
    [
        (dac, 20, True),
        (dac, 12, True),
        (dac, 4, False),
        (spatial, 12, False),
        (spatial, 4, False),
    ],
)
def test_a_form_of_a_stem_is_slower_if_it_writes_much_and_saves_little(
    form, rank, expected
):
    """`benchmarks/forms.py` measured 1.3 to 1.4, 1.0 to 1.2, 0.7, 0.8 and 0.4 of the time."""
    assert slower(STEM, form, rank) is expected


def test_what_a_small_kernel_saves_is_too_little_for_torch():
    small = replace(STEM, weight_shape=(32, 3, 3, 3), padding=((1, 1), (1, 1)))
    assert not slower(small, spatial, 1, "onnx")
    assert slower(small, spatial, 1, "torchscript")
    assert not slower(STEM, spatial, 4, "torchscript")


@pytest.mark.parametrize(
    "other",
    [
        Convolution((64, 8, 7, 7), (2, 2), ((3, 3), (3, 3)), (1, 1)),
        Convolution((64, 3, 7), (2,), ((3, 3),), (1,)),
    ],
    ids=["more channels", "one axis"],
)
def test_the_rule_concerns_only_what_was_measured(other):
    assert not slower(other, dac, 4)


def test_few_channels_are_not_written_in_branches():
    (factorisation,) = dac(STEM)
    assert layout_of(site_of(STEM), factorisation.convolutions(4), "onnx") == "whole"
    (factorisation,) = dac(GEOMETRY)
    assert (
        layout_of(site_of(GEOMETRY), factorisation.convolutions(2), "onnx") == "whole"
    )
    wide = replace(GEOMETRY, weight_shape=(8, 5, 3, 3))
    (factorisation,) = dac(wide)
    assert layout_of(site_of(wide), factorisation.convolutions(2), "onnx") == "branches"


class StemAndBody(nn.Module):
    """The stem of a residual network, and layers of its body."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 64, 7, 2, 3)
        self.pool = nn.MaxPool2d(2)
        self.body = nn.Sequential(*(nn.Conv2d(64, 64, 3, padding=1) for _ in range(3)))

    def forward(self, x):
        x = self.pool(torch.relu(self.stem(x)))
        for layer in self.body:
            x = torch.relu(layer(x))
        return x.mean((2, 3))


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A network whose stem no other layer can spare at half its FLOPs by weights alone."""
    torch.manual_seed(0)
    module = StemAndBody().eval()
    path = tmp_path_factory.mktemp("stem") / "model.onnx"
    torch.onnx.export(
        module, (torch.rand(1, 3, 224, 224),), path, dynamo=False, input_names=["x"]
    )
    return path


def compressed(network, folder, budget="0.5", **options):
    """Compress the network by its weights, and return what the report says of its stem."""
    report = folder / "report.json"
    request = Request(
        str(network),
        "onnx",
        str(folder / "out.onnx"),
        str(report),
        {FLOPS.field: budget},
        calibration="none",
        **options,
    )
    pipeline.compress(request, lambda *_: None)
    members = json.loads(report.read_text())
    assert members["keep"] <= float(budget)
    return members["sites"][0]


def is_slower_as_reported(site):
    """Whether the layers in the stem's place are slower than it, by the rule."""
    if site["form"] == ORIGINAL:
        return False
    [factorisation] = (
        each
        for each in FORMS[site["form"]].factorisations(STEM)
        if each.variant == site["variant"]
    )
    rank = site["rank"]
    layers = factorisation.convolutions(tuple(rank) if isinstance(rank, list) else rank)
    return is_slower(site_of(STEM), layers, "onnx")


def test_a_stem_becomes_no_slower_unless_flops_count_at_any_price(network, tmp_path):
    kept = str(tmp_path / "analysis")
    stem = compressed(network, tmp_path, flops_at_any_price=True, kept_analysis=kept)
    assert is_slower_as_reported(stem)
    # the rule belongs to the choice: the same analysis serves jobs with it
    for stem in (
        compressed(network, tmp_path),
        compressed(network, tmp_path, analysis=kept),
    ):
        assert stem["macs_after"] < stem["macs_before"]
        assert stem["branches"] == 1
        assert not is_slower_as_reported(stem)


def candidates(layer, model_format):
    """Return the candidates of a stem by form, variant and rank."""
    each = candidates_of_forms(
        OneLayer(layer), site_of(STEM), None, model_format=model_format
    ).candidates[1:]
    return {(one.form, one.variant, one.rank): one for one in each}


def test_slower_candidates_hide_no_others():
    """A weight that `dac` gives exactly at rank 12: all other forms have errors."""
    generator = np.random.default_rng(0)
    filters = generator.standard_normal((3, 12, 7, 7))
    weight = np.einsum(
        "nik,ikyx->niyx", generator.standard_normal((64, 3, 12)), filters
    )
    layer = Layer(STEM, weight, None)
    hidden = candidates(layer, None)
    shown = candidates(layer, "onnx")
    assert hidden.keys() < shown.keys()
    assert is_slower(site_of(STEM), hidden["dac", None, 12].convolutions, "onnx")
    added = [shown[name] for name in shown.keys() - hidden.keys()]
    assert max(each.macs for each in added) > hidden["dac", None, 12].macs
    assert not any(
        is_slower(site_of(STEM), each.convolutions, "onnx") for each in added
    )


def test_a_budget_that_only_slower_layers_reach_names_the_option():
    analysis = replace(analysed(UNPRICED), model_format="onnx")
    assert is_slower(analysis.sites[0], UNPRICED.convolutions, "onnx")
    objective = objective_of(FLOPS, 500)
    with pytest.raises(Refusal, match="which flops_at_any_price would allow"):
        choose(analysis, objective)
    assert choose(analysis, replace(objective, at_any_price=True)) == [UNPRICED]
