"""Values that pass a check are the values from before the check."""

import pytest
import torch
from support.torchscript.modules import assert_same, rewrite, scripted
from torch import nn


class Cross(nn.Module):
    """Attention of widths of its own for keys and values: its code checks the shapes of biases."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, kdim=6, vdim=4, batch_first=True)
        nn.init.uniform_(self.attention.in_proj_bias)

    def forward(self, x):
        return self.attention(x, x[:, :5, :6], x[:, :5, 4:])[0]


@pytest.mark.slow
def test_attention_with_widths_of_its_own_is_replaced(tmp_path):
    x = torch.rand(2, 7, 8)
    count, original, rewritten = rewrite(tmp_path, scripted(Cross()), x)
    left = [site.op for site in count.sites if site.reason is not None]
    assert len(count.sites) == 5
    assert left == ["bmm"]
    assert_same(rewritten(x), original(x))


class Checked(nn.Module):
    """A bias that is checked, and one that is computed where the check passes."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        bias = self.one.bias
        if x.shape[-1] != 4:
            raise ValueError("not four")
        bias = bias.view(4)
        y = nn.functional.linear(x, self.one.weight, bias)
        if y.sum() < -1e6:
            raise ValueError("too small")
        shift = y.mean(0)
        return nn.functional.linear(y, self.two.weight, shift)


def test_a_value_of_the_branch_itself_stays_behind_the_check(tmp_path):
    x = torch.rand(3, 4)
    _, original, rewritten = rewrite(tmp_path, scripted(Checked()), x)
    assert_same(rewritten(x), original(x))
    with pytest.raises(torch.jit.Error, match="not four"):
        rewritten(torch.rand(3, 5))
