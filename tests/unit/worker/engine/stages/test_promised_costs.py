"""Costs that values decide: honest artifacts pass, and a mistake in any layer is still found."""

import json
from dataclasses import replace

import pytest
import torch
from support.onnx.text import written
from support.torchscript.modules import scripted, write
from torch import nn

from convpress.refusal import Refusal
from worker.engine.model import CostProfile, Site
from worker.engine.numerics.convolution import Convolution
from worker.engine.pipeline import compress
from worker.engine.request import Request
from worker.engine.selection.candidates import Candidate
from worker.engine.stages.promised_costs import PromisedCosts

ROWS, WIDTH = 100, 32


class Selecting(nn.Module):
    """A head on the rows that a layer chooses, as behind the boxes of a detector."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, 24)
        self.last = nn.Linear(24, 16)

    def forward(self, x):
        y = self.body(x)
        chosen = y[y[:, 0] > 0.1]
        return self.last(torch.relu(self.head(chosen)))


class Branching(nn.Module):
    """Another layer runs where a value is large."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, 24)
        self.other = nn.Linear(WIDTH, 24)

    def forward(self, x):
        y = self.body(x)
        if bool(y.mean() > self.body.bias.mean()):
            return self.head(y)
        return self.other(y).relu()


SELECTING = f"""g (float[{ROWS},{WIDTH}] x) => (float[n,16] y)
<float[{ROWS},{WIDTH}] p, float[{WIDTH},{WIDTH}] w0, float[{WIDTH},24] w1,
 float[24,16] w2, float[1] z, int64[1] first = {{0}}, int64[1] second = {{1}}> {{
    s = Mul(x, p)
    h = MatMul(s, w0)
    column = Slice(h, first, second, second)
    flat = Squeeze(column, second)
    mask = Greater(flat, z)
    i = NonZero(mask)
    j = Transpose(i)
    rows = GatherND(h, j)
    a = MatMul(rows, w1)
    r = Relu(a)
    y = MatMul(r, w2) }}"""


def selecting_onnx(folder):
    return written(folder, SELECTING), "onnx"


def selecting_torchscript(folder):
    return write(folder, scripted(Selecting())), "torchscript"


def branching_torchscript(folder):
    return write(folder, scripted(Branching())), "torchscript"


def selecting_pt2(folder):
    path = folder / "model.pt2"
    program = torch.export.export(Selecting().eval(), (torch.randn(ROWS, WIDTH),))
    torch.export.save(program, path)
    return path, "pt2"


def report_of(tmp_path, model, model_format, budget):
    request = Request(
        str(model),
        model_format,
        str(tmp_path / f"out{model.suffix}"),
        str(tmp_path / "report.json"),
        {"flops_budget": budget},
        input_shape=f"{ROWS}x{WIDTH}" if model_format == "torchscript" else None,
        calibration="none",
    )
    compress(request, lambda *_: None)
    return json.loads((tmp_path / "report.json").read_text())


@pytest.mark.parametrize(
    "make",
    [
        selecting_onnx,
        selecting_torchscript,
        pytest.param(selecting_pt2, marks=pytest.mark.slow),
    ],
)
def test_a_head_that_gets_other_rows_in_the_artifact_is_counted_on_those_of_the_model(
    tmp_path, make
):
    torch.manual_seed(0)
    report = report_of(tmp_path, *make(tmp_path), "0.4")
    sized = report["sized_by_values"]
    assert sized["other_rows"] is True
    assert "other rows" in sized["text"]
    _, head, last = report["sites"]
    assert sized["layers"] == [head["name"], last["name"]]
    after = [site["macs_after"] for site in report["sites"]]
    assert report["after"]["macs"] == sum(after)
    assert report["keep"] <= 0.4


@pytest.mark.slow
def test_a_branch_that_values_choose_may_be_another_one_in_the_artifact(tmp_path):
    torch.manual_seed(0)
    report = report_of(tmp_path, *branching_torchscript(tmp_path), "0.3")
    assert report["sized_by_values"] == {
        **report["sized_by_values"],
        "layers": ["head", "other"],
    }
    assert report["keep"] <= 0.3


LINEAR = Convolution((8, 4), (), (), ())


def site(name, macs, **members):
    return Site(name, "linear", (8, 4), macs, LINEAR, **members)


BODY, HEAD = site("body", 320), site("head", 160, sized_by_values=True)
WHOLE = CostProfile((BODY, HEAD), {})
COSTS = PromisedCosts.of(WHOLE.sites, [Candidate(100, 10, 0.1), Candidate(80, 16, 0.1)])
BODY_AFTER = replace(BODY, macs=100)
HEAD_AFTER = replace(HEAD, macs=75, weight_shape=(4, 4))


def test_costs_that_values_decide_are_those_on_the_rows_of_the_original():
    as_promised = CostProfile((BODY_AFTER, replace(HEAD_AFTER, macs=80)), {})
    assert COSTS.checked(WHOLE, as_promised) is as_promised
    assert (COSTS.macs, COSTS.fixed_macs, COSTS.weights) == (180, 100, 16)
    with_other_rows = CostProfile((BODY_AFTER, HEAD_AFTER), {})
    assert COSTS.checked(WHOLE, with_other_rows).macs == 180


@pytest.mark.parametrize(
    "written_sites",
    [
        # another layer does not cost what it should, whatever values decide
        (replace(BODY, macs=101), HEAD_AFTER),
        # a layer whose rows values decide has other weights than were promised
        (BODY_AFTER, replace(HEAD_AFTER, weight_shape=(5, 4))),
        # no value decides the rows of this one
        (BODY_AFTER, replace(HEAD_AFTER, sized_by_values=False)),
        (BODY_AFTER,),
    ],
)
def test_a_mistake_is_found_beside_rows_that_values_decide(written_sites):
    with pytest.raises(Refusal, match="the sum of its layers"):
        COSTS.checked(WHOLE, CostProfile(written_sites, {}))


def test_without_rows_that_values_decide_all_costs_must_be_as_promised():
    costs = PromisedCosts.of([BODY], [Candidate(100, 10, 0.1)])
    with pytest.raises(Refusal):
        costs.checked(CostProfile((BODY,), {}), CostProfile((BODY,), {}))
