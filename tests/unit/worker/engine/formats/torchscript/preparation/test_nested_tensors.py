"""An encoder that was traced with a padding mask computes the same without nested tensors."""

import pytest
import torch
from support.torchscript.counting_oracle import counted_by_torch
from support.torchscript.modules import assert_same, write
from torch import nn

from convpress.refusal import Code, Refusal
from convpress.shapes import TypedShape
from worker.engine.formats.torchscript.model import TorchScriptModel

pytestmark = [
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
    pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors"),
]

WIDTH, LENGTH = 8, 6


class Encoder(nn.Module):
    def __init__(self, layers=2):
        super().__init__()
        layer = nn.TransformerEncoderLayer(WIDTH, 2, 12, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers)
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, x, padding):
        return self.head(self.encoder(x, src_key_padding_mask=padding))


class Doubled(nn.Module):
    """It computes on a nested tensor by itself."""

    def forward(self, x, padding):
        nested = torch._nested_tensor_from_mask(x, padding.logical_not())
        return (nested * 2).to_padded_tensor(0.0)


def padding(*lengths):
    return torch.stack([torch.arange(LENGTH) >= length for length in lengths])


def traced(module):
    with torch.no_grad():
        return torch.jit.trace(
            module.eval(),
            (torch.rand(2, LENGTH, WIDTH), padding(4, 6)),
            check_trace=False,
        )


def test_a_packed_encoder_masks_its_padding(tmp_path):
    module = Encoder()
    trace = traced(module)
    assert "_nested_tensor_from_mask" in str(trace.inlined_graph)
    model = TorchScriptModel.open(write(tmp_path, trace))
    x = torch.rand(3, LENGTH, WIDTH)
    shapes = {"x": x.shape, "padding": TypedShape.of("bool", (3, LENGTH))}
    count = model.count(model.bind(shapes))
    assert count.macs == counted_by_torch(module, x, padding(6, 6, 6))
    assert [site.reason for site in count.sites if site.weight_shape] == [None] * 9
    model.save(tmp_path / "after.pt")
    after = torch.jit.load(tmp_path / "after.pt")
    mask = padding(2, 6, 5)
    with torch.no_grad():
        assert_same(after(x, mask), trace(x, mask))


def test_other_uses_of_a_packed_input_are_refused(tmp_path):
    path = write(tmp_path, traced(Doubled()))
    with pytest.raises(Refusal) as caught:
        TorchScriptModel.open(path)
    assert caught.value.code == Code.MODEL_UNSUPPORTED
