"""The calls of a run as a cost profile: by site, or in a row of their own."""

import pytest
import torch

from worker.engine.formats.aten.layers import LayerUse, geometry, tensor_key
from worker.engine.formats.aten.sites import HIDDEN, named_sites
from worker.engine.formats.aten.tally import (
    NO_RULE,
    NO_WEIGHT,
    NOT_CALLED,
    profile_of,
    stored_keys,
    with_weight_macs,
    without_data,
    without_fused_kernels,
)
from worker.engine.formats.aten.trace import Account, Trace
from worker.engine.model import ALONE, NUMBER, Call, CostProfile, Site, TensorSpec

WEIGHT = torch.ones(4, 3, 3, 3)
BIAS = torch.ones(4)
PATHS = {tensor_key(WEIGHT): "conv.weight"}


def sites_of(weight=WEIGHT, bias=BIAS, padding=(1,)):
    convolution = geometry(tuple(weight.shape), [1], padding, [1], 1)
    layer = LayerUse(
        op="conv2d",
        weight=weight,
        path="conv.weight",
        bias=bias,
        convolution=convolution,
    )
    return named_sites([layer])


def profile(compute, sites=None, paths=PATHS):
    sites = sites_of() if sites is None else sites
    trace = Trace(stored_keys(sites, paths))
    with torch.no_grad(), trace:
        compute()
    return profile_of(trace.account, sites, paths)


def convolved(size, bias=BIAS, padding=1):
    return torch.conv2d(torch.ones(2, 3, size, size), WEIGHT, bias, padding=padding)


def test_calls_of_a_site_on_several_sizes_add_up():
    def compute():
        for size in (5, 5, 6):
            convolved(size)

    (site,) = profile(compute).sites
    assert site.calls == (Call(2, (5, 5), 2), Call(2, (6, 6)))
    assert site.macs == 2 * (2 * 25 + 36) * 108


def test_a_call_of_another_geometry_is_a_row_of_its_own():
    site, other = profile(lambda: convolved(5, padding=0)).sites
    assert (site.name, site.macs, site.reason) == ("conv", 0, NOT_CALLED)
    assert (other.name, other.macs, other.reason) == ("conv_2", 2 * 9 * 108, HIDDEN)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_padding_that_torch_adds_itself_is_part_of_the_call():
    weight = torch.ones(4, 3, 4, 4)
    sites = sites_of(weight, bias=None, padding="same")
    x = torch.ones(1, 3, 6, 6)
    (site,) = profile(lambda: torch.conv2d(x, weight, padding="same"), sites).sites
    assert site.calls == (Call(1, (6, 6)),)
    assert site.macs == 36 * weight.numel()


def test_products_of_activations_have_a_row_and_other_operators_a_number():
    def compute():
        x = torch.ones(2, 3, 4)
        torch.relu(x @ x.mT)

    counted = profile(compute, {})
    (site,) = counted.sites
    assert (site.name, site.macs, site.reason) == ("bmm", 2 * 3 * 3 * 4, NO_WEIGHT)
    assert counted.uncounted["relu"] == 1


def test_an_operator_without_a_rule_goes_by_the_name_of_its_weight():
    account = Account(unaccounted={"odd": tensor_key(WEIGHT), "solve": None})
    names = {each.name for each in profile_of(account, {}, PATHS).unaccounted}
    assert names == {"conv.weight", "solve"}
    assert {each.reason for each in profile_of(account, {}, PATHS).unaccounted} == {
        NO_RULE
    }


def test_products_of_parameters_alone_are_a_row_with_an_unused_name():
    before = CostProfile((Site("parameters", "conv2d", (), 1),), {})
    assert with_weight_macs(before, 0) is before
    *_, row = with_weight_macs(before, 9).sites
    assert (row.name, row.macs, row.reason) == ("parameters_2", 9, ALONE)


def test_inputs_without_data_have_shape_and_type():
    specs = [TensorSpec("x", "float16", None), TensorSpec("n", NUMBER, ())]
    tensors = without_data(specs, {"x": (2, 3), "n": (7,)})
    assert (tensors["x"].device.type, tensors["x"].dtype) == ("meta", torch.float16)
    assert tensors["x"].shape == (2, 3)
    assert tensors["n"].item() == 7


def fail():
    raise ValueError("a failure")


@pytest.mark.parametrize("enabled", [True, False])
def test_kernels_are_as_before_after_a_failure(enabled, request):
    before = torch._C._get_mkldnn_enabled()
    request.addfinalizer(lambda: torch._C._set_mkldnn_enabled(before))
    torch._C._set_mkldnn_enabled(enabled)
    with pytest.raises(ValueError, match="a failure"), without_fused_kernels():
        fail()
    assert torch._C._get_mkldnn_enabled() == enabled


def test_attention_is_taken_apart_into_its_products():
    x = torch.ones(1, 2, 5, 4)

    def compute():
        with without_fused_kernels():
            torch.nn.functional.scaled_dot_product_attention(x, x, x)

    assert profile(compute, {}).macs == 2 * (2 * 5 * 5 * 4)
