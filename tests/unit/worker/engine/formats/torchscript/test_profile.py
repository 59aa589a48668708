"""Counting TorchScript: every call goes to its site, what hides is found, what fails says why."""

import pytest
import torch
from support.torchscript.modules import (
    Looped,
    Net,
    assert_same,
    rewrite,
    scripted,
    write,
)
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm
from torch.utils.flop_counter import FlopCounterMode

from convpress.refusal import Code, Refusal
from worker.engine.formats.aten.sites import HIDDEN
from worker.engine.formats.aten.tally import INSIDE
from worker.engine.formats.torchscript.model import TorchScriptModel

SIZE = (1, 4, 8, 8)
ONE_CALL = 8 * 8 * 4 * 4 * 9


def conv(**settings):
    return nn.Conv2d(4, 4, 3, padding=1, **settings)


def opened(tmp_path, module):
    path = tmp_path / "model.pt"
    torch.jit.save(torch.jit.script(module.eval()), path)
    return TorchScriptModel.open(path)


def counted(tmp_path, module, shape=SIZE):
    model = opened(tmp_path, module)
    return model.count(model.bind({"": shape}))


def recounted(tmp_path, model, shape=SIZE):
    model.save(tmp_path / "out.pt")
    again = TorchScriptModel.open(tmp_path / "out.pt")
    return again.count(again.bind({"": shape}))


class WithAndWithoutBias(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = conv()

    def forward(self, x):
        return self.conv(x) + functional.conv2d(x, self.conv.weight, None, padding=1)


@pytest.mark.parametrize("which", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_the_same_weight_with_and_without_bias_is_two_sites(tmp_path, which):
    model = opened(tmp_path, WithAndWithoutBias())
    count = model.count({"x": SIZE})
    assert [site.macs for site in count.sites] == [ONE_CALL, ONE_CALL]
    site = count.sites[which]
    layer = model.layer(site)
    assert (layer.bias is None) == (which == 1)
    model.replace(site, [layer, layer])
    assert recounted(tmp_path, model).macs == count.macs + ONE_CALL


@torch.jit.interface
class Step(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        pass


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = conv()

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Interface(nn.Module):
    step: Step

    def __init__(self):
        super().__init__()
        self.step = Plain()
        self.open = Plain()

    def forward(self, x):
        return self.step.forward(x) + self.open(x)


class ForkedModule(nn.Module):
    def __init__(self):
        super().__init__()
        self.step = Plain()
        self.open = Plain()

    def forward(self, x):
        future = torch.jit.fork(self.step, x)
        return self.step(x) + self.open(x) + torch.jit.wait(future)


def convolve(x: Tensor, weight: Tensor):
    return functional.conv2d(x, weight, None, padding=1)


class ForkedWeight(nn.Module):
    def __init__(self):
        super().__init__()
        self.step = nn.ModuleDict({"conv": conv(bias=False)})
        self.open = nn.ModuleDict({"conv": conv()})

    def forward(self, x):
        future = torch.jit.fork(convolve, x, self.step["conv"].weight)
        return self.step["conv"](x) + self.open["conv"](x) + torch.jit.wait(future)


@pytest.mark.parametrize(
    ("module", "calls"), [(Interface, 1), (ForkedModule, 2), (ForkedWeight, 2)]
)
def test_what_is_called_where_the_graph_cannot_be_edited_is_counted_and_left(
    tmp_path, module, calls
):
    count = counted(tmp_path, module())
    costs = {site.name: (site.macs, site.reason) for site in count.sites}
    assert costs == {
        "step.conv": (calls * ONE_CALL, HIDDEN),
        "open.conv": (ONE_CALL, None),
    }


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.taken = conv()
        self.other = conv()
        self.linear = nn.Linear(8, 8)

    def forward(self, x, other: bool = False):
        return self.linear(self.other(x)) if other else self.taken(x)


def test_a_branch_that_is_not_taken_is_listed_as_not_called(tmp_path):
    costs = {
        site.name: (site.macs, site.reason)
        for site in counted(tmp_path, Branches()).sites
    }
    idle = (0, "it is not called for this input shape")
    assert costs == {"taken": (ONE_CALL, None), "other": idle, "linear": idle}


class Dependent(nn.Module):
    """Control flow that depends on data, in front of what fast kernels would hide."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(8, 5, num_layers=2, bidirectional=True)
        self.embed = nn.Linear(10, 8)

    def forward(self, x):
        tokens = self.lstm(x)[0]
        if bool(tokens.sum() > 1e9):
            tokens = tokens * 2
        tokens = self.embed(tokens)
        return functional.scaled_dot_product_attention(tokens, tokens, tokens)


def test_control_flow_that_depends_on_data_is_run_with_data_and_nothing_hides(tmp_path):
    steps = 6
    batch = 2
    hidden = 5
    count = counted(tmp_path, Dependent(), (steps, batch, 8))
    recurrent = sum(
        steps * batch * 2 * 4 * hidden * (inputs + hidden) for inputs in (8, 2 * hidden)
    )
    attention = 2 * steps * batch * batch * 8
    assert count.macs == recurrent + steps * batch * 10 * 8 + attention
    assert {
        site.reason for site in count.sites if site.name.startswith("lstm.weight")
    } == {INSIDE}


class Computed(nn.Module):
    def __init__(self):
        super().__init__()
        self.direction = nn.Parameter(torch.randn(4, 4, 3, 3))

    def forward(self, x):
        weight = self.direction / x.norm()
        return functional.conv2d(
            functional.conv2d(x, weight, None, padding=1), weight, None, padding=1
        )


def test_a_convolution_whose_weight_is_computed_is_one_row_with_its_geometry(tmp_path):
    count = counted(tmp_path, Computed())
    site = count.sites[0]
    assert len(count.sites) == 1
    assert site.macs == 2 * ONE_CALL
    assert site.convolution is not None
    assert site.macs_of([site.convolution]) == site.macs
    assert site.reason == "its weight is computed at run time"


class RunTimeSettings(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = conv()
        self.stride = 2

    def forward(self, x):
        return functional.conv2d(
            x,
            self.conv.weight,
            self.conv.bias,
            stride=self.stride,
            padding=x.size(2) // 8,
        )


def test_a_setting_that_is_computed_is_named_and_an_attribute_is_read(tmp_path):
    (site,) = counted(tmp_path, RunTimeSettings()).sites
    assert site.macs == ONE_CALL // 4
    assert site.reason == "its padding is computed at run time"


class Products(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 6))
        self.linear = nn.Linear(6, 3)

    def forward(self, x):
        return self.linear(self.weight @ x) + (x @ self.weight) @ self.weight[:3].t()


def test_products_count_as_flop_counter_mode_does(tmp_path):
    module = Products()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(torch.randn(5, 6, 6))
    count = counted(tmp_path, module, (5, 6, 6))
    assert 2 * count.macs == counter.get_total_flops()
    assert {site.name: site.macs for site in count.sites} == {
        "weight": 2 * 5 * 6**3,
        "linear": 540,
        "weight_2": 540,
    }


def test_operators_that_the_executor_calls_itself_are_not_the_models(tmp_path):
    frozen = torch.jit.freeze(
        torch.jit.script(
            nn.Sequential(conv(), nn.BatchNorm2d(4), nn.ReLU(), conv()).eval()
        )
    )
    torch.jit.save(frozen, tmp_path / "model.pt")
    count = TorchScriptModel.open(tmp_path / "model.pt").count({"input": SIZE})
    assert count.uncounted == {"relu": 1}


def test_a_size_that_fits_no_memory_is_counted_all_the_same(tmp_path):
    side = 10**6
    assert counted(tmp_path, conv(), (1, 4, side, side)).macs == side * side * 4 * 4 * 9


@pytest.mark.parametrize(
    ("module", "shape", "cause"),
    [
        (
            nn.Conv2d(4, 4, 3),
            (1, 4, 2, 2),
            "Kernel size can't be greater than actual input size",
        ),
        (nn.Linear(3, 4), (1, 4), "mat1 and mat2 shapes cannot be multiplied"),
        (nn.Linear(3, 4).double(), (1, 4), "mat1 and mat2 shapes cannot be multiplied"),
    ],
)
def test_a_run_that_fails_says_why_in_one_line(tmp_path, module, shape, cause):
    with pytest.raises(Refusal) as refused:
        counted(tmp_path, module, shape)
    assert refused.value.code == Code.INPUT_SHAPE_MISMATCH
    assert cause in refused.value.detail
    assert "\n" not in refused.value.detail


def test_the_numbers_of_channels_are_checked_before_anything_runs(tmp_path):
    model = opened(tmp_path, conv())
    for shape in ((1, 3, 8, 8), (3, 8, 8)):
        with pytest.raises(Refusal) as refused:
            model.bind({"": shape})
        assert refused.value.code == Code.INPUT_SHAPE_MISMATCH
        assert refused.value.expected == "?x4x?x?"


def test_a_loop_counts_every_turn(tmp_path):
    x = torch.randn(1, 4, 8, 8)
    count, original, rewritten = rewrite(tmp_path, scripted(Looped()), x)
    assert count.macs == 3 * 8 * 8 * 4 * 4 * 9
    assert_same(rewritten(x), original(x))


def test_the_count_of_a_network_is_flop_counter_modes(tmp_path):
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = Net()
            self.up = nn.ConvTranspose2d(3, 3, 3, stride=2, output_padding=1)
            self.queries = nn.Linear(6, 6)

        def forward(self, x):
            tokens = self.net.features(self.up(x)).flatten(2).mT
            attended = functional.scaled_dot_product_attention(
                self.queries(tokens), tokens, tokens
            )
            return attended @ tokens.mT

    module = Mixed().eval()
    opened = TorchScriptModel.open(write(tmp_path, scripted(module)))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(torch.randn(2, 3, 8, 8))
    assert 2 * opened.count({"x": (2, 3, 8, 8)}).macs == counter.get_total_flops()


def test_a_recurrent_layer_counts_its_products(tmp_path):
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(6, 7)

        def forward(self, x):
            return self.lstm(x)[0]

    steps = 5
    batch = 2
    inputs = 6
    hidden = 7
    opened = TorchScriptModel.open(write(tmp_path, scripted(Recurrent())))
    count = opened.count({"x": (steps, batch, inputs)})
    assert count.macs == steps * batch * 4 * hidden * (inputs + hidden)


@pytest.mark.parametrize("shapes", [{"x": (1, 4, 9, 9)}, {"x": (1, 3, 1, 1)}])
def test_a_shape_that_the_model_cannot_take_is_refused(tmp_path, shapes):
    opened = TorchScriptModel.open(write(tmp_path, scripted(Net())))
    with pytest.raises(Refusal) as refused:
        opened.count(opened.bind({"": shapes["x"]}))
    assert refused.value.code == Code.INPUT_SHAPE_MISMATCH
    assert "Traceback" not in refused.value.detail


class Swapped(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 6)

    def forward(self, x):
        return self.linear(x.transpose(1, 2))


@pytest.mark.parametrize("batch", [1, 3])
def test_a_linear_layer_is_called_on_data_with_its_axes_swapped(tmp_path, batch):
    traced = torch.jit.trace(Swapped().eval(), torch.randn(batch, 4, 5))
    traced.save(tmp_path / "model.pt")
    model = TorchScriptModel.open(tmp_path / "model.pt")
    (site,) = model.count({model.inputs[0].name: (batch, 4, 5)}).sites
    assert (site.name, site.reason, site.macs) == ("linear", None, batch * 5 * 4 * 6)


class Listing(nn.Module):
    """Reads values where no operator is called, and gives as many rows."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)

    def forward(self, x):
        y = self.first(x)
        values: list[float] = y[0].tolist()
        rows = 1 if values[0] > 0 else 2
        return y, self.second(y[:rows])


def test_outputs_and_layers_behind_values_that_were_read_are_sized_by_them(tmp_path):
    profile = opened(tmp_path, Listing()).count({"x": (3, 4)})
    assert profile.sized_outputs == {"output_0", "output_1"}
    assert all(site.sized_by_values for site in profile.sites)


def test_a_parametrisation_that_was_scripted_is_not_the_fault_of_the_shape(tmp_path):
    with pytest.raises(Refusal) as caught:
        counted(tmp_path, nn.Sequential(weight_norm(conv())))
    assert caught.value.code == Code.MODEL_UNSUPPORTED
    assert "torch itself cannot run it" in caught.value.detail
    assert "remove_parametrizations" in caught.value.expected
