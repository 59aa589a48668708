"""Blocks of a mode are unfolded and edited; branches of torch.cond are counted and run."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.pt2.programs import opened, write
from torch import nn

from worker.engine import program as programs
from worker.engine.formats.aten.sites import HIDDEN
from worker.engine.formats.pt2 import runner

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")


class Modes(nn.Module):
    """Layers outside of blocks, without gradients, with autocast, and in a block in a block."""

    def __init__(self):
        super().__init__()
        self.plain = nn.Conv2d(3, 4, 3)
        self.frozen = nn.Conv2d(4, 4, 3)
        self.cast = nn.Conv2d(4, 6, 3)
        self.inner = nn.Linear(6, 5, bias=False)
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x):
        x = self.plain(x)
        with torch.no_grad():
            self.calls.add_(1)
            x = torch.relu_(self.frozen(x))
            with torch.autocast("cpu", dtype=torch.bfloat16):
                y = self.cast(x).mean((2, 3))
                z = self.inner(y)
        with torch.autocast("cpu", enabled=False):
            return z.float() * self.calls + y.float().mean()


class Branches(nn.Module):
    """A torch.cond whose costlier branch is the one that zeros do not take, and a shared layer."""

    def __init__(self):
        super().__init__()
        self.before = nn.Conv2d(3, 4, 1)
        self.cheap = nn.Conv2d(4, 4, 1)
        self.dear = nn.Conv2d(4, 4, 3, padding=1)
        self.both = nn.Linear(8, 8)

    def forward(self, x):
        x = self.both(self.before(x))

        def if_true(y):
            return self.dear(torch.relu(self.both(y)))

        def if_false(y):
            return self.cheap(y) + 1

        return torch.cond(x.mean() > 100, if_true, if_false, (x,))


def halves(layer):
    """A sum of two layers that is the layer."""
    half = layer.weight / 2
    bias = None if layer.bias is None else layer.bias / 2
    return [[replace(layer, weight=half, bias=bias)]] * 2


def images(batch):
    return torch.randn(batch, 3, 8, 8)


def test_layers_in_blocks_are_counted_calibrated_and_replaced_in_their_blocks(tmp_path):
    torch.manual_seed(0)
    module = Modes().eval()
    path, rewritten = tmp_path / "model.pt2", tmp_path / "out.pt2"
    write(path, module, images(2))
    x = images(3)
    expected = torch.export.load(path).module()(x).detach()

    model = opened(path)
    profile = model.count(model.bind({"": (1, 3, 8, 8)}))
    assert {site.name: site.macs for site in profile.sites} == {
        "plain": 36 * 4 * 27,
        "frozen": 16 * 4 * 36,
        "cast": 4 * 6 * 36,
        "inner": 30,
    }
    assert profile.unaccounted == ()
    program = model.program()
    (actual,) = programs.run(program, {"x": x})
    torch.testing.assert_close(actual, expected, atol=0.02, rtol=0.02)
    assert {step.site for step in program.steps} - {None} == {
        "plain",
        "frozen",
        "cast",
        "inner",
    }

    for site in profile.sites:
        model.replace(site, *halves(model.layer(site)))
    model.save(rewritten)
    result = torch.export.load(rewritten)
    modes = [
        node.target.__name__
        for node in result.graph.nodes
        if node.op == "call_function"
    ]
    assert modes.count("wrap_with_set_grad_enabled") == 1
    assert set(result.state_dict) == {"calls"} | {
        f"{site.name}_factored{number}.0.{kind}"
        for site in profile.sites
        for number in ("", "_2")
        for kind in ("weight", "bias")
        if site.name != "inner" or kind == "weight"
    }
    np.testing.assert_allclose(
        result.module()(x).detach(), expected, atol=0.02, rtol=0.02
    )
    again = opened(rewritten)
    assert again.count(again.bind({"": (1, 3, 8, 8)})).macs == 2 * profile.macs


def test_the_costliest_branch_counts_and_its_layers_stay(tmp_path):
    torch.manual_seed(0)
    module = Branches().eval()
    path, rewritten = tmp_path / "model.pt2", tmp_path / "out.pt2"
    write(path, module, images(2))
    model = opened(path)
    profile = model.count(model.bind({"": (1, 3, 8, 8)}))
    sites = {site.name: site for site in profile.sites}
    assert {name: site.macs for name, site in sites.items()} == {
        "before": 64 * 12,
        "both": 2 * 4 * 8 * 64,
        "dear": 64 * 4 * 36,
    }
    assert sites["before"].reason is None
    assert sites["both"].reason == sites["dear"].reason == HIDDEN

    program = model.program()
    for x in (images(3), images(3) + 1000):
        expected = module(x)
        (actual,) = programs.run(program, {"x": x})
        torch.testing.assert_close(actual, expected)
    model.replace(sites["before"], *halves(model.layer(sites["before"])))
    model.save(rewritten)
    run = runner.load(rewritten)
    for x in (images(3), images(3) + 1000):
        (array,) = run({"x": x.numpy()}).values()
        np.testing.assert_allclose(array, module(x).detach(), atol=1e-5, rtol=1e-4)


def test_a_program_in_half_precision_with_autocast_is_read(tmp_path):
    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return self.conv(x.to(torch.bfloat16)) * 2

    write(tmp_path / "model.pt2", Half().bfloat16(), images(2), batch=None)
    model = opened(tmp_path / "model.pt2")
    assert model.count(model.bind(None)).macs == 2 * 36 * 4 * 27
    (output,) = programs.run(model.program(), {"x": images(2)})
    assert output.dtype == torch.float32
